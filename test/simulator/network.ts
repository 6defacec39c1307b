import { AppError } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import type { Process } from './process.js';
import type { Scheduler } from './scheduler.js';
import type { Trace } from './trace.js';
import type { Weather } from './weather.js';

/** A stream's messages that are on their way; beyond, the sender waits. */
const WINDOW = 8;
/** Keepalives notice within this that nothing comes through any more. */
const KEEPALIVE_MS = { least: 500, most: 2500 };

export interface CallOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** The request may arrive twice. */
  readonly doubles: boolean;
}

/** Between processes: messages with a fate of their own, and streams that keep an order until they break. */
export class Network {
  private readonly cuts = new Set<string>();
  private readonly processes = new Map<string, Process>();
  readonly streams = new Set<Stream>();

  constructor(
    readonly scheduler: Scheduler,
    readonly random: Random,
    readonly weather: Weather,
    readonly trace: Trace,
  ) {}

  up(process: Process): void {
    this.processes.set(process.name, process);
    process.onDeath(() => {
      if (this.processes.get(process.name) === process) this.processes.delete(process.name);
      for (const stream of [...this.streams]) stream.lose(process);
    });
  }

  processAt(name: string): Process | undefined {
    return this.processes.get(name);
  }

  /** Nothing gets from one to the other any more. */
  cut(from: string, to: string): void {
    this.cuts.add(`${from}>${to}`);
    for (const stream of this.streams) if (stream.isBetween(from, to)) stream.starve();
  }

  mend(from: string, to: string): void {
    this.cuts.delete(`${from}>${to}`);
  }

