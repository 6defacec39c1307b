import type { Mirror } from '../rangelet/mirror.js';
import type { Clock } from '../runtime/clock.js';
import type { Readiness } from '../runtime/server.js';

/** A node that does not tell its ranges for so long does not keep the others from being served. */
const WAIT_MS_MAX = 5000;

/**
 * Ready once every node that discovery knows has told its ranges, and one of those
 * is active, and for good: a proxy whose nodes fail is no reason to send clients to one that sees the same.
 * With no nodes there is nothing to wait for and nothing to serve: not ready yet.
 */
export class ProxyReadiness {
  private was = false;
  private readonly startedAt: number;

  constructor(
    private readonly mirror: Mirror,
    private readonly clock: Clock,
  ) {
    this.startedAt = clock.now();
  }

  readonly check = (): Readiness => {
    const nodes = this.mirror.nodes();
    const silent = nodes.filter(({ known }) => !known);
    const waitedLong = this.clock.now() - this.startedAt > WAIT_MS_MAX;
    const served = this.mirror.current.owners.length > 0;
    if (served && nodes.length > silent.length && (silent.length === 0 || waitedLong)) this.was = true;
    if (this.was) return silent.length === 0 ? { ready: true } : { ready: true, reason: `waiting for ${names(silent)}` };
    if (nodes.length === 0) return { ready: false, reason: 'no node is known yet' };
    if (silent.length === 0) return { ready: false, reason: 'no range is active on any node yet' };
    return { ready: false, reason: `waiting for the ranges of ${names(silent)}` };
  };
}

function names(nodes: readonly { readonly ident: string }[]): string {
  const shown = nodes.slice(0, 5).map(({ ident }) => `node ${ident}`).join(', ');
  return nodes.length > 5 ? `${shown} and ${nodes.length - 5} more` : shown;
}
