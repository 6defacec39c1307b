import * as grpc from '@grpc/grpc-js';
import { type Key, keyFromBytes, keyToBytes } from '../../model/key.js';
import { channelOptions } from '../../proto/channel.js';
import { boundFromWire, countFromWire, countToWire, epochFromWire, epochToWire, rangeIdFromWire, rangeIdToWire } from '../../proto/convert.js';
import { VerifyClient, type VerifyContext as WireContext, VerifyService } from '../../proto/gen/kv/verify.js';
import type { VerifyReport as WireReport } from '../../proto/gen/ranger/types.js';
import { addService } from '../../proto/serve.js';
import { fromServiceError } from '../../proto/status.js';
import type { Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import { type KeyState, STATE_BYTES } from '../verify/compare.js';
import type { FollowerAnswers } from '../verify/follower.js';
import type { VerifyContext, VerifyPeer, VerifyReport, VerifyTransport } from '../verify/messages.js';
import type { Verifier } from '../verify/verifier.js';

/** Serves kv.Verify: to operators what they ask of a primary, to primaries what they ask of followers. */
export function addVerifyService(server: grpc.Server, parts: { readonly verifier: Verifier; readonly answers: FollowerAnswers }, deps: { readonly logger: Logger; readonly closing: AbortSignal }): void {
  const { verifier, answers } = parts;
  addService(
    server,
    VerifyService,
    {
      run: async (call, { signal }) => {
        const tell = (report: VerifyReport): void => {
          if (!call.cancelled) call.write(reportToWire(report));
        };
        await verifier.run(rangeIdFromWire(call.request.range, 'range'), tell, signal);
        call.end();
      },
      digest: async ({ context, start, end, digest }) => {
        const span = { start: boundFromWire(start, 'start'), end: boundFromWire(end, 'end') };
        const answer = await answers.digest(contextFromWire(context), span, digest);
        if (answer.alike) return { alike: true, keys: [], states: NOTHING, more: false };
        return { alike: false, keys: [...answer.states.keys()].map(keyToBytes), states: statesToWire([...answer.states.values()]), more: answer.more };
      },
      states: async ({ context, keys }) => ({ states: statesToWire(await answers.states(contextFromWire(context), keys.map(keyFromBytes))) }),
      condemn: async ({ context, because }) => {
        await answers.condemn(contextFromWire(context), because);
        return {};
      },
    },
    deps,
  );
}

/** An answer that takes longer comes from a node that is not well. */
const ANSWER_MS_MAX = 15_000;
const NOTHING = Buffer.alloc(0);

export function grpcVerifyTransport(clock: Clock): VerifyTransport {
  return (address) => new GrpcVerifyPeer(new VerifyClient(address, grpc.credentials.createInsecure(), channelOptions()), clock);
}

type Invoke<R> = (metadata: grpc.Metadata, options: Partial<grpc.CallOptions>, done: (error: grpc.ServiceError | null, answer: R) => void) => grpc.ClientUnaryCall;

class GrpcVerifyPeer implements VerifyPeer {
  constructor(
    private readonly client: VerifyClient,
    private readonly clock: Clock,
  ) {}

  async digest(...[context, span, digest, signal]: Parameters<VerifyPeer['digest']>): ReturnType<VerifyPeer['digest']> {
    const request = { context: contextToWire(context), start: keyToBytes(span.start), end: keyToBytes(span.end), digest };
    const { alike, keys, states, more } = await this.call<{ alike: boolean; keys: Buffer[]; states: Buffer; more: boolean }>(signal, (metadata, options, done) => this.client.digest(request, metadata, options, done));
    if (alike) return { alike };
    const read = statesFromWire(states, keys.length);
    return { alike, states: new Map(keys.map((key, i): [Key, KeyState] => [keyFromBytes(key), read[i] as KeyState])), more };
  }

  async states(...[context, keys, signal]: Parameters<VerifyPeer['states']>): ReturnType<VerifyPeer['states']> {
    const request = { context: contextToWire(context), keys: keys.map(keyToBytes) };
    const { states } = await this.call<{ states: Buffer }>(signal, (metadata, options, done) => this.client.states(request, metadata, options, done));
    return statesFromWire(states, keys.length);
  }

  async condemn(...[context, because, signal]: Parameters<VerifyPeer['condemn']>): Promise<void> {
    await this.call<object>(signal, (metadata, options, done) => this.client.condemn({ context: contextToWire(context), because }, metadata, options, done));
  }

  close(): void {
    this.client.close();
  }

  private call<R>(signal: AbortSignal, invoke: Invoke<R>): Promise<R> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        call.cancel();
      };
      const call = invoke(new grpc.Metadata(), { deadline: this.clock.wallMs() + ANSWER_MS_MAX }, (error, answer) => {
        signal.removeEventListener('abort', onAbort);
        if (error) reject(fromServiceError(error));
        else resolve(answer);
      });
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

function contextFromWire(wire: WireContext | undefined): VerifyContext {
  if (!wire) throw new AppError('INVALID_ARGUMENT', 'context: is missing');
  return { range: rangeIdFromWire(wire.range, 'context.range'), epoch: epochFromWire(wire.epoch, 'context.epoch'), offset: countFromWire(wire.offset, 'context.offset') };
}

function contextToWire({ range, epoch, offset }: VerifyContext): WireContext {
  return { range: rangeIdToWire(range), epoch: epochToWire(epoch), offset: countToWire(offset) };
}

function statesToWire(states: readonly KeyState[]): Buffer {
  return Buffer.from(states.join(''), 'hex');
}

function statesFromWire(bytes: Buffer, count: number): KeyState[] {
  if (bytes.length !== count * STATE_BYTES) throw new AppError('INVALID_ARGUMENT', `states: ${bytes.length} bytes are not the states of ${count} keys`);
  const hex = bytes.toString('hex');
  return Array.from({ length: count }, (_, i) => hex.slice(i * STATE_BYTES * 2, (i + 1) * STATE_BYTES * 2));
}

function reportToWire(report: VerifyReport): WireReport {
  return {
    range: rangeIdToWire(report.range),
    keys: countToWire(report.keys),
    bytes: countToWire(report.bytes),
    keysTotal: countToWire(report.keysTotal),
    elapsedMs: countToWire(Math.round(report.elapsedMs)),
    copies: report.copies.map(({ node, differences, skipped, condemned }) => ({ node, differences: countToWire(differences), skipped, condemned })),
    differences: report.differences.map(({ key, node, what }) => ({ key: keyToBytes(key), node, what })),
    unsettled: countToWire(report.unsettled),
    done: report.done,
    problem: report.problem,
  };
}
