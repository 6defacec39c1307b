import { NO_MEMBERSHIP } from '../../model/report.js';
import { Observable } from 'rxjs';
import type { EndStatus, NodeTransport as DataTransport, PipeEvents, TransportFactory } from '../../client/transport.js';
import type { CommandAnswer, Dial } from '../../controller/transport/transport.js';
import type { WantedCommand } from '../../controller/orchestrator/types.js';
import type { RangesEvent } from '../../model/report.js';
import type { FollowStart, FollowTransport, SourceChannel, ToFollower, ToSource } from '../../node/follow/messages.js';
import { FollowSource } from '../../node/follow/source.js';
import type { KvNode } from '../../node/node.js';
import { keyHandler } from '../../node/server/kv-services.js';
import type { VerifyTransport } from '../../node/verify/messages.js';
import { CODE } from '../../proto/codes.js';
import { CANCEL, decodePipeRequests, encodePipeResponses } from '../../proto/kv-codec.js';
import { statusNumber } from '../../proto/status.js';
import type { LinkEvent, RangesTransport } from '../../rangelet/mirror-link.js';
import type { CommandRequest } from '../../rangelet/rangelet.js';
import { streamRanges } from '../../rangelet/server.js';
import { AppError, assert } from '../../runtime/errors.js';
import type { Network, StreamEnd } from './network.js';
import type { Process } from './process.js';

/* The wires between the real parts: what main.ts does with gRPC, done with the simulated network. */

/** The node that lives in a process. */
export type NodeOf = (process: Process) => KvNode | undefined;

export interface Wires {
  readonly network: Network;
  readonly nodeOf: NodeOf;
  /** What a broken build does with a message to a follower; undefined loses it. */
  readonly toFollower: (message: ToFollower) => ToFollower | undefined;
  readonly source: (source: FollowSource) => FollowSource;
}

const ABSENT = new AppError('UNAVAILABLE', 'the node is starting');

export function dialFrom(process: Process, { network, nodeOf }: Wires): Dial {
  return (address) => ({
    send: (command, { timeoutMs, signal, term }) =>
      network.call(process, address, (at) => obey(at, command, term), { timeoutMs, signal, doubles: true }),
    info: ({ timeoutMs }) =>
      network.call(
        process,
        address,
        (at) => {
          const node = nodeOf(at);
          if (!node) return Promise.reject(ABSENT);
          const { ranges, wantDrain, ident, incarnation } = node.rangelet.info();
          return Promise.resolve({ ranges, wantDrain, ident, incarnation });
        },
        { timeoutMs, doubles: false },
      ),
    ranges: ({ event, ended }) => {
      const end = network.open<never, RangesEvent>(process, address, (far, at) => {
        serveRanges(far, nodeOf(at));
      });
      end.onMessage = event;
      end.onEnd = (error) => {
        ended(error ?? new AppError('UNAVAILABLE', 'the node ended its stream of ranges'));
      };
      return () => {
        end.close();
      };
    },
    close: () => undefined,
  });

  async function obey(at: Process, command: WantedCommand, term: number): Promise<CommandAnswer> {
    const node = nodeOf(at);
    if (!node) throw ABSENT;
    network.trace.note(at.name, `<- ${command.command} R${command.range.id} epoch ${command.epoch} term ${term}${command.initial ? ' initial' : ''}${told(command)}`);
    const answer = await node.rangelet.execute({ ...requestOf(command), term });
    network.trace.note(at.name, `-> ${command.command} R${command.range.id}: ${answer.state} ${answer.lastError}`);
    return answer;
  }
}

function requestOf({ command, range, epoch, parents, initial, membership = NO_MEMBERSHIP, force = false }: WantedCommand): CommandRequest {
  switch (command) {
    case 'Prepare':
      return { command, meta: range, epoch, parents, initial, fork: membership.fork };
    case 'Activate':
      return { command, id: range.id, epoch, force: false, sources: parents, initial, membership };
    case 'Deactivate':
      return { command, id: range.id, epoch };
    case 'Drop':
      return { command, id: range.id, epoch, force };
  }
}

function serveRanges(far: StreamEnd<never, RangesEvent>, node: KvNode | undefined): void {
  if (!node) {
    far.close(ABSENT);
    return;
  }
  streamRanges(node.rangelet, (event) => far.send(event), far.ended.signal).then(
    () => {
      far.close();
    },
    (thrown: unknown) => {
      far.close(AppError.from(thrown));
    },
  );
}

export function rangesFrom(process: Process, { network, nodeOf }: Wires): RangesTransport {
  return (address) =>
    new Observable<LinkEvent>((subscriber) => {
      const end = network.open<never, RangesEvent>(process, address, (far, at) => {
        serveRanges(far, nodeOf(at));
      });
      end.onMessage = (event) => {
        subscriber.next(event);
      };
      end.onEnd = (error) => {
        if (error) subscriber.error(error);
        else subscriber.complete();
      };
      return () => {
        end.close();
      };
    });
}

// --- following -----------------------------------------------------------------------

export function followFrom(process: Process, wires: Wires): FollowTransport {
  return (address, start) => {
    const received = new Inbox<ToFollower>();
    const end = wires.network.open<ToSource, ToFollower>(process, address, (far, at) => {
      serveFollower(far, at, start, wires);
    });
    end.onMessage = (message) => {
      const kept = wires.toFollower(message);
      if (kept) received.push(kept);
    };
    end.onEnd = (error) => {
      received.end(error);
    };
    return {
      send: (message) => {
        end.send(message).catch(() => undefined);
      },
      messages: received,
      close: () => {
        end.close();
        received.end();
      },
    };
  };
}

