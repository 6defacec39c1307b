import type { UnaryKv } from '../../client/unary.js';
import { keyFromText } from '../../model/key.js';
import { type Clock, sleep } from '../../runtime/clock.js';

const WRITE_MS_MAX = 20_000;
const PAUSE_MS = 5;

interface Entry {
  readonly key: string;
  attempted: number;
  acknowledged: number;
}

/** Writes ever higher numbers to some keys, one after the other, and keeps account of what was acknowledged. */
export class Ledger {
  private readonly entries: readonly Entry[];
  private writers: Promise<void>[] = [];
  private stopped = false;
  failed = 0;

  constructor(
    private readonly kv: UnaryKv,
    private readonly clock: Clock,
    keys: readonly string[],
  ) {
    this.entries = keys.map((key) => ({ key, attempted: 0, acknowledged: 0 }));
  }

  get acknowledged(): number {
    return this.entries.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  }

  start(): void {
    this.writers = this.entries.map((entry) => this.write(entry));
  }

  /** Of those keys that do not have what was acknowledged last, or an attempt since. */
  async wrong(): Promise<string[]> {
    const wrong: string[] = [];
    for (const entry of this.entries) {
      const { key, acknowledged: least } = entry;
      const found = Number((await this.kv.get(keyFromText(key), { timeoutMs: WRITE_MS_MAX }))?.value.toString() ?? 0);
      if (!(found >= least && found <= entry.attempted)) wrong.push(`${key} has ${found}, and ${least} was acknowledged`);
    }
    return wrong;
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.writers);
  }

  private async write(entry: Entry): Promise<void> {
    while (!this.stopped) {
      const number = ++entry.attempted;
      try {
        await this.kv.put(keyFromText(entry.key), Buffer.from(String(number)), { timeoutMs: WRITE_MS_MAX });
        entry.acknowledged = number;
      } catch {
        this.failed++;
      }
      await sleep(this.clock, PAUSE_MS);
    }
  }
}
