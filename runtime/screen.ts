/** What of a terminal is needed. */
export interface Terminal {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/** One status line that is redrawn in place, and lines that stay above it. Not a terminal: only the lines. */
export class Screen {
  readonly #out: Terminal;
  #status = '';

  constructor(out: Terminal) {
    this.#out = out;
  }

  get live(): boolean {
    return this.#out.isTTY === true;
  }

  status(text: string): void {
    if (!this.live) return;
    const columns = this.#out.columns;
    const width = (columns === undefined || columns < 20 ? 80 : columns) - 1;
    this.#status = text.length > width ? `${text.slice(0, width - 1)}…` : text;
    this.#out.write(`\r\x1b[2K${this.#status}`);
  }

  line(text: string): void {
    const status = this.#status;
    this.clear();
    this.#out.write(`${text}\n`);
    if (status !== '') this.status(status);
  }

  clear(): void {
    if (this.#status !== '') this.#out.write('\r\x1b[2K');
    this.#status = '';
  }
}
