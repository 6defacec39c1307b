/**
 * The bytes that requests and answers on their way hold. New work is admitted
 * within the limit. What comes of work that was admitted (an answer larger than
 * foreseen) is always counted, and beyond twice the limit the owner is asked to
 * stop reading until enough has left.
 */
export class ByteBudget {
  private bytes = 0;
  private full = false;

  constructor(
    readonly maxBytes: number,
    private readonly onFull: (full: boolean) => void = () => undefined,
  ) {}

  get used(): number {
    return this.bytes;
  }

  /** False, and nothing counted, when there is no room. */
  take(bytes: number): boolean {
    if (this.bytes + bytes > this.maxBytes) return false;
    this.bytes += bytes;
    return true;
  }

  /** Counts what cannot be refused any more. */
  force(bytes: number): void {
    this.bytes += bytes;
    if (!this.full && this.bytes > 2 * this.maxBytes) this.setFull(true);
  }

  give(bytes: number): void {
    this.bytes -= bytes;
    if (this.full && this.bytes <= this.maxBytes) this.setFull(false);
  }

  private setFull(full: boolean): void {
    this.full = full;
    this.onFull(full);
  }
}
