import { boolean } from '@oclif/core/flags';
import type { DrainEvent } from '../../client/admin.js';
import { AppError } from '../../runtime/errors.js';
import { Screen } from '../../runtime/screen.js';
import { BaseCommand } from '../base.js';
import { EXIT } from '../failure.js';
import { readNode } from '../inputs.js';
import { NODE_ORDER_ARGS, NODE_ORDER_FLAGS } from '../node-order.js';
import { Detached } from '../operation.js';

export default class Drain extends BaseCommand {
  static override summary = 'Move every range off a node, the busiest first, and give it no new ones until undrain.';
  static override examples = ['<%= config.bin %> drain 5201'];
  static override args = NODE_ORDER_ARGS;
  static override flags = { ...NODE_ORDER_FLAGS, steps: boolean({ summary: 'With JSON output, print each report as a JSON line on standard error.' }) };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Drain);
    const node = readNode(args.node, 'the node');
    const timeoutMs = this.timeoutMs(flags, undefined);
    if (flags.request) return this.printRequest({ kind: 'drain', node });
    const json = this.wantsJson(flags);
    const screen = new Screen(this.io.stderr);
    const interrupt = new AbortController();
    const stopListening = this.io.onInterrupt(() => {
      interrupt.abort();
    });
    const teller = new Teller((text) => {
      screen.clear();
      this.io.stdout.write(`${text}\n`);
    });
    let last: DrainEvent | undefined;
    const onEvent = (event: DrainEvent): void => {
      last = event;
      if (json && flags.steps) this.io.stderr.write(`${JSON.stringify(plain(event))}\n`);
      if (json) return;
      teller.tell(event);
      screen.status(`${event.left} left`);
    };
    try {
      await this.withController(flags, (admin) => admin.drain(node, { timeoutMs, signal: interrupt.signal, onEvent }));
    } catch (thrown) {
      screen.clear();
      throw detachedOr(thrown, node, last, interrupt.signal.aborted);
    } finally {
      stopListening();
    }
    screen.clear();
    if (json) await this.printJson(last ? plain(last) : {});
    else await this.printText(`${node} is drained: ${last?.moved ?? 0n} moved, nothing is left there`);
  }
}

/** Lines for what changed since the last report. */
class Teller {
  #told = new Map<bigint, string>();

  constructor(private readonly line: (text: string) => void) {}

  tell(event: DrainEvent): void {
    const now = new Map<bigint, string>();
    for (const { range, to, waiting } of event.remaining) {
      const text = to !== '' ? `R${range} moves to ${to}` : waiting !== '' ? `R${range} waits: ${waiting}` : '';
      now.set(range, text);
      if (text !== '' && this.#told.get(range) !== text) this.line(text);
    }
    for (const range of this.#told.keys()) {
      if (!now.has(range) && event.remaining.length >= Number(event.left)) this.line(`R${range} has left; ${event.left} to go`);
    }
    this.#told = now;
  }
}

function plain(event: DrainEvent): object {
  return {
    node: event.node,
    moved: Number(event.moved),
    left: Number(event.left),
    done: event.done,
    remaining: event.remaining.map(({ range, to, waiting, requestsPerSecond, keys }) => ({ range: Number(range), to, waiting, requests_per_second: requestsPerSecond, keys: Number(keys) })),
  };
}

/** Whoever stops watching does not stop the drain; that has to be said. */
function detachedOr(thrown: unknown, node: string, last: DrainEvent | undefined, interrupted: boolean): unknown {
  const left = last ? `, ${last.left} left` : '';
  const goesOn = `the drain of ${node} goes on${left}; \`rangerctl drain ${node}\` shows it again, \`rangerctl undrain ${node}\` ends it`;
  if (interrupted) return new Detached(`detached: ${goesOn}`, EXIT.detached);
  if (!(thrown instanceof AppError) || !last) return thrown;
  if (thrown.code === 'DEADLINE_EXCEEDED') return new Detached(`not done in time: ${goesOn}`, EXIT.unreachable);
  if (thrown.code === 'UNAVAILABLE' || thrown.code === 'CANCELLED') return new Detached(`lost the connection to the controller: ${goesOn}`, EXIT.unreachable);
  return thrown;
}
