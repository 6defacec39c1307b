import { EventEmitter } from 'node:events';
import { Agent } from 'node:http';
import Consul from 'consul';
import { AppError, type ErrorCode, messageOf } from '../../runtime/errors.js';
import { formatAddress } from '../instances.js';

const CALL_MS = 5000;
/** How long a blocking query may wait at the agent: short, because a frozen agent is noticed by its end only. */
export const BLOCKING_WAIT_S = 10;
/** The agent adds up to a sixteenth to a wait; the rest is for the way. */
const BLOCKING_MS = BLOCKING_WAIT_S * 1000 * (17 / 16) + 1500;

export interface CallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

export interface BlockingOptions {
  /** Answers when the state is newer than this; 0 answers at once. */
  readonly index: bigint;
  readonly signal: AbortSignal;
}

/** An answer to a blocking query. */
export interface Indexed<T> {
  readonly index: bigint;
  readonly value: T;
}

export interface ServiceDefinition {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly meta: Readonly<Record<string, string>>;
}

export interface ServiceEntry extends ServiceDefinition {
  readonly passing: boolean;
  readonly createIndex: number;
}

export interface Pair {
  readonly key: string;
  readonly value: string;
  readonly modifyIndex: number;
  readonly session: string | undefined;
}

export type KvOperation =
  | { readonly Verb: 'cas'; readonly Key: string; readonly Value: string; readonly Index: number }
  | { readonly Verb: 'delete-cas' | 'check-index'; readonly Key: string; readonly Index: number }
  | { readonly Verb: 'check-not-exists'; readonly Key: string }
  | { readonly Verb: 'check-session'; readonly Key: string; readonly Session: string }
  | { readonly Verb: 'lock'; readonly Key: string; readonly Value: string; readonly Session: string };

export type TransactionOutcome =
  | { readonly kind: 'applied'; readonly pairs: readonly { readonly key: string; readonly modifyIndex: number }[] }
  | { readonly kind: 'conflict'; readonly reason: string };

/** A failed call; `connectionLost` when the agent is gone rather than slow or unwilling. */
export class ConsulError extends AppError {
  readonly connectionLost: boolean;
  readonly status: number | undefined;

  constructor(code: ErrorCode, message: string, facts: { readonly connectionLost: boolean; readonly status?: number | undefined; readonly cause: unknown }) {
    super(code, message, { cause: facts.cause });
    this.name = 'ConsulError';
    this.connectionLost = facts.connectionLost;
    this.status = facts.status;
  }
}

export interface ConsulClientOptions {
  readonly host: string;
  readonly port: number;
  readonly token?: string;
}

/**
 * The calls of Consul's HTTP API that this project makes, over the npm client. Its
 * own types refuse some right calls and its results hide some answers (a false, a
 * status, an index), so here every call takes the whole response and says in its
 * type what comes back. Its `watch` is not used: see follow.ts.
 */
export class ConsulClient {
  private readonly raw: RawConsul;
  private readonly agent = new Agent({ keepAlive: true });
  private readonly common: { readonly token?: string };
  readonly address: string;

  constructor({ host, port, token }: ConsulClientOptions) {
    this.address = formatAddress(host, port);
    this.common = token === undefined ? {} : { token };
    this.raw = new Consul({ host: host.includes(':') ? `[${host}]` : host, port, agent: this.agent }) as unknown as RawConsul;
  }

  /** Ends idle connections; calls under way are ended by their signals. */
  close(): void {
    this.agent.destroy();
  }

  async registerService(service: ServiceDefinition, check: GrpcCheck, options?: CallOptions): Promise<void> {
    await this.call('register a service', options, (common) => this.raw.agent.service.register({ ...service, check, ...common }));
  }

  async deregisterService(id: string, options?: CallOptions): Promise<void> {
    await this.call('deregister a service', options, (common) => this.raw.agent.service.deregister({ id, ...common }));
  }

  /** A service as the agent itself has it; undefined when it does not. */
  async agentService(id: string, options?: CallOptions): Promise<ServiceDefinition | undefined> {
    const { body } = await this.call('list services', options, (common) => this.raw.agent.service.list({ filter: `ID == ${JSON.stringify(id)}`, ...common }));
    const service = (body as Record<string, RawService>)[id];
    return service && definitionOf(service, '');
  }

  /** The instances of a service in the whole cluster; blocks while nothing is newer than the index. */
  async serviceEntries(name: string, query: { readonly passing: boolean } & (BlockingOptions | { readonly index: 0n; readonly signal?: AbortSignal })): Promise<Indexed<readonly ServiceEntry[]>> {
    const { index, signal, passing } = query;
    const { body, headers } = await this.call('read a service', blocking(index, signal), (common) =>
      this.raw.health.service({ service: name, passing, index: String(index), wait: `${BLOCKING_WAIT_S}s`, ...common }),
    );
    return { index: indexOf(headers), value: (body as RawHealthEntry[]).map(entryOf) };
  }

