import { AppError } from '../../runtime/errors.js';
import type { Copy } from './copy.js';

/** Rings when anything of the copy changes, or whoever watches it leaves. */
export class Bell {
  private rung = false;
  private answer: (() => void) | undefined;
  private readonly stop: () => void;

  constructor(
    copy: Copy,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.stop = copy.watch(this.ring);
    signal?.addEventListener('abort', this.ring);
  }

  private readonly ring = (): void => {
    this.rung = true;
    this.answer?.();
  };

  async next(): Promise<void> {
    if (!this.rung) await new Promise<void>((resolve) => (this.answer = resolve));
    this.rung = false;
    this.answer = undefined;
  }

  throwIfOver(): void {
    if (this.signal?.aborted) throw AppError.from(this.signal.reason);
  }

  close(): void {
    this.stop();
    this.signal?.removeEventListener('abort', this.ring);
  }
}
