import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ByteBudget } from '../client/budget.js';
import { type Key, formatKey } from '../model/key.js';
import { contentTypeProblem } from '../model/limits.js';
import type { AskOptions, Store, Value, WriteOutcome } from '../model/store.js';
import type { Clock } from '../runtime/clock.js';
import { AppError, messageOf } from '../runtime/errors.js';
import { PROBLEM_TYPE, problemText } from '../runtime/http.js';
import type { Logger } from '../runtime/log.js';
import { ClientGone, checkBodyHeaders, readBody } from './body.js';
import { etagOf, readCondition, writeCondition } from './conditions.js';
import { listingOf, sendListing } from './listing.js';
import { openApi } from './openapi.js';
import { Problem, sendJson } from './problem.js';
import { type Target, keyOf, onlyParameters, parseTarget } from './target.js';

/** What this process is for the keys that it has. */
export type Role = 'primary' | 'replica' | 'proxy';

/** A value from a copy that may lag: it has seen every write up to `atOffset`. */
export type StaleValue = Partial<Value> & { readonly atOffset: number };

export interface GatewayOptions {
  readonly store: Store;
  readonly role: () => Role;
  /** For `/status?level=full`. */
  readonly status: () => Readonly<Record<string, unknown>>;
  /**
   * Of a node: who the primary of a key is, host:port. A request for a key that is not
   * served here is sent there. Not given by those who serve every key.
   */
  readonly elsewhere?: {
    readonly serves: (key: Key) => boolean;
    readonly locate: (key: Key, signal: AbortSignal) => Promise<string | undefined>;
    /** What a copy here that follows has; undefined when there is none. */
    readonly stale: (key: Key) => StaleValue | undefined;
  };
  /** Bodies and answers on their way. */
  readonly budget: ByteBudget;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborted when the server closes: listings end then. */
  readonly closing: () => AbortSignal;
  readonly version: string;
  /** Told of each answer that was sent. */
  readonly observe?: (method: string, status: number) => void;
}

/** What a refused client may still send before its connection is closed: so much, and for so long. */
const LINGER_BYTES = 16 * 1024 * 1024;
const LINGER_MS = 2000;
/** A refused body up to here is read to its end, and the connection kept. */
const DISCARD_BYTES = 64 * 1024;

type Handler = (exchange: Exchange) => Promise<void> | void;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: Target;
  readonly key: Key;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

interface Route {
  /** What comes behind it is the key; without one the path is this exactly. */
  readonly path: string;
  readonly keyed: boolean;
  readonly methods: Readonly<Record<string, Handler>>;
}

/** The HTTP API, over whatever store there is. See docs/http.md. */
export class Gateway {
  private readonly routes: readonly Route[];
  private readonly restRoutes: readonly Route[];

  constructor(private readonly options: GatewayOptions) {
    const get: Handler = (exchange) => this.get(exchange);
    const put: Handler = (exchange) => this.put(exchange);
    const remove: Handler = (exchange) => this.remove(exchange);
    const list: Handler = (exchange) => this.list(exchange);
    const page = (path: string, handler: Handler): Route => ({ path, keyed: false, methods: { GET: handler, HEAD: handler } });
    this.routes = [
      page('/kv', list),
      page('/kv/', list),
      { path: '/kv/', keyed: true, methods: { GET: get, HEAD: get, PUT: put, DELETE: remove } },
      { path: '/get/', keyed: true, methods: { GET: get, HEAD: get } },
      { path: '/set/', keyed: true, methods: { PUT: put } },
      page('/role', ({ response, target }) => {
        onlyParameters(target.query, []);
        sendJson(response, 200, { role: options.role() });
      }),
      page('/status', (exchange) => this.status(exchange)),
      page('/openapi.json', ({ response }) => sendJson(response, 200, openApi(options.version))),
    ];
    this.restRoutes = [{ path: '/', keyed: true, methods: { GET: get, HEAD: get, POST: put, PUT: put, DELETE: remove } }];
  }

  /** Answers everything on the one port beyond what the server itself does. */
  readonly handle = (request: IncomingMessage, response: ServerResponse): boolean => {
    void this.answer(this.routes, request, response);
    return true;
  };

  /** Answers on a listener of its own, where the whole path is the key. */
  readonly handleRest = (request: IncomingMessage, response: ServerResponse): void => {
    void this.answer(this.restRoutes, request, response, 'the whole path is the key: give one, such as /greeting');
  };

  private async answer(routes: readonly Route[], request: IncomingMessage, response: ServerResponse, help = '/openapi.json tells what there is'): Promise<void> {
    const gone = new AbortController();
    response.once('finish', () => {
      this.options.observe?.(request.method ?? '', response.statusCode);
    });
    response.once('close', () => {
      if (!response.writableFinished) gone.abort(new AppError('CANCELLED', 'the client hung up'));
    });
    try {
      const target = parseTarget(request.url ?? '/');
      const { handler, rest } = match(routes, target.path, request.method ?? '', help);
      const key = rest === undefined ? ('' as Key) : keyOf(rest);
      await handler({ request, response, target, key, signal: gone.signal });
      if (!request.complete) this.discard(request, response);
    } catch (thrown) {
      this.fail(thrown, request, response);
    }
  }