  async pair(key: string, query: BlockingOptions): Promise<Indexed<Pair | undefined>> {
    const { index, signal } = query;
    const { body, headers } = await this.call('read a key', blocking(index, signal), (common) =>
      this.raw.kv.get({ key, index: String(index), wait: `${BLOCKING_WAIT_S}s`, ...common }),
    );
    return { index: indexOf(headers), value: body === undefined ? undefined : pairOf(body as RawPair) };
  }

  /** Every pair under the prefix, as of now. */
  async pairs(prefix: string, options?: CallOptions): Promise<readonly Pair[]> {
    const { body } = await this.call('read keys', options, (common) => this.raw.kv.get({ key: prefix, recurse: true, consistent: true, ...common }));
    return ((body ?? []) as RawPair[]).map(pairOf);
  }

  /** All operations or none. */
  async transaction(operations: readonly KvOperation[], options?: CallOptions): Promise<TransactionOutcome> {
    try {
      const { body } = await this.call('write a transaction', options, (common) =>
        this.raw.transaction.create(
          operations.map((operation) => ({ KV: operation })),
          common,
        ),
      );
      const results = (body as { Results: readonly { KV?: { Key: string; ModifyIndex: number } }[] | null }).Results ?? [];
      return { kind: 'applied', pairs: results.flatMap(({ KV }) => (KV ? [{ key: KV.Key, modifyIndex: KV.ModifyIndex }] : [])) };
    } catch (thrown) {
      if (thrown instanceof ConsulError && thrown.status === 409) return { kind: 'conflict', reason: conflictReason(thrown) };
      throw thrown;
    }
  }

  /** Gives a lock back; the key stays. */
  async release(key: string, value: string, session: string, options?: CallOptions): Promise<void> {
    await this.call('release a lock', options, (common) => this.raw.kv.set({ key, value, release: session, ...common }));
  }

  /**
   * A service whose one check, of the same id, passes for as long as it is renewed. A
   * check without a service is the machine's: failing, it would hide all that runs there.
   */
  async registerTtlService(service: { readonly id: string; readonly name: string; readonly checkName: string; readonly ttlMs: number }, options?: CallOptions): Promise<void> {
    const { id, name, checkName, ttlMs } = service;
    const check = { checkid: id, name: checkName, ttl: `${ttlMs}ms`, status: 'passing', deregistercriticalserviceafter: '1m' };
    await this.call('register a check', options, (common) => this.raw.agent.service.register({ id, name, check, ...common }));
  }

  async passCheck(id: string, options?: CallOptions): Promise<void> {
    await this.call('renew a check', options, (common) => this.raw.agent.check.pass({ id, ...common }));
  }

  /** A session that lives as long as its checks pass. */
  async createSession(session: { readonly name: string; readonly checks: readonly string[] }, options?: CallOptions): Promise<string> {
    const { body } = await this.call('create a session', options, (common) =>
      // Without a lock delay of one's own Consul waits 15 s before it gives the lock to the next.
      this.raw.session.create({ name: session.name, checks: session.checks, lockdelay: '1ms', behavior: 'release', ...common }),
    );
    return (body as { ID: string }).ID;
  }

  async destroySession(id: string, options?: CallOptions): Promise<void> {
    await this.call('destroy a session', options, (common) => this.raw.session.destroy({ id, ...common }));
  }

  private async call(what: string, options: CallOptions | undefined, invoke: (common: RawCommon) => Promise<unknown>): Promise<{ headers: RawResponse['headers']; body: unknown }> {
    const { signal, timeoutMs = CALL_MS } = options ?? {};
    if (signal?.aborted) throw cancelled(what, signal.reason);
    const context = new CallContext();
    const cancel = (): void => {
      context.emit('cancel');
    };
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const [response, body] = (await invoke({ ctx: context, timeout: timeoutMs, ...this.common })) as [RawResponse, unknown];
      return { headers: response.headers, body };
    } catch (thrown) {
      throw signal?.aborted ? cancelled(what, thrown) : this.explain(what, thrown);
    } finally {
      signal?.removeEventListener('abort', cancel);
    }
  }

  private explain(what: string, thrown: unknown): ConsulError {
    const raw = thrown as RawError;
    const prefix = `Consul at ${this.address} could not ${what}`;
    if (raw.response && raw.isResponse) {
      const { statusCode } = raw.response;
      const message = `${prefix}: ${statusCode} ${bodyText(raw.response.body) || messageOf(thrown)}`;
      return new ConsulError(codeOf(statusCode), message, { connectionLost: false, status: statusCode, cause: thrown });
    }
    if (raw.isValidation || raw.isCodec) return new ConsulError('INTERNAL', `${prefix}: ${messageOf(thrown)}`, { connectionLost: false, cause: thrown });
    return new ConsulError('UNAVAILABLE', `${prefix}: ${messageOf(thrown)}`, { connectionLost: raw.isTimeout !== true, cause: thrown });
  }
}

