import { Subject } from 'rxjs';
import type { Interval } from '../../model/interval.js';
import { type Key, keyFromText } from '../../model/key.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import type { Parent } from '../../model/report.js';
import type { RemoteState } from '../../model/states.js';
import type { CommandAnswer, CommandRequest } from '../../rangelet/rangelet.js';
import { type Cancel, type Clock, systemClock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { silentLogger } from '../../runtime/log.js';
import type { Failpoints } from '../chaos/failpoints.js';
import type { FollowTransport, SourceChannel, ToFollower, ToSource } from '../follow/messages.js';
import { FollowSource } from '../follow/source.js';
import { DEFAULT_LIMITS, KvNode, type NodeLimits } from '../node.js';
import type { WriteOptions } from '../range/commit-queue.js';
import { MemoryStorage } from '../storage/memory.js';
import type { Storage } from '../storage/storage.js';
import type { VerifyPeer } from '../verify/messages.js';

/** Nodes in one process, joined by function calls: for tests of what passes between them. */
export class LocalCluster {
  readonly nodes = new Map<string, KvNode>();
  private readonly storages = new Map<string, Storage>();
  private readonly lives = new Map<string, Life>();
  private readonly cuts = new Set<string>();
  private readonly connections = new Set<{ from: string; to: string; break: () => void }>();

  constructor(
    private readonly options: {
      readonly clock?: Clock;
      readonly limits?: Partial<NodeLimits>;
      readonly storage?: (ident: string) => Storage;
      /** Nodes of other people's making, which know kv.KV and nothing of following. */
      readonly plain?: Readonly<Record<string, { dump(range: RangeId): Promise<readonly { key: Buffer; value: Buffer }[]> }>>;
      readonly failpoints?: Failpoints;
    } = {},
  ) {}

  start(ident: string): KvNode {
    const disk = this.storages.get(ident) ?? this.options.storage?.(ident) ?? new MemoryStorage(`${ident}-disk`, nextTurn);
    this.storages.set(ident, disk);
    const life = new Life();
    this.lives.set(ident, life);
    const node = new KvNode({
      storage: life.storage(disk),
      transport: this.transport(ident, life),
      peerDump: async (to, range) => {
        const node = this.nodes.get(to);
        const plain = this.options.plain?.[to];
        if (plain) return plain.dump(range);
        if (!node || this.cuts.has(`${ident}-${to}`)) throw new AppError('UNAVAILABLE', `${to} cannot be reached`);
        return node.data.dump(range);
      },
      verifyTransport: (to) => this.verifyPeer(ident, to),
      clock: life.clock(this.options.clock ?? systemClock),
      logger: silentLogger,
      ident,
      address: ident,
      yieldTurn: nextTurn,
      onFatal: (error) => {
        throw error;
      },
      limits: { ...DEFAULT_LIMITS, ...this.options.limits },
      ...(this.options.failpoints ? { failpoints: this.options.failpoints } : {}),
    });
    this.nodes.set(ident, node);
    node.start();
    return node;
  }

  node(ident: string): KvNode {
    const node = this.nodes.get(ident);
    if (!node) throw new Error(`no node ${ident}`);
    return node;
  }

  /** Ends the process, but not the disk. */
  kill(ident: string): void {
    this.lives.get(ident)?.end();
    this.nodes.delete(ident);
    this.breakConnections(({ from, to }) => from === ident || to === ident);
  }

  /** Ends everything, so that nothing runs on after a test. */
  killAll(): void {
    for (const ident of [...this.nodes.keys()]) this.kill(ident);
  }

  loseDisk(ident: string): void {
    this.storages.delete(ident);
  }

  cut(a: string, b: string): void {
    this.cuts.add(`${a}-${b}`).add(`${b}-${a}`);
    this.breakConnections(({ from, to }) => this.cuts.has(`${from}-${to}`));
  }

  heal(): void {
    this.cuts.clear();
  }

  private verifyPeer(from: string, to: string): VerifyPeer {
    const answers = (): KvNode['verify']['answers'] => {
      const node = this.nodes.get(to);
      if (!node || this.cuts.has(`${from}-${to}`)) throw new AppError('UNAVAILABLE', `${to} cannot be reached`);
      return node.verify.answers;
    };
    return {
      digest: async (context, span, digest) => answers().digest(context, span, digest),
      states: async (context, keys) => answers().states(context, keys),
      condemn: async (context, because) => answers().condemn(context, because),
      close: () => undefined,
    };
  }

  private breakConnections(doomed: (connection: { from: string; to: string }) => boolean): void {
    for (const connection of [...this.connections]) if (doomed(connection)) connection.break();
  }

  private transport(from: string, life: Life): FollowTransport {
    return (to, start) => {
      const received = new Subject<ToFollower>();
      const over = new AbortController();
      const queue = new MessageQueue();
      received.subscribe((message) => {
        queue.push(message);
      });
      const finish = (error?: AppError): void => {
        this.connections.delete(connection);
        queue.end(error);
        over.abort(new AppError('CANCELLED', 'over'));
      };
      const connection = { from, to, break: () => { finish(new AppError('UNAVAILABLE', `connection to ${to} broke`)); } };
      const node = this.nodes.get(to);
      if (this.options.plain?.[to]) {
        queue.end(new AppError('UNIMPLEMENTED', `${to} does not know kv.Follow`));
        return { send: () => undefined, messages: queue, close: () => undefined };
      }
      if (!node || life.over || this.cuts.has(`${from}-${to}`)) {
        queue.end(new AppError('UNAVAILABLE', `${to} cannot be reached`));
        return { send: () => undefined, messages: queue, close: () => undefined };
      }
      this.connections.add(connection);
      const channel: SourceChannel = {
        send: async (message) => {
          if (over.signal.aborted) throw new AppError('CANCELLED', 'over');
          await queue.room();
          queue.push(message);
        },
        signal: over.signal,
      };
      const source = new FollowSource(node.sources, start, channel);
      source.run().catch((thrown: unknown) => {
        finish(AppError.from(thrown));
      });
      return {
        send: (message: ToSource) => {
          if (message.type !== 'start' && !over.signal.aborted) source.receive(message);
        },
        messages: queue,
        close: () => {
          finish();
        },
      };
    };
  }
}

/** What a process loses when it is killed: its timers fire no more, and nothing it asks of the disk is done. */
class Life {
  over = false;
  private readonly timers = new Set<Cancel>();

  end(): void {
    this.over = true;
    for (const cancel of this.timers) cancel();
  }

  clock(clock: Clock): Clock {
    return {
      now: () => clock.now(),
      wallMs: () => clock.wallMs(),
      after: (ms, callback, options) => {
        if (this.over) return () => undefined;
        const cancel = clock.after(
          ms,
          () => {
            this.timers.delete(cancel);
            callback();
          },
          options,
        );
        this.timers.add(cancel);
        return () => {
          this.timers.delete(cancel);
          cancel();
        };
      },
    };
  }

  storage(disk: Storage): Storage {
    const commit: Storage['commit'] = (changes) => (this.over ? new Promise(() => undefined) : disk.commit(changes));
    return new Proxy(disk, { get: (target, name) => (name === 'commit' ? commit : bound(target, name)) });
  }
}

function bound(target: Storage, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}

/** Messages on their way, a few at most. */
class MessageQueue implements AsyncIterable<ToFollower> {
  private readonly items: ToFollower[] = [];
  private ended = false;
  private error: AppError | undefined;
  private wake: () => void = () => undefined;
  private readonly waiting: (() => void)[] = [];

  push(message: ToFollower): void {
    this.items.push(message);
    this.wake();
  }

  room(): Promise<void> {
    if (this.items.length < 4 || this.ended) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  end(error?: AppError): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    this.wake();
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ToFollower> {
    for (;;) {
      const next = this.items.shift();
      if (next) {
        this.waiting.shift()?.();
        yield next;
      } else if (this.ended) {
        if (this.error) throw this.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    }
  }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const meta = (id: number, start = '', end = ''): RangeMeta => ({ id, start: keyFromText(start), end: keyFromText(end) });

/** `range` with one active copy at `node`. */
export const at = (range: RangeMeta, ...nodes: string[]): Parent => ({
  range,
  parents: [],
  placements: nodes.map((node, index) => ({ node, state: 'Active', index })),
});

/** Sends one command, and again until it is done; the answer says how it ended. */
export async function command(node: KvNode, request: CommandRequest): Promise<CommandAnswer> {
  for (;;) {
    const answer = await node.rangelet.execute(request);
    const transitional: RemoteState[] = ['Preparing', 'Activating', 'Deactivating', 'Dropping'];
    if (!transitional.includes(answer.state)) return answer;
    await nextTurn();
  }
}

export function put(node: KvNode, key: string, value: string | undefined, options?: WriteOptions): Promise<{ epoch: number; offset: number }> {
  return new Promise((resolve, reject) => {
    const done: Parameters<KvNode['data']['put']>[2] = (error, answer) => {
      if (error) reject(error);
      else resolve({ epoch: answer.epoch, offset: answer.offset });
    };
    node.data.put(Buffer.from(key), value === undefined ? undefined : Buffer.from(value), done, options);
  });
}

export function get(node: KvNode, key: string): string | undefined {
  return node.data.get(Buffer.from(key))?.value.toString();
}

export type { Interval, Key };
