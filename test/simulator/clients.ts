import { CODE } from '../../proto/codes.js';
import { messageOf } from '../../runtime/errors.js';
import type { Random } from '../../runtime/random.js';
import { type Cluster, PROXIES } from './cluster.js';
import type { Oracle } from './oracle.js';
import { Process } from './process.js';

export const KEYS: readonly string[] = Array.from({ length: 12 }, (_, i) => `k${String(i).padStart(2, '0')}`);
/** With these a write certainly had no effect. */
const REFUSED: readonly number[] = [CODE.FAILED_PRECONDITION, CODE.ABORTED, CODE.RESOURCE_EXHAUSTED, CODE.INVALID_ARGUMENT];

/** Clients that read and write, one request at a time each, and note what they were told. */
export class Clients {
  private busy = 0;
  private stopped = false;
  private values = 0;
  requests = 0;

  constructor(
    private readonly cluster: Cluster,
    private readonly oracle: Oracle,
    private readonly random: Random,
    private readonly violated: (problem: string) => void,
  ) {}

  start(count: number): void {
    for (let i = 1; i <= count; i++) this.live(new Process(`c${i}`, this.cluster.scheduler));
  }

  stop(): void {
    this.stopped = true;
  }

  get idle(): boolean {
    return this.busy === 0;
  }

  /** Reads a key until that succeeds. */
  async readSurely(key: string): Promise<void> {
    const client = new Process(`last-${key}`, this.cluster.scheduler);
    while (!(await this.read(client, key))) await client.yieldTurn();
  }

  private live(client: Process): void {
    client.after(this.random.next() ** 2 * 150, () => {
      if (this.stopped) return;
      this.busy++;
      void this.act(client).then(() => {
        this.busy--;
        this.live(client);
      });
    });
  }

  private async act(client: Process): Promise<void> {
    this.requests++;
    // Some keys are much busier than others, so that requests for them meet.
    const key = KEYS[Math.floor(this.random.next() ** 3 * KEYS.length)] as string;
    const dice = this.random.next();
    if (dice < 0.5) await this.read(client, key);
    else await this.write(client, key, dice < 0.95 ? `${client.name}-${++this.values}` : undefined);
  }

  private async write(client: Process, key: string, value: string | undefined): Promise<void> {
    const { trace } = this.cluster;
    const write = this.oracle.beginWrite(client.name, key, value);
    trace.note(client.name, `put ${key}=${value ?? '(delete)'}`);
    try {
      const { code, message, epoch, offset } = await this.cluster.request(client, this.pick(PROXIES), key, { value }, 4000);
      trace.note(client.name, `put ${key}=${value ?? '(delete)'}: ${code} ${code === 0 ? `${epoch}/${offset}` : message}`);
      if (code === CODE.OK) this.check(this.oracle.acknowledge(write, { epoch, offset }));
      else this.oracle.endWrite(write, REFUSED.includes(code) ? 'failed' : 'unknown');
    } catch (thrown) {
      trace.note(client.name, `put ${key}=${value ?? '(delete)'}: ${messageOf(thrown)}`);
      this.oracle.endWrite(write, 'unknown');
    }
  }

  private async read(client: Process, key: string): Promise<boolean> {
    const { trace } = this.cluster;
    const read = this.oracle.beginRead(client.name, key);
    try {
      const { code, value, message } = await this.cluster.request(client, this.pick(PROXIES), key, undefined, 4000);
      const found = code === CODE.OK || code === CODE.NOT_FOUND;
      const text = code === CODE.OK ? value.toString() : undefined;
      trace.note(client.name, `get ${key}: ${found ? (text ?? '(absent)') : `${code} ${message}`}`);
      if (found) this.check(this.oracle.endRead(read, text));
      else this.oracle.failRead(read);
      return found;
    } catch (thrown) {
      trace.note(client.name, `get ${key}: ${messageOf(thrown)}`);
      this.oracle.failRead(read);
      return false;
    }
  }

  private check(problem: string | undefined): void {
    if (problem !== undefined) this.violated(problem);
  }

  private pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.random.next() * from.length)] as T;
  }
}
