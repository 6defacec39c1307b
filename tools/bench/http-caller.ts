import { type Socket, connect } from 'node:net';
import { parseAddress } from '../../runtime/units.js';

type Done = (problem: string | undefined) => void;

/** One request at a time on each connection, as HTTP/1.1 has it. Node's own client costs about what a server does, and would measure itself. */
export class HttpCaller {
  private readonly all: Connection[] = [];
  private readonly idle: Connection[] = [];

  constructor(private readonly address: string) {}

  get(key: Buffer, done: Done): void {
    this.call(`GET /kv/${key.toString()} HTTP/1.1\r\nHost: bench\r\n\r\n`, undefined, done);
  }

  put(key: Buffer, value: Buffer, done: Done): void {
    this.call(`PUT /kv/${key.toString()} HTTP/1.1\r\nHost: bench\r\nContent-Length: ${value.length}\r\n\r\n`, value, done);
  }

  close(): void {
    for (const connection of this.all) connection.close();
  }

  private call(head: string, body: Buffer | undefined, done: Done): void {
    const connection = this.idle.pop() ?? this.open();
    connection.call(head, body, (problem) => {
      if (problem === undefined) this.idle.push(connection);
      done(problem);
    });
  }

  private open(): Connection {
    const connection = new Connection(this.address);
    this.all.push(connection);
    return connection;
  }
}

class Connection {
  private readonly socket: Socket;
  private received = '';
  private done: Done | undefined;

  constructor(address: string) {
    const { host, port } = parseAddress(address) ?? { host: 'localhost', port: 0 };
    this.socket = connect({ host, port, noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text: Buffer | string) => {
      this.received += text.toString();
      this.look();
    });
    this.socket.on('error', (error) => {
      this.end(error.message);
    });
    this.socket.on('close', () => {
      this.end('the connection was closed');
    });
  }

  call(head: string, body: Buffer | undefined, done: Done): void {
    this.done = done;
    this.socket.write(body ? Buffer.concat([Buffer.from(head), body]) : head);
  }

  close(): void {
    this.socket.destroy();
  }

  private look(): void {
    const head = this.received.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = /^content-length: *(\d+)/im.exec(this.received.slice(0, head))?.[1];
    if (length === undefined) {
      this.end('an answer without its length');
      this.close();
      return;
    }
    const end = head + 4 + Number(length);
    if (this.received.length < end) return;
    const status = this.received.slice(9, 12);
    this.received = this.received.slice(end);
    this.end(status.startsWith('2') ? undefined : `status ${status}`);
  }

  private end(problem: string | undefined): void {
    const { done } = this;
    this.done = undefined;
    done?.(problem);
  }
}