/** How long a follower may take over one question. */
const VERIFY_TIMEOUT_MS = 10_000;

export function verifyFrom(process: Process, { network, nodeOf }: Wires): VerifyTransport {
  return (address) => {
    const ask = <R>(question: (answers: KvNode['verify']['answers']) => Promise<R>, signal: AbortSignal): Promise<R> =>
      network.call(process, address, (at) => question((nodeOf(at) ?? absent()).verify.answers), { timeoutMs: VERIFY_TIMEOUT_MS, signal, doubles: false });
    return {
      digest: (context, span, digest, signal) => ask((answers) => answers.digest(context, span, digest), signal),
      states: (context, keys, signal) => ask((answers) => answers.states(context, keys), signal),
      condemn: (context, because, signal) => ask((answers) => answers.condemn(context, because), signal),
      close: () => undefined,
    };
  };
}

function absent(): never {
  throw ABSENT;
}

function serveFollower(far: StreamEnd<ToSource, ToFollower>, at: Process, start: FollowStart, wires: Wires): void {
  const node = wires.nodeOf(at);
  if (!node) {
    far.close(ABSENT);
    return;
  }
  const channel: SourceChannel = { send: (message) => far.send(message), signal: far.ended.signal };
  const source = wires.source(new FollowSource(node.sources, start, channel));
  far.onMessage = (message) => {
    if (message.type !== 'start') source.receive(message);
  };
  source.run().then(
    () => {
      far.close();
    },
    (thrown: unknown) => {
      far.close(AppError.from(thrown));
    },
  );
}

/** Messages that have arrived and were not read yet. */
class Inbox<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private over: { readonly error: AppError | undefined } | undefined;
  private wake: () => void = () => undefined;

  push(item: T): void {
    if (this.over) return;
    this.items.push(item);
    this.wake();
  }

  end(error?: AppError): void {
    this.over ??= { error };
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const next = this.items.shift();
      if (next !== undefined) {
        yield next;
      } else if (this.over) {
        if (this.over.error) throw this.over.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    }
  }
}

// --- requests ------------------------------------------------------------------------

export function dataFrom(process: Process, wires: Wires): TransportFactory {
  return (address) => new SimulatedData(process, address, wires);
}

class SimulatedData implements DataTransport {
  private readonly open = new Set<StreamEnd<Buffer | 'open', Buffer>>();
  private closed = false;

  constructor(
    private readonly process: Process,
    private readonly address: string,
    private readonly wires: Wires,
  ) {}

  openPipe(events: PipeEvents): ReturnType<DataTransport['openPipe']> {
    let end: StreamEnd<Buffer | 'open', Buffer> | undefined;
    let over = false;
    let paused = false;
    const unread: Buffer[] = [];
    const finish = (status: EndStatus): void => {
      if (over) return;
      over = true;
      if (end) this.open.delete(end);
      events.onEnd(status);
    };
    const connect = (): void => {
      if (over || this.closed) return;
      const mine = this.wires.network.open<Buffer, Buffer | 'open'>(this.process, this.address, (far, at) => {
        servePipe(far, at, this.wires);
      });
      end = mine;
      let accepted = false;
      mine.onMessage = (message) => {
        if (message !== 'open') {
          if (paused) unread.push(message);
          else events.onMessage(message);
          return;
        }
        accepted = true;
        this.open.add(mine);
        events.onOpen(true);
      };
      mine.onEnd = (error) => {
        // Until there is a connection it is waited for.
        if (!accepted) this.process.after(100, connect);
        else finish(error ? { code: statusNumber(error.code), details: error.message } : { code: CODE.OK, details: '' });
      };
    };
    connect();
    return {
      write: (message, written) => {
        if (!end) return;
        end.send(message).then(written, () => undefined);
      },
      setPaused: (pause) => {
        paused = pause;
        if (!pause) for (const message of unread.splice(0)) events.onMessage(message);
      },
      cancel: () => {
        end?.close();
        this.process.after(0, () => {
          finish({ code: CODE.CANCELLED, details: 'cancelled here' });
        });
      },
    };
  }

  unary(): () => void {
    assert(false, 'every simulated node knows pipes');
  }

  isConnected(): boolean {
    return this.open.size > 0;
  }

  close(): void {
    this.closed = true;
    for (const end of this.open) end.close();
  }
}

function servePipe(far: StreamEnd<Buffer, Buffer | 'open'>, at: Process, { nodeOf }: Wires): void {
  const node = nodeOf(at);
  if (!node) {
    far.close(ABSENT);
    return;
  }
  const handle = keyHandler(node.data, at.clock);
  far.send('open').catch(() => undefined);
  far.onMessage = (message) => {
    for (const request of decodePipeRequests(message)) {
      if (request.action === CANCEL) continue;
      handle(request, (answer) => {
        far.send(encodePipeResponses([{ ...answer, id: request.id }])).catch(() => undefined);
      });
    }
  };
}

function told({ membership }: WantedCommand): string {
  if (!membership) return '';
  const { members, fork, promote } = membership;
  return ` members ${members.map(({ node }) => node).join(' ')}${fork > 0 ? ` fork ${fork}` : ''}${promote ? ' promote' : ''}`;
}
