import { setMaxListeners } from 'node:events';
import type { IncomingMessage, Server as HttpServer, ServerResponse } from 'node:http';
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Registry } from 'prom-client';
import type { Clock } from './clock.js';
import { AppError, messageOf } from './errors.js';
import { serverOptions } from './grpc-options.js';
import { type HttpHandler, REQUEST_MS_MAX, createHttp } from './http.js';
import { cannotListen } from './listen-error.js';
import type { Logger } from './log.js';
import { addReflection, DEFAULT_IMAGE } from './reflection.js';
import { sniff, type Sniffing } from './sniff.js';
import { type Address, formatAddress } from './units.js';

export interface Readiness {
  readonly ready: boolean;
  readonly reason?: string;
  /** What else `/ready` tells. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface ServerLimits {
  /** How long a new connection may take to show what it speaks. */
  readonly firstBytesMs?: number;
  /** How long an HTTP request may take to arrive. */
  readonly requestMs?: number;
  readonly connectionsMax?: number;
}

export interface ListenOptions {
  readonly listen: Address;
  readonly logger: Logger;
  readonly clock: Clock;
  /**
   * Adds the gRPC services. `closing` is aborted when the server starts to close:
   * streams without an end of their own must end then, or they use up the grace.
   */
  readonly services: (server: grpc.Server, closing: AbortSignal) => void;
  /** Answers HTTP beyond `/health`, `/ready` and `/metrics`; false when the path is not its own. */
  readonly http?: (request: IncomingMessage, response: ServerResponse) => boolean;
  readonly metrics: Registry;
  readonly ready: () => Readiness;
  /** The image that reflection answers from. */
  readonly reflectionImage?: string;
  readonly limits?: ServerLimits;
}

/** gRPC and HTTP on one port, told apart by the first bytes of a connection. */
export interface OnePortServer {
  /** host:port, with the port that was really taken. */
  readonly address: string;
  readonly port: number;
  readonly grpc: grpc.Server;
  /** Aborted when closing begins. */
  readonly closing: AbortSignal;
  /**
   * Takes no more connections, tells the clients of open ones to go elsewhere, lets
   * calls in flight finish for up to `graceMs`, and cuts off the rest.
   */
  close(graceMs: number): Promise<void>;
}

export async function listen(options: ListenOptions): Promise<OnePortServer> {
  const server = new OnePort(options);
  await server.bind();
  return server;
}

const LIMITS: Required<ServerLimits> = { firstBytesMs: 10_000, requestMs: REQUEST_MS_MAX, connectionsMax: 10_000 };

const HEALTH_SERVICE = 'grpc.health.v1.Health';

class OnePort implements OnePortServer {
  port = 0;
  readonly grpc: RecordingServer;
  private readonly net: NetServer;
  private readonly http: HttpServer;
  private readonly injector: grpc.ConnectionInjector;
  private readonly health = new HealthImplementation();
  private readonly sockets = new Set<Socket>();
  private readonly undecided = new Set<Sniffing>();
  private readonly controller = new AbortController();
  private readonly limits: Required<ServerLimits>;
  private closed: Promise<void> | undefined;