  private fail(thrown: unknown, request: IncomingMessage, response: ServerResponse): void {
    if (thrown instanceof ClientGone || response.destroyed) {
      response.destroy();
      return;
    }
    const problem = Problem.from(thrown);
    if (problem.status === 500) this.options.logger.error('an HTTP request failed', { path: request.url, error: messageOf(thrown), stack: thrown instanceof Error ? thrown.stack : undefined });
    if (response.headersSent) {
      // An answer that was begun cannot be taken back; that it ends in the middle says so.
      response.destroy();
      return;
    }
    const body = problemText(problem.status, problem.code, problem.detail);
    const headers = { 'content-type': PROBLEM_TYPE, 'content-length': String(Buffer.byteLength(body)), ...problem.headers };
    if (request.complete || this.isShort(request)) {
      response.writeHead(problem.status, headers).end(request.method === 'HEAD' ? undefined : body);
      return;
    }
    response.writeHead(problem.status, { ...headers, connection: 'close' });
    response.write(body);
    this.linger(request, response);
  }

  /** What was answered before all of it was here: the rest is read and dropped, or the connection closed. */
  private discard(request: IncomingMessage, response: ServerResponse): void {
    if (response.writableFinished || this.isShort(request)) request.resume();
    else this.linger(request, response);
  }

  private isShort({ headers }: IncomingMessage): boolean {
    if (headers.expect !== undefined) return false;
    const length = headers['content-length'];
    return length === undefined ? headers['transfer-encoding'] === undefined : Number(length) <= DISCARD_BYTES;
  }