  mendAll(): void {
    this.cuts.clear();
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`);
  }

  /** Carries a message; `arrive` runs at the other end, if it gets there. */
  send(from: string, to: string, arrive: () => void): void {
    const { random, weather } = this;
    if (weather.happens(random, weather.profile.drop)) return;
    this.scheduler.after(weather.travelMs(random), () => {
      if (!this.isCut(from, to)) arrive();
    });
  }

  /** A request and its answer, each with its own fate. `serve` runs at whatever process has the name when the request arrives. */
  call<R>(from: Process, to: string, serve: (at: Process) => Promise<R>, options: CallOptions): Promise<R> {
    return new Promise((resolve, reject) => {
      let over = false;
      const end = (tell: () => void): void => {
        if (over) return;
        over = true;
        cancelTimer();
        options.signal?.removeEventListener('abort', onAbort);
        from.run(tell);
      };
      const fail = (error: AppError): void => {
        end(() => {
          reject(error);
        });
      };
      const onAbort = (): void => {
        fail(new AppError('CANCELLED', 'not wanted any more'));
      };
      const cancelTimer = from.after(options.timeoutMs, () => {
        fail(new AppError('DEADLINE_EXCEEDED', `no answer within ${options.timeoutMs} ms`));
      });
      options.signal?.addEventListener('abort', onAbort, { once: true });
      const back = (tell: () => void): void => {
        this.send(to, from.name, () => {
          end(tell);
        });
      };
      const arrive = (): void => {
        const at = this.processes.get(to);
        if (!at) {
          back(() => {
            reject(new AppError('UNAVAILABLE', `${to} refuses the connection`));
          });
          return;
        }
        at.run(() => {
          serve(at).then(
            (answer) => {
              if (at.alive) back(() => resolve(answer));
            },
            (thrown: unknown) => {
              if (at.alive) back(() => reject(AppError.from(thrown)));
            },
          );
        });
      };
      const copies = options.doubles && this.weather.happens(this.random, this.weather.profile.double) ? 2 : 1;
      for (let i = 0; i < copies; i++) this.send(from.name, to, arrive);
    });
  }

  /** Opens a stream; `accept` runs at the other end when it gets there. */
  open<Up, Down>(from: Process, to: string, accept: (end: StreamEnd<Up, Down>, at: Process) => void): StreamEnd<Down, Up> {
    const stream = new Stream(this, from, to, (end, at) => {
      accept(end as StreamEnd<Up, Down>, at);
    });
    return stream.near as StreamEnd<Down, Up>;
  }

  keepaliveMs(): number {
    return KEEPALIVE_MS.least + this.random.next() * (KEEPALIVE_MS.most - KEEPALIVE_MS.least);
  }
}

type Item<T> = { readonly type: 'message'; readonly message: T; readonly left: () => void } | { readonly type: 'end'; readonly error: AppError | undefined };

/** One end of a stream, as the process there has it. */
export class StreamEnd<In, Out> {
  onMessage: (message: In) => void = () => undefined;
  /** Once, unless this end was closed here. */
  onEnd: (error: AppError | undefined) => void = () => undefined;
  readonly ended = new AbortController();
  process: Process | undefined;
  readonly outbox: Item<Out>[] = [];
  private pumping = false;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly stream: Stream,
    private readonly network: Network,
  ) {}

  /** Resolves when the stream takes more; rejects once it is over. */
  send(message: Out): Promise<void> {
    if (this.ended.signal.aborted) return Promise.reject(new AppError('CANCELLED', 'the stream is over'));
    return new Promise((resolve, reject) => {
      this.put({ type: 'message', message, left: () => this.release() });
      if (this.outbox.length <= WINDOW) resolve();
      else {
        this.waiting.push(() => {
          if (this.ended.signal.aborted) reject(new AppError('CANCELLED', 'the stream is over'));
          else resolve();
        });
      }
    });
  }

  /** Ends the stream here; the other end learns of it behind what was sent. */
  close(error?: AppError): void {
    if (this.ended.signal.aborted) return;
    this.put({ type: 'end', error });
    this.finish();
  }

  /** The connection is found broken at this end. */
  break(error: AppError): void {
    if (this.ended.signal.aborted) return;
    this.process?.run(() => {
      if (this.ended.signal.aborted) return;
      this.finish();
      this.onEnd(error);
    });
  }

  put(item: Item<Out>): void {
    this.outbox.push(item);
    this.pump();
  }

  finish(): void {
    this.ended.abort(new AppError('CANCELLED', 'the stream is over'));
    for (const wake of this.waiting.splice(0)) wake();
  }

  private release(): void {
    this.waiting.shift()?.();
  }

  private pump(): void {
    if (this.pumping || this.outbox.length === 0) return;
    this.pumping = true;
    const { network, stream } = this;
    network.scheduler.after(network.weather.streamMs(network.random), () => {
      this.pumping = false;
      if (stream.isHeld(this)) return;
      const item = this.outbox.shift();
      if (item) stream.deliver(this, item);
      this.pump();
    });
  }

  /** What was held may go on. */
  resume(): void {
    this.pump();
  }
}

export class Stream {
  readonly near: StreamEnd<unknown, unknown>;
  readonly far: StreamEnd<unknown, unknown>;
  private accepted = false;

  constructor(
    private readonly network: Network,
    private readonly from: Process,
    private readonly to: string,
    private readonly accept: (end: StreamEnd<unknown, unknown>, at: Process) => void,
  ) {
    this.near = new StreamEnd(this, network);
    this.far = new StreamEnd(this, network);
    this.near.process = from;
    if (!from.alive) return;
    network.streams.add(this);
    network.scheduler.after(network.weather.streamMs(network.random), () => {
      this.connect();
    });
    if (network.isCut(from.name, to) || network.isCut(to, from.name)) this.starve();
  }

  isBetween(a: string, b: string): boolean {
    const { name } = this.from;
    return (name === a && this.to === b) || (name === b && this.to === a);
  }

  /** Nothing gets through this direction for now: what is sent waits in the network. */
  isHeld(end: { resume(): void }): boolean {
    const { name } = this.from;
    if (!this.accepted) return true;
    const held = end === this.near ? this.network.isCut(name, this.to) : this.network.isCut(this.to, name);
    if (held) {
      this.network.scheduler.after(50, () => {
        end.resume();
      });
    }
    return held;
  }

  deliver(from: object, item: Item<unknown>): void {
    const to = from === this.near ? this.far : this.near;
    if (item.type === 'message') item.left();
    if (item.type === 'end') this.network.streams.delete(this);
    to.process?.run(() => {
      if (to.ended.signal.aborted) return;
      if (item.type === 'message') {
        to.onMessage(item.message);
        return;
      }
      to.finish();
      to.onEnd(item.error);
    });
  }

  /** The network between the two ends is cut: both find out, each in its own time, unless it is mended before. */
  starve(): void {
    for (const end of [this.near, this.far]) {
      this.network.scheduler.after(this.network.keepaliveMs(), () => {
        if (this.network.isCut(this.from.name, this.to) || this.network.isCut(this.to, this.from.name)) this.break(end);
      });
    }
  }

  /** A connection that breaks is found broken by each end in its own time; what is on its way may be lost. */
  breakBoth(): void {
    this.near.outbox.length = 0;
    this.far.outbox.length = 0;
    const { random, scheduler } = this.network;
    for (const end of [this.near, this.far]) {
      scheduler.after(random.next() * 20, () => {
        this.break(end);
      });
    }
  }

  /** A process died: what it sent may still arrive, in part, and then the other end is told, or has to find out. */
  lose(process: Process): void {
    const dead = this.near.process === process ? this.near : this.far.process === process ? this.far : undefined;
    if (!dead) return;
    const { random, scheduler } = this.network;
    const error = new AppError('UNAVAILABLE', 'the connection was reset');
    dead.outbox.length = Math.floor(random.next() * (dead.outbox.length + 1));
    if (random.next() < 0.8) dead.put({ type: 'end', error });
    const other = dead === this.near ? this.far : this.near;
    scheduler.after(this.network.keepaliveMs(), () => {
      this.break(other);
    });
  }

  /** Once one end has given up, the other is told when it sends, or has to find out. */
  private break(end: StreamEnd<unknown, unknown>): void {
    if (this.network.streams.delete(this)) {
      const other = end === this.near ? this.far : this.near;
      this.network.scheduler.after(this.network.keepaliveMs(), () => {
        this.break(other);
      });
    }
    end.break(new AppError('UNAVAILABLE', `the connection to ${end === this.near ? this.to : this.from.name} broke`));
  }

  private connect(): void {
    const { name } = this.from;
    if (!this.from.alive || this.near.ended.signal.aborted) return;
    if (this.network.isCut(name, this.to) || this.network.isCut(this.to, name)) {
      this.network.scheduler.after(100, () => {
        this.connect();
      });
      return;
    }
    const process = this.network.processAt(this.to);
    if (!process) {
      this.network.streams.delete(this);
      this.near.break(new AppError('UNAVAILABLE', `${this.to} refuses the connection`));
      return;
    }
    this.far.process = process;
    this.accepted = true;
    process.run(() => {
      this.accept(this.far, process);
    });
    this.near.resume();
    this.far.resume();
  }
}
