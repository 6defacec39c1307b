import { string } from '@oclif/core/args';
import { boolean } from '@oclif/core/flags';
import type { GrpcStore } from '../../client/store/grpc-store.js';
import { parseItem } from '../../model/items.js';
import type { Key } from '../../model/key.js';
import { contentTypeProblem, keyProblem, valueProblem } from '../../model/limits.js';
import type { Operation } from '../../model/store.js';
import { sleep } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { Screen } from '../../runtime/screen.js';
import { DATA_FLAGS, DATA_TIMEOUT_MS } from '../data.js';
import { UsageError } from '../failure.js';
import { print } from '../io.js';
import { type Line, linesOf } from '../lines.js';
import { Detached } from '../operation.js';
import { thousands } from '../progress.js';
import { StoreCommand, countOf, isWeather, tookText, transferText } from '../store-command.js';

const BATCH_KEYS = 500;
const BATCH_BYTES = 1024 * 1024;
const TRIES = 8;
const STATE_EVERY_MS = 1000;

type Put = Extract<Operation, { is: 'put' }>;

export default class Import extends StoreCommand {
  static override summary = 'Store the keys and values of a file of JSON lines.';
  static override description = [
    'Store what FILE has, one JSON object a line, as export writes it; - is standard input. Empty lines do not count.',
    'What is broken off goes on with --resume, from what FILE.state says. Storing a line twice does no harm.',
    'A line that is malformed ends it: what was before it is stored.',
  ].join('\n');
  static override examples = ['<%= config.bin %> import all.jsonl', 'gunzip < users.gz | <%= config.bin %> import -', '<%= config.bin %> import all.jsonl --if-absent'];
  static override args = { file: string({ required: true, ignoreStdin: true, description: 'The file, or -.' }) };
  static override flags = {
    ...DATA_FLAGS,
    'if-absent': boolean({ default: false, summary: 'Leave keys that are there as they are.' }),
    resume: boolean({ summary: 'Go on where an earlier import of the file stopped.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Import);
    const timeoutMs = this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const address = this.dataAddress(flags);
    if (flags.request) return this.printJson({ operations: [] });
    const path = args.file === '-' ? undefined : args.file;
    if (flags.resume && path === undefined) throw new UsageError('--resume goes on with a file: standard input is none');
    const size = path === undefined ? undefined : await this.io.files.size(path);
    if (path !== undefined && size === undefined) throw new UsageError(`cannot read ${path}: it is not there`);
    const from = flags.resume && path !== undefined ? await this.#resumePoint(path, size ?? 0) : 0;
    const lines = linesOf(path === undefined ? this.io.stdin : this.io.files.read(path, from), from);
    const run = new Importer({ path, size, from, timeoutMs, ifAbsent: flags['if-absent'], io: this.io });
    try {
      await this.withStore(address, (store, signal) => run.copy(store, lines, signal));
    } catch (thrown) {
      if (thrown instanceof UsageError || (thrown instanceof AppError && thrown.code === 'INVALID_ARGUMENT')) throw thrown;
      const hint = path === undefined ? '' : '; --resume goes on from there';
      if (thrown instanceof Detached) throw new Detached(`${run.summary()} before it was stopped${hint}`, 130);
      await print(this.io.stderr, `${run.summary()} before it failed${hint}\n`);
      throw thrown;
    }
    await print(this.io.stderr, `${run.summary()}\n`);
  }

  async #resumePoint(path: string, size: number): Promise<number> {
    const text = await this.io.files.load(`${path}.state`);
    if (text === undefined) return 0;
    const bytes = Number(text.trim());
    if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > size) throw new UsageError(`${path}.state does not fit ${path}: remove it, and begin again`);
    return bytes;
  }
}

class Importer {
  private keys = 0;
  private left = 0;
  private readonly startedAt: number;
  private savedAt: number;
  private done: number;