  constructor(private readonly options: ListenOptions) {
    // Whoever has a stream to end listens to it.
    setMaxListeners(0, this.closing);
    this.limits = { ...LIMITS, ...options.limits };
    this.grpc = new RecordingServer(serverOptions());
    options.services(this.grpc, this.closing);
    const services = [...this.grpc.services];
    for (const service of ['', ...services]) this.health.setStatus(service, 'SERVING');
    this.health.addToServer(this.grpc);
    const described = [...services, HEALTH_SERVICE];
    addReflection(this.grpc, { imagePath: options.reflectionImage ?? DEFAULT_IMAGE, services: () => described });
    this.injector = this.grpc.createConnectionInjector(grpc.ServerCredentials.createInsecure());
    this.http = this.createHttp();
    // Half-open, because an HTTP client may end its side before it reads the answer.
    this.net = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.accept(socket);
    });
    this.net.maxConnections = this.limits.connectionsMax;
  }

  get address(): string {
    return formatAddress({ host: this.options.listen.host, port: this.port });
  }

  get closing(): AbortSignal {
    return this.controller.signal;
  }

  bind(): Promise<void> {
    const { host, port } = this.options.listen;
    return new Promise((resolve, reject) => {
      this.net.once('error', (error: NodeJS.ErrnoException) => {
        this.http.close();
        reject(cannotListen({ host, port }, error, '--listen'));
      });
      this.net.listen({ ...(host === '' ? {} : { host }), port }, () => {
        this.port = (this.net.address() as { port: number }).port;
        this.net.removeAllListeners('error');
        this.net.on('error', (error) => {
          this.options.logger.warn('a connection could not be accepted', { error: error.message });
        });
        resolve();
      });
    });
  }

  close(graceMs: number): Promise<void> {
    this.closed ??= this.drain(graceMs);
    return this.closed;
  }

  private accept(socket: Socket): void {
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
    // A connection that breaks is the business of its calls; here it is only not a crash.
    socket.on('error', () => {});
    const timeoutMs = this.limits.firstBytesMs;
    const sniffing = sniff(
      socket,
      { clock: this.options.clock, timeoutMs },
      (protocol) => {
        this.undecided.delete(sniffing);
        if (protocol === 'http') {
          this.http.emit('connection', socket);
          socket.resume();
          return;
        }
        socket.allowHalfOpen = false;
        this.injector.injectConnection(socket);
      },
      () => this.undecided.delete(sniffing),
    );
    this.undecided.add(sniffing);
  }

  private createHttp(): HttpServer {
    const handler: HttpHandler = (request, response) => {
      this.answer(request, response).catch((thrown: unknown) => {
        this.options.logger.error('an HTTP request failed', { path: request.url, error: thrown });
        if (!response.headersSent) sendJson(response, 500, { error: messageOf(thrown) });
        else response.destroy();
      });
    };
    const server = createHttp(handler, { requestMs: this.limits.requestMs });
    // It never listens itself, but its watch over slow requests starts with this event.
    server.emit('listening');
    return server;
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    response.once('finish', () => {
      if (this.closing.aborted) request.socket.end();
    });
    const own = path === '/health' || path === '/ready' || path === '/metrics';
    if (!own) {
      if (this.options.http?.(request, response) !== true) sendJson(response, 404, { error: `nothing is at ${path}` });
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD');
      sendJson(response, 405, { error: `${path} is only for reading` });
    } else if (path === '/health') {
      sendJson(response, 200, { status: this.closing.aborted ? 'closing' : 'ok' });
    } else if (path === '/ready') {
      const { ready, reason, details }: Readiness = this.closing.aborted ? { ready: false, reason: 'closing' } : this.options.ready();
      sendJson(response, ready ? 200 : 503, { ready, ...(reason === undefined ? {} : { reason }), ...details });
    } else {
      const text = await this.options.metrics.metrics();
      response.writeHead(200, { 'content-type': this.options.metrics.contentType }).end(text);
    }
  }

  private async drain(graceMs: number): Promise<void> {
    for (const service of ['', ...this.grpc.services]) this.health.setStatus(service, 'NOT_SERVING');
    this.controller.abort(new AppError('UNAVAILABLE', 'the server is closing'));
    const stopped = Promise.all([
      new Promise<void>((resolve) => this.net.close(() => { resolve(); })),
      new Promise<void>((resolve) => this.http.close(() => { resolve(); })),
      new Promise<void>((resolve) => this.grpc.tryShutdown(() => { resolve(); })),
    ]);
    for (const sniffing of [...this.undecided]) sniffing.cancel();
    this.http.closeIdleConnections();
    // The sockets themselves are what is cut: grpc-js forgets its sessions when channelz is off.
    const cancel = this.options.clock.after(graceMs, () => {
      if (this.sockets.size > 0) this.options.logger.warn('cutting off calls that did not finish in time', { connections: this.sockets.size, graceMs });
      for (const socket of this.sockets) socket.destroy();
    });
    await stopped;
    cancel();
    this.grpc.forceShutdown();
  }
}

/** Remembers the names of its services, for health and reflection. */
class RecordingServer extends grpc.Server {
  readonly services = new Set<string>();

  override addService(definition: grpc.ServiceDefinition, implementation: grpc.UntypedServiceImplementation): void {
    super.addService(definition, implementation);
    for (const { path } of Object.values<grpc.MethodDefinition<unknown, unknown>>(definition)) this.services.add(path.split('/')[1] ?? path);
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(`${JSON.stringify(body)}\n`);
}
