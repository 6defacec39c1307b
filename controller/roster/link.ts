import type { RangesEvent } from '../../model/report.js';
import type { Cancel, Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { NodeTransport } from '../transport/transport.js';
import type { NodeInfo } from './updates.js';

export interface NodeLinkOptions {
  readonly clock: Clock;
  readonly address: string;
  readonly transport: NodeTransport;
  readonly pollMs: number;
  readonly reported: (info: NodeInfo & { readonly ident: string | undefined }, askedMs: number) => void;
  readonly pushed: (event: RangesEvent) => void;
  readonly silent: (error: AppError) => void;
}

const POLL_TIMEOUT_MS = 1000;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 1000;

/**
 * One node's reports: pushed as they happen, and asked for regularly, which is the
 * sign of life, and all there is from a node that cannot push.
 */
export class NodeLink {
  readonly address: string;
  readonly transport: NodeTransport;
  private closed = false;
  private polling = false;
  private pollFailures = 0;
  private cancelPoll: Cancel | undefined;
  private canPush = true;
  private endStream: Cancel | undefined;
  private streamFailures = 0;
  private followAgainMs = 0;

  constructor(private readonly options: NodeLinkOptions) {
    this.address = options.address;
    this.transport = options.transport;
    this.poll();
  }

  /** Asks now; the next regular time counts from the answer. */
  poll(): void {
    if (this.closed || this.polling) return;
    this.polling = true;
    this.cancelPoll?.();
    // Opened beside the first question, since what is pushed comes at once.
    this.follow();
    const askedMs = this.options.clock.now();
    this.transport.info({ timeoutMs: POLL_TIMEOUT_MS }).then(
      (info) => {
        this.pollFailures = 0;
        this.polled(() => {
          this.options.reported(info, askedMs);
        });
      },
      (thrown: unknown) => {
        this.pollFailures += 1;
        this.polled(() => {
          this.options.silent(AppError.from(thrown));
        });
      },
    );
  }

  close(): void {
    this.closed = true;
    this.cancelPoll?.();
    this.endStream?.();
    this.transport.close();
  }

  private polled(then: () => void): void {
    this.polling = false;
    if (this.closed) return;
    then();
    // Whoever heard it asked once more.
    if (this.isPolling()) return;
    const pauseMs = this.pollFailures === 0 ? this.options.pollMs : backoffMs(this.pollFailures);
    this.cancelPoll = this.options.clock.after(pauseMs, () => {
      this.poll();
    });
  }

  private isPolling(): boolean {
    return this.polling;
  }

  private follow(): void {
    if (!this.canPush || this.endStream || this.options.clock.now() < this.followAgainMs) return;
    this.endStream = this.transport.ranges({
      event: (event) => {
        this.streamFailures = 0;
        if (!this.closed) this.options.pushed(event);
      },
      ended: (reason) => {
        this.endStream = undefined;
        if (!this.closed) this.streamEnded(reason);
      },
    });
  }

  /** Whether the node is gone with its stream, the next answer tells. */
  private streamEnded(reason: AppError): void {
    // A node without this call is polled only; it is no less alive.
    this.canPush = reason.code !== 'UNIMPLEMENTED';
    this.streamFailures += 1;
    this.followAgainMs = this.options.clock.now() + backoffMs(this.streamFailures);
    this.poll();
  }
}

function backoffMs(failures: number): number {
  return Math.min(RETRY_FIRST_MS * 2 ** Math.min(failures - 1, 8), RETRY_MAX_MS);
}
