import type { NodeInfo } from '../roster/updates.js';
import type { RangeInfo, RangesEvent } from '../../model/report.js';
import type { RemoteState } from '../../model/states.js';
import type { WantedCommand } from '../orchestrator/types.js';
import type { AppError } from '../../runtime/errors.js';
import type { Cancel } from '../../runtime/clock.js';

export interface CommandAnswer {
  readonly state: RemoteState;
  readonly lastError: string;
  /** The whole report, where the answer brings one. */
  readonly info: RangeInfo | undefined;
}

export interface SendOptions {
  /** Of the leadership under which the command is sent; nodes refuse what is older than they have seen. */
  readonly term: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** How the controller talks to one node; the tests and the simulator have their own. */
export interface NodeTransport {
  send(command: WantedCommand, options: SendOptions): Promise<CommandAnswer>;
  info(options: { readonly timeoutMs: number }): Promise<NodeInfo & { readonly ident: string | undefined }>;
  /** Every range, then each change, until it ends; the reason is told once, unless cancelled. */
  ranges(listener: { event(event: RangesEvent): void; ended(reason: AppError): void }): Cancel;
  close(): void;
}

export type Dial = (address: string) => NodeTransport;
