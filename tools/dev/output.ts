import { Transform, type TransformCallback } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Clock } from '../../runtime/clock.js';

/** Cyan, yellow, green, magenta, blue, then their bright forms: red is left to errors. */
const COLOURS = [36, 33, 32, 35, 34, 96, 93, 92, 95, 94];

/** Whether output is coloured: on a terminal, unless NO_COLOR says otherwise (https://no-color.org). */
export function wantsColour(env: NodeJS.ProcessEnv, isTerminal: boolean): boolean {
  return isTerminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

/** Makes the `23:15:01 node.1       | ` before each line. */
export class Prefixes {
  private readonly width: number;
  private readonly colours: ReadonlyMap<string, number>;

  constructor(
    names: readonly string[],
    private readonly options: { readonly clock: Clock; readonly colour: boolean },
  ) {
    this.width = Math.max(...names.map((name) => name.length));
    this.colours = new Map(names.map((name, i) => [name, COLOURS[i % COLOURS.length] ?? 0]));
  }

  line(name: string, text: string): string {
    const at = new Date(this.options.clock.wallMs());
    const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
    const prefix = `${time} ${name.padEnd(this.width)} |`;
    const colour = this.colours.get(name);
    return `${this.options.colour && colour !== undefined ? `\x1b[${colour}m${prefix}\x1b[0m` : prefix} ${text}\n`;
  }
}

/** Longer lines are cut into several, so that a process that never ends one takes no memory. */
const LINE_LENGTH_MAX = 64 * 1024;

/** Bytes of one process in, whole prefixed lines out. Being a stream, it waits for a slow reader. */
export class PrefixedLines extends Transform {
  private readonly decoder = new StringDecoder('utf8');
  private rest = '';

  constructor(private readonly prefix: (text: string) => string) {
    super({ decodeStrings: true });
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const lines = (this.rest + this.decoder.write(chunk)).split('\n');
    this.rest = lines.pop() ?? '';
    for (; this.rest.length > LINE_LENGTH_MAX; this.rest = this.rest.slice(LINE_LENGTH_MAX)) lines.push(this.rest.slice(0, LINE_LENGTH_MAX));
    done(null, lines.map((line) => this.prefix(line.replace(/\r$/, ''))).join(''));
  }

  override _flush(done: TransformCallback): void {
    const rest = this.rest + this.decoder.end();
    done(null, rest === '' ? '' : this.prefix(rest));
  }
}
