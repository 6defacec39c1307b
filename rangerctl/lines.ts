import { UsageError } from './failure.js';

export interface Line {
  readonly text: string;
  /** From 1 on. */
  readonly number: number;
  /** How many bytes of the source end with this line. */
  readonly end: number;
}

/** A value of 8 MiB, with every byte escaped, and its key. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;
const NEWLINE = 0x0a;

/** Lines of a source of bytes, which may end without a newline. `from` counts bytes before it. */
export async function* linesOf(source: AsyncIterable<Uint8Array>, from: number): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let [length, number, at] = [0, 0, from];
  for await (const chunk of source) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      parts.push(bytes.subarray(start, end));
      at += length + (end - start) + 1;
      yield { text: Buffer.concat(parts).toString('utf8'), number: ++number, end: at };
      [parts, length, start] = [[], 0, end + 1];
    }
    parts.push(bytes.subarray(start));
    length += bytes.length - start;
    if (length > LINE_BYTES_MAX) throw new UsageError(`line ${number + 1} is longer than any item can be: is it a file of JSON lines?`);
  }
  if (length > 0) yield { text: Buffer.concat(parts).toString('utf8'), number: ++number, end: at + length };
}
