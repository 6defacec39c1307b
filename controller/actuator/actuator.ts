import type { NodeIdent, RangeId } from '../../model/range.js';
import type { AppError } from '../../runtime/errors.js';
import { AppError as Weather } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { WantedCommand } from '../orchestrator/types.js';
import { copyKey } from '../roster/roster.js';
import type { CommandAnswer, NodeTransport } from '../transport/transport.js';

export interface ActuatorDeps {
  readonly logger: Logger;
  /** Undefined when there is no connection to the node. */
  readonly transportOf: (node: NodeIdent) => NodeTransport | undefined;
  /** The term of the leadership that holds at this moment; undefined when none does. */
  readonly term: () => number | undefined;
  readonly sent: (command: WantedCommand) => void;
  readonly answered: (command: WantedCommand, answer: CommandAnswer) => void;
  readonly failed: (command: WantedCommand, error: AppError) => void;
  readonly cancelled: (command: WantedCommand) => void;
  readonly timeoutMs: number;
  readonly inFlightMax: number;
}

interface Flight {
  readonly command: WantedCommand;
  readonly abort: AbortController;
}

/**
 * Sends what is wanted: one command at a time for a copy, so many at once in all,
 * and nothing that is wanted no more. It remembers no results and never repeats by
 * itself: what is still wanted will be wanted again.
 */
export class Actuator {
  private readonly flights = new Map<string, Flight>();
  private readonly queue = new Map<string, WantedCommand>();
  private readonly copiesOf = new Map<RangeId, Set<string>>();

  constructor(private readonly deps: ActuatorDeps) {}

  get inFlight(): number {
    return this.flights.size;
  }

  /** What is wanted of the ranges in `scope`, and nothing else of them; without a scope, of all. */
  want(commands: readonly WantedCommand[], scope?: Iterable<RangeId>): void {
    const wanted = new Map(commands.map((c) => [copyKey(c.range.id, c.node), c]));
    const looked = new Set(commands.map((c) => c.range.id));
    for (const id of scope ?? [...this.copiesOf.keys()]) looked.add(id);
    for (const id of looked) {
      for (const copy of [...(this.copiesOf.get(id) ?? [])]) this.compare(copy, wanted.get(copy));
    }
    for (const [copy, command] of wanted) {
      if (this.flights.has(copy)) continue;
      this.queue.set(copy, command);
      this.index(command.range.id, copy);
    }
    this.pump();
  }

  /** Sends nothing more, and waits for nothing. */
  stop(): void {
    this.want([]);
  }

  private compare(copy: string, wanted: WantedCommand | undefined): void {
    const flight = this.flights.get(copy);
    if (flight && !(wanted && isSame(wanted, flight.command))) this.cancel(copy, flight);
    if (!wanted && this.queue.delete(copy)) this.unindex(copy);
  }

  private cancel(copy: string, flight: Flight): void {
    this.flights.delete(copy);
    this.unindex(copy);
    flight.abort.abort(new Weather('CANCELLED', 'not wanted any more'));
    this.deps.cancelled(flight.command);
  }

  /** Asks before each command whether this controller still leads: what it decided while it did may not be wanted any more. */
  private pump(): void {
    for (const [copy, command] of this.queue) {
      if (this.flights.size >= this.deps.inFlightMax) return;
      const term = this.deps.term();
      if (term === undefined) {
        this.forgetQueue();
        return;
      }
      this.queue.delete(copy);
      this.launch(copy, command, term);
    }
  }

  private forgetQueue(): void {
    for (const copy of this.queue.keys()) if (!this.flights.has(copy)) this.unindex(copy);
    this.queue.clear();
  }

  private launch(copy: string, command: WantedCommand, term: number): void {
    const transport = this.deps.transportOf(command.node);
    if (!transport) {
      this.unindex(copy);
      return;
    }
    const flight: Flight = { command, abort: new AbortController() };
    this.flights.set(copy, flight);
    this.index(command.range.id, copy);
    this.deps.sent(command);
    this.deps.logger.debug('sending a command', { command: command.command, range: command.range.id, node: command.node, epoch: command.epoch });
    transport.send(command, { term, timeoutMs: this.deps.timeoutMs, signal: flight.abort.signal }).then(
      (answer) => {
        this.land(copy, flight, () => {
          this.deps.answered(command, answer);
        });
      },
      (thrown: unknown) => {
        this.land(copy, flight, () => {
          this.deps.failed(command, Weather.from(thrown));
        });
      },
    );
  }

  private land(copy: string, flight: Flight, tell: () => void): void {
    // A cancelled one was taken out already, and another may fly in its place.
    if (this.flights.get(copy) !== flight) return;
    this.flights.delete(copy);
    if (!this.queue.has(copy)) this.unindex(copy);
    tell();
    this.pump();
  }

  private index(range: RangeId, copy: string): void {
    const copies = this.copiesOf.get(range);
    if (copies) copies.add(copy);
    else this.copiesOf.set(range, new Set([copy]));
  }

  private unindex(copy: string): void {
    const range = Number(copy.slice(0, copy.indexOf('@')));
    const copies = this.copiesOf.get(range);
    copies?.delete(copy);
    if (copies?.size === 0) this.copiesOf.delete(range);
  }
}

function isSame(a: WantedCommand, b: WantedCommand): boolean {
  return a.command === b.command && a.epoch === b.epoch && a.address === b.address;
}
