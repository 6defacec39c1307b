import type { OperationEvent } from '../client/admin.js';

type Progress = Extract<OperationEvent, { kind: 'progress' }>;

/** Speed over about this long: steady enough to read, quick enough to be true. */
const WINDOW_MS = 3000;
const BAR_CELLS = 16;

/** Follows the copying of an operation, over all the copies that take part. */
export class ProgressMeter {
  readonly #copies = new Map<string, Progress>();
  readonly #samples: { readonly elapsedMs: number; readonly keys: number }[] = [];

  add(event: Progress): void {
    this.#copies.set(`${event.range}@${event.node}`, event);
    this.#samples.push({ elapsedMs: event.elapsedMs, keys: this.#keys() });
    while ((this.#samples[0]?.elapsedMs ?? Infinity) < event.elapsedMs - WINDOW_MS && this.#samples.length > 2) this.#samples.shift();
  }

  /** `[#####------]  45%  450,000 of 1,000,000 keys  160,000 keys/s  4 s left` */
  text(): string {
    const keys = this.#keys();
    const total = this.#total();
    const speed = this.#keysPerSecond();
    const parts = total === undefined ? [`${thousands(keys)} keys`] : [bar(keys / total), percent(keys / total), `${thousands(keys)} of ${thousands(total)} keys`];
    if (speed !== undefined) parts.push(`${thousands(speed)} keys/s`);
    if (speed !== undefined && total !== undefined && speed > 0) parts.push(`${timeLeft((total - keys) / speed)} left`);
    return parts.join('  ');
  }

  #keys(): number {
    return [...this.#copies.values()].reduce((sum, copy) => sum + copy.keys, 0);
  }

  /** Totals are estimates: what was copied already is the least there is. Undefined while any is unknown. */
  #total(): number | undefined {
    const copies = [...this.#copies.values()];
    if (copies.some((copy) => copy.keysTotal === 0)) return undefined;
    return copies.reduce((sum, copy) => sum + Math.max(copy.keysTotal, copy.keys), 0);
  }

  #keysPerSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.elapsedMs - first.elapsedMs < 100) return undefined;
    return Math.max(0, Math.round(((last.keys - first.keys) / (last.elapsedMs - first.elapsedMs)) * 1000));
  }
}

export function bar(share: number): string {
  const full = Math.min(BAR_CELLS, Math.floor(share * BAR_CELLS));
  return `[${'#'.repeat(full)}${'-'.repeat(BAR_CELLS - full)}]`;
}

export function percent(share: number): string {
  return `${Math.min(100, Math.floor(share * 100))}%`.padStart(4);
}

export function timeLeft(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function thousands(value: number): string {
  return Math.round(value).toLocaleString('en');
}
