import { GET, type PipeResponseFrame } from '../proto/kv-codec.js';
import type { Key } from '../model/key.js';
import { type Due, OFF_WHEEL } from './deadlines.js';
import type { Owner } from './owners.js';
import type { Answer, Exchange, Loss, Pipe } from './pipe.js';

/** Why a request waits instead of being with a node. */
export type Obstacle =
  | { readonly is: 'noOwner' }
  /** The node said that it is not, or not now, the one. */
  | { readonly is: 'refused'; readonly by: Owner; readonly because: string }
  | { readonly is: 'unreachable'; readonly node: Owner; readonly because: string }
  /** The node would, but cannot now. */
  | { readonly is: 'unavailable'; readonly node: Owner; readonly because: string };

export const NO_OWNER: Obstacle = { is: 'noOwner' };

/** Where a request stands. Nothing happens to one that is `done`. */
export type Phase = 'new' | 'sent' | 'held' | 'done';

/** What a request calls on its router. */
export interface RequestEvents {
  answered(request: RoutedRequest, answer: Answer): void;
  lost(request: RoutedRequest, loss: Loss): void;
  abandoned(request: RoutedRequest): void;
}

/** A request on its way; what the caller holds of it is the right to cancel. */
export interface Ticket {
  /** The caller does not want the answer any more: `done` will not be called. */
  cancel(): void;
}

/** One object a request, which every layer below uses as it is: pipe, wheel and queue of the held. */
export class RoutedRequest implements Exchange, Due, Ticket {
  phase: Phase = 'new';
  owner: Owner | undefined;
  pipe: Pipe | undefined;
  obstacle: Obstacle = NO_OWNER;
  /** How often it waited. */
  holds = 0;
  /** When it was last given to a pipe. */
  sentAt = 0;
  /** When the first try was sent of which nobody knows what became; undefined when there is none. */
  firstSentAt: number | undefined;
  /** Where a stale read was refused, or did not get through, since it was last held. */
  tried: Set<string> | undefined;

  pipeId = 0;
  pipeWritten = false;
  dueAt: number;
  wheelPrevious: Due | undefined = OFF_WHEEL.wheelPrevious;
  wheelNext: Due | undefined = OFF_WHEEL.wheelNext;
  wheelSlot: number = OFF_WHEEL.wheelSlot;

  constructor(
    private readonly events: RequestEvents,
    readonly action: number,
    readonly key: Key,
    readonly keyBytes: Buffer,
    readonly value: Buffer | undefined,
    readonly deadlineAt: number,
    readonly timeoutMs: number,
    /** Counted against the router's budget. */
    readonly bytes: number,
    readonly done: (answer: Answer) => void,
    readonly level: number,
    readonly writeId: Buffer | undefined,
    readonly stale: boolean,
  ) {
    this.dueAt = deadlineAt;
  }

  get isRead(): boolean {
    return this.action === GET;
  }

  cancel(): void {
    this.events.abandoned(this);
  }

  onAnswer(answer: Answer | PipeResponseFrame): void {
    this.events.answered(this, answer);
  }

  onLost(loss: Loss): void {
    this.events.lost(this, loss);
  }
}
