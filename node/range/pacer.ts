import { type Clock, sleep } from '../../runtime/clock.js';

/** Lets so many bytes a second pass, whoever asks: what repairs may take from the rest. */
export class Pacer {
  /** When the next may go. */
  private nextAt = 0;

  /** `bytesPerSecond`: 0 is without limit. */
  constructor(
    private readonly clock: Clock,
    private readonly bytesPerSecond: number,
  ) {}

  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.bytesPerSecond === 0) return;
    const now = this.clock.now();
    const startAt = Math.max(now, this.nextAt);
    this.nextAt = startAt + (bytes / this.bytesPerSecond) * 1000;
    if (startAt > now) await sleep(this.clock, startAt - now, signal);
  }
}