export interface GrpcCheck {
  readonly checkid: string;
  readonly name: string;
  readonly grpc: string;
  readonly interval: string;
  readonly timeout: string;
  readonly deregistercriticalserviceafter: string;
  readonly status: 'passing' | 'critical';
}

/** How the npm client is told to give the whole response, and to stop. */
class CallContext extends EventEmitter {
  readonly includeResponse = true;
}

interface RawCommon {
  readonly ctx: CallContext;
  readonly timeout: number;
  readonly token?: string;
}

type RawCall = (options: object) => Promise<unknown>;

/** The npm client as it is, not as its types say. */
interface RawConsul {
  readonly agent: {
    readonly service: { readonly register: RawCall; readonly deregister: RawCall; readonly list: RawCall };
    readonly check: { readonly pass: RawCall };
  };
  readonly health: { readonly service: RawCall };
  readonly kv: { readonly get: RawCall; readonly set: RawCall };
  readonly session: { readonly create: RawCall; readonly destroy: RawCall };
  readonly transaction: { readonly create: (operations: readonly object[], options: object) => Promise<unknown> };
}

interface RawResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
}

interface RawError {
  readonly response?: RawResponse;
  readonly isResponse?: boolean;
  readonly isTimeout?: boolean;
  readonly isValidation?: boolean;
  readonly isCodec?: boolean;
}

interface RawService {
  readonly ID: string;
  readonly Service: string;
  readonly Address: string;
  readonly Port: number;
  readonly Meta: Readonly<Record<string, string>> | null;
  readonly CreateIndex?: number;
}

interface RawHealthEntry {
  readonly Node: { readonly Address: string };
  readonly Service: RawService;
  readonly Checks: readonly { readonly Status: string }[];
}

interface RawPair {
  readonly Key: string;
  readonly Value: string | null;
  readonly ModifyIndex: number;
  readonly Session?: string;
}

function blocking(index: bigint, signal: AbortSignal | undefined): CallOptions {
  return { timeoutMs: index === 0n ? CALL_MS : BLOCKING_MS, ...(signal ? { signal } : {}) };
}

function indexOf(headers: RawResponse['headers']): bigint {
  const text = headers['x-consul-index'] ?? '';
  // An index of 0 would make the next query not block.
  return /^[1-9]\d*$/.test(text) ? BigInt(text) : 1n;
}

function definitionOf(service: RawService, nodeAddress: string): ServiceDefinition {
  const { ID: id, Service: name, Address: address, Port: port, Meta: meta } = service;
  return { id, name, address: address === '' ? nodeAddress : address, port, meta: meta ?? {} };
}

function entryOf(entry: RawHealthEntry): ServiceEntry {
  const passing = entry.Checks.every((check) => check.Status === 'passing');
  return { ...definitionOf(entry.Service, entry.Node.Address), passing, createIndex: entry.Service.CreateIndex ?? 0 };
}

function pairOf(pair: RawPair): Pair {
  return { key: pair.Key, value: pair.Value ?? '', modifyIndex: pair.ModifyIndex, session: pair.Session };
}

function codeOf(status: number): ErrorCode {
  switch (status) {
    case 400:
      return 'INVALID_ARGUMENT';
    case 401:
      return 'UNAUTHENTICATED';
    case 403:
      return 'PERMISSION_DENIED';
    case 404:
      return 'NOT_FOUND';
    case 409:
      return 'ABORTED';
    case 413:
      return 'RESOURCE_EXHAUSTED';
    default:
      return status >= 500 || status === 429 ? 'UNAVAILABLE' : 'INTERNAL';
  }
}

function conflictReason(error: ConsulError): string {
  const body = (error.cause as RawError).response?.body as { Errors?: readonly { What: string }[] } | undefined;
  return body?.Errors?.map(({ What }) => What).join('; ') ?? error.message;
}

function bodyText(body: unknown): string {
  if (typeof body === 'string') return body.trim();
  return Buffer.isBuffer(body) ? body.toString('utf8').trim() : '';
}

function cancelled(what: string, cause: unknown): ConsulError {
  return new ConsulError('CANCELLED', `the call to ${what} was cancelled`, { connectionLost: false, cause });
}