  /** A connection that is closed while its client still sends loses the answer on its way: so the client gets a moment. */
  private linger(request: IncomingMessage, response: ServerResponse): void {
    let bytes = 0;
    const end = (): void => {
      cancel();
      request.removeListener('data', onData);
      response.end();
    };
    const cancel = this.options.clock.after(LINGER_MS, end, { unref: true });
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > LINGER_BYTES) end();
    };
    request.on('data', onData);
    request.once('close', end);
    request.once('end', end);
    request.resume();
  }

  private async get(exchange: Exchange): Promise<void> {
    const { response, key, target } = exchange;
    const { elsewhere } = this.options;
    onlyParameters(target.query, ['consistency']);
    const strong = isStrong(target);
    if (elsewhere && !elsewhere.serves(key)) {
      const stale = strong ? undefined : elsewhere.stale(key);
      if (!stale) return this.redirect(exchange);
      const { value, epoch, offset } = stale;
      const headers = { 'keyranger-consistency': 'stale', 'keyranger-offset': String(stale.atOffset) };
      this.sendValue(exchange, value && epoch !== undefined && offset !== undefined ? { value, epoch, offset, contentType: stale.contentType } : undefined, headers);
      return;
    }
    const value = await this.orRedirected(exchange, () => this.options.store.get(key, { signal: exchange.signal }));
    if (response.headersSent) return;
    this.sendValue(exchange, value, {});
  }

  private sendValue({ request, response, key }: Exchange, value: Value | undefined, headers: Readonly<Record<string, string>>): void {
    const verdict = readCondition(request.headers, value);
    if (verdict === 'failed') throw new Problem(412, 'condition_failed', `If-Match does not hold: key ${formatKey(key)} ${value ? `is at ${etagOf(value)}` : 'is not there'}`, headers);
    if (!value) throw new Problem(404, 'not_found', `key ${formatKey(key)} is not there`, headers);
    const about = { etag: etagOf(value), 'cache-control': 'no-cache', ...headers };
    if (verdict === 'notModified') {
      response.writeHead(304, about).end();
      return;
    }
    const { length } = value.value;
    const { budget } = this.options;
    // What a client is slow to take counts until it has.
    if (!budget.take(length)) throw new Problem(503, 'overloaded', `answers on their way hold ${budget.used} bytes, and the limit is ${budget.maxBytes}: try again later`, { 'retry-after': '1' });
    response.once('close', () => {
      budget.give(length);
    });
    response.writeHead(200, {
      ...about,
      'content-type': value.contentType ?? 'application/octet-stream',
      'content-length': String(length),
      // Values are other people's: a browser must neither guess what they are nor run them as ours.
      'x-content-type-options': 'nosniff',
      'content-security-policy': "sandbox; default-src 'none'",
    });
    response.end(request.method === 'HEAD' ? undefined : value.value);
  }

  private async put(exchange: Exchange): Promise<void> {
    const { request, response, key, target, signal } = exchange;
    onlyParameters(target.query, []);
    const condition = writeCondition(request.headers);
    const contentType = contentTypeOf(request);
    checkBodyHeaders(request);
    if (this.options.elsewhere?.serves(key) === false) return this.redirect(exchange);
    const body = await readBody(request, response, this.options.budget);
    try {
      const outcome = await this.orRedirected(exchange, () => this.options.store.put(key, body.bytes, { contentType, condition }, { signal }));
      if (outcome) this.sendOutcome(exchange, outcome);
    } finally {
      body.release();
    }
  }

  private async remove(exchange: Exchange): Promise<void> {
    const { request, key, target, signal } = exchange;
    onlyParameters(target.query, []);
    const condition = writeCondition(request.headers);
    if (this.options.elsewhere?.serves(key) === false) return this.redirect(exchange);
    const outcome = await this.orRedirected(exchange, () => this.options.store.delete(key, condition, { signal }));
    if (outcome) this.sendOutcome(exchange, outcome);
  }

  private sendOutcome({ request, response, key }: Exchange, outcome: WriteOutcome): void {
    if (!outcome.applied) {
      const there = outcome.current ? `is at ${etagOf(outcome.current)}` : 'is not there';
      throw new Problem(412, 'condition_failed', `the condition does not hold: key ${formatKey(key)} ${there}`, outcome.current ? { etag: etagOf(outcome.current) } : {});
    }
    const { epoch, offset } = outcome.position;
    sendJson(response, 200, { epoch, offset }, request.method === 'DELETE' ? {} : { etag: etagOf(outcome.position) });
  }

  private async list(exchange: Exchange): Promise<void> {
    const { request, response, target, signal } = exchange;
    const listing = listingOf(target);
    const options: AskOptions = { signal: AbortSignal.any([signal, this.options.closing()]) };
    await sendListing(this.options.store, listing, request, response, options);
  }

  private status({ response, target }: Exchange): void {
    onlyParameters(target.query, ['level']);
    const level = target.query.get('level')?.toString('latin1');
    if (level !== undefined && level !== 'full') throw new Problem(400, 'bad_query', `level is ${JSON.stringify(level)}, but can only be full`);
    const role = STATUS_ROLE[this.options.role()];
    sendJson(response, 200, level === 'full' ? { role, ...this.options.status() } : { role });
  }

  /** The answer; undefined when the range left while it was asked, and the client was sent after it. */
  private async orRedirected<T>(exchange: Exchange, ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (thrown) {
      const { code } = AppError.from(thrown);
      if (!this.options.elsewhere || (code !== 'ABORTED' && code !== 'FAILED_PRECONDITION')) throw thrown;
      await this.redirect(exchange);
      return undefined;
    }
  }

  private async redirect({ request, response, key, signal }: Exchange): Promise<void> {
    const address = await this.options.elsewhere?.locate(key, signal);
    if (address === undefined) {
      throw new Problem(503, 'not_served_here', `this node is not primary for key ${formatKey(key)}, and does not know who is: try again, or ask a proxy`, { 'retry-after': '1' });
    }
    const path = (request.url ?? '/').replace(/^https?:\/\/[^/?#]*/i, '');
    const close = request.complete || this.isShort(request) ? {} : { connection: 'close' };
    const headers = { location: `http://${address}${path}`, 'content-length': '0', ...close };
    if (request.complete || this.isShort(request)) {
      response.writeHead(307, headers).end();
      return;
    }
    response.writeHead(307, headers);
    response.flushHeaders();
  }
}

/** In the words that `/status` has always had. */
const STATUS_ROLE = { primary: 'leader', replica: 'follower', proxy: 'proxy' } as const;

function match(routes: readonly Route[], path: string, method: string, help: string): { readonly handler: Handler; readonly rest: string | undefined } {
  const route = routes.find((candidate) => (candidate.keyed ? path.length > candidate.path.length && path.startsWith(candidate.path) : path === candidate.path));
  if (!route && path === '*' && method === 'OPTIONS') return { handler: options([...new Set(routes.flatMap(({ methods }) => Object.keys(methods))), 'OPTIONS'].join(', ')), rest: undefined };
  if (!route) throw new Problem(404, 'no_route', `nothing is at ${path}: ${help}`);
  const handler = Object.hasOwn(route.methods, method) ? route.methods[method] : undefined;
  const allow = [...Object.keys(route.methods), 'OPTIONS'].join(', ');
  if (handler) return { handler, rest: route.keyed ? path.slice(route.path.length) : undefined };
  if (method === 'OPTIONS') return { handler: options(allow), rest: undefined };
  throw new Problem(405, 'method_not_allowed', `${method} is not for ${path}, which knows ${allow}`, { allow });
}

function options(allow: string): Handler {
  return ({ response }) => void response.writeHead(204, { allow }).end();
}

function isStrong({ query }: Target): boolean {
  const text = query.get('consistency')?.toString('latin1');
  if (text === undefined || text === 'stale') return false;
  if (text === 'strong') return true;
  throw new Problem(400, 'bad_query', `consistency is ${JSON.stringify(text)}, but must be strong or stale`);
}

/** `curl -d` says of everything that it is a form: that is as much as saying nothing. */
function contentTypeOf({ headers }: IncomingMessage): string | undefined {
  const given = headers['content-type'];
  if (given === undefined || given === '' || /^application\/x-www-form-urlencoded\b/i.test(given)) return undefined;
  const problem = contentTypeProblem(given);
  if (problem !== undefined) throw new Problem(400, 'bad_header', problem);
  return given;
}