  constructor(
    private readonly options: {
      readonly path: string | undefined;
      readonly size: number | undefined;
      readonly from: number;
      readonly timeoutMs: number;
      readonly ifAbsent: boolean;
      readonly io: Import['io'];
    },
  ) {
    this.startedAt = options.io.clock.now();
    this.savedAt = this.startedAt;
    this.done = options.from;
  }

  summary(): string {
    const took = tookText(this.options.io.clock.now() - this.startedAt);
    const kept = this.left === 0 ? '' : `, ${thousands(this.left)} were there and left as they are`;
    return `imported ${countOf(this.keys)} in ${took}${kept}`;
  }

  async copy(store: GrpcStore, lines: AsyncIterable<Line>, signal: AbortSignal): Promise<void> {
    const { path, io } = this.options;
    const screen = new Screen(io.stderr);
    let batch = new Map<Key, Put>();
    let bytes = 0;
    let end = this.done;
    const flush = async (): Promise<void> => {
      if (batch.size > 0) await this.store(store, [...batch.values()], signal);
      batch = new Map();
      bytes = 0;
      await this.note(end, screen);
    };
    try {
      for await (const line of lines) {
        const put = this.putOf(line);
        // Of two lines for one key the later one counts, so they do not travel together.
        if (put && batch.has(put.key)) await flush();
        if (put) {
          batch.set(put.key, put);
          bytes += put.key.length + put.value.length;
        }
        end = line.end;
        if (batch.size >= BATCH_KEYS || bytes >= BATCH_BYTES) await flush();
      }
      await flush();
      if (path !== undefined) await io.files.remove(`${path}.state`);
    } catch (thrown) {
      // Lines before a malformed one are good ones.
      if (thrown instanceof UsageError) await flush();
      if (path !== undefined) await io.files.replace(`${path}.state`, `${this.done}\n`);
      throw thrown;
    } finally {
      screen.clear();
    }
  }

  private putOf({ text, number }: Line): Put | undefined {
    if (text.trim() === '') return undefined;
    const item = parseItem(text);
    const problem = typeof item === 'string' ? item : (keyProblem(item.key.length) ?? valueProblem(item.value.length) ?? (item.contentType === undefined ? undefined : contentTypeProblem(item.contentType)));
    if (typeof item === 'string' || problem !== undefined) throw new UsageError(`line ${number}: ${problem ?? 'cannot be read'}${this.options.from === 0 ? '' : ' (counted from where this import went on)'}`);
    return { is: 'put', ...item, condition: this.options.ifAbsent ? { is: 'absent' } : undefined };
  }

  /** What failed for reasons that pass is tried again: a put made twice is made once. */
  private async store(store: GrpcStore, puts: readonly Put[], signal: AbortSignal): Promise<void> {
    const { timeoutMs, io } = this.options;
    let rest = puts;
    for (let tries = 1; ; tries++) {
      let failure: Error | undefined;
      try {
        const answers = await store.batch(rest, { timeoutMs, signal });
        const failed: Put[] = [];
        rest.forEach((put, i) => {
          const answer = answers[i];
          if (answer?.is === 'failed') {
            failed.push(put);
            failure = answer.error;
          } else if (answer?.is === 'written' && !answer.outcome.applied) this.left++;
          else this.keys++;
        });
        rest = failed;
      } catch (thrown) {
        failure = thrown as Error;
      }
      if (!failure) return;
      if (signal.aborted) throw signal.reason as Error;
      if (tries >= TRIES || !isWeather(failure)) throw failure;
      await sleep(io.clock, Math.min(100 * 2 ** tries, 3000), signal);
    }
  }

  private async note(end: number, screen: Screen): Promise<void> {
    const { path, size, from, io } = this.options;
    this.done = end;
    const now = io.clock.now();
    screen.status(transferText({ keys: this.keys, bytes: end - from, bytesTotal: size === undefined ? undefined : size - from, ms: now - this.startedAt }));
    if (path === undefined || now - this.savedAt < STATE_EVERY_MS) return;
    this.savedAt = now;
    await io.files.replace(`${path}.state`, `${end}\n`);
  }
}
