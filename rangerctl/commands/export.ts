import { string } from '@oclif/core/args';
import { boolean, string as stringFlag } from '@oclif/core/flags';
import { itemOf } from '../../model/items.js';
import type { ScanRequest } from '../../model/store.js';
import { formatBytes } from '../../runtime/units.js';
import { Screen } from '../../runtime/screen.js';
import { DATA_TIMEOUT_MS } from '../data.js';
import { UsageError } from '../failure.js';
import type { Writing } from '../files.js';
import { print } from '../io.js';
import { SPAN_FLAGS, StoreCommand, countOf, readSpan, readToken, spanJson, tookText, transferText } from '../store-command.js';

/** How far it is, beside the file: so much of it is good, and what lacks is behind the token. */
interface State {
  readonly bytes: number;
  readonly keys: number;
  readonly token: string;
  readonly span: { readonly start: string; readonly end: string };
}

const STATE_EVERY_MS = 1000;

export default class Export extends StoreCommand {
  static override summary = 'Write keys and values into a file, as lines of JSON.';
  static override description = [
    'Write all keys, or some, with their values into FILE, one JSON object a line; - is standard output.',
    'One that was broken off goes on with --resume, from what FILE.state says.',
  ].join('\n');
  static override examples = ['<%= config.bin %> export all.jsonl', '<%= config.bin %> export - --prefix user/ | gzip > users.gz', '<%= config.bin %> export all.jsonl --resume'];
  static override args = { file: string({ required: true, ignoreStdin: true, description: 'The file, or -.' }) };
  static override flags = {
    ...SPAN_FLAGS,
    prefix: stringFlag({ summary: 'Only keys that begin so.', helpValue: 'PREFIX' }),
    resume: boolean({ summary: 'Go on with a file that was broken off.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Export);
    const timeoutMs = this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const span = readSpan(flags);
    const address = this.dataAddress(flags);
    if (flags.request) return this.printJson({ ...spanJson(span), reverse: false, keys_only: false, limit: '0', token: '' });
    const toFile = args.file !== '-';
    if (flags.resume && !toFile) throw new UsageError('--resume goes on with a file: standard output is none');
    const state = flags.resume ? await this.#state(args.file, span) : undefined;
    const sink = toFile ? await this.#open(args.file, state?.bytes ?? 0) : undefined;
    try {
      await this.#copy(address, { span, token: readToken(state?.token) }, { sink, path: args.file, before: state, timeoutMs });
    } finally {
      await sink?.close();
    }
  }

  async #copy(address: string, request: ScanRequest, to: { readonly sink: Writing | undefined; readonly path: string; readonly before: State | undefined; readonly timeoutMs: number }): Promise<void> {
    const { clock, files, stdout, stderr } = this.io;
    const { sink, path, before } = to;
    const screen = new Screen(stderr);
    const startedAt = clock.now();
    let [keys, bytes, fresh, savedAt] = [before?.keys ?? 0, before?.bytes ?? 0, 0, clock.now()];
    try {
      await this.withStore(address, async (store, signal) => {
        for await (const page of store.scan(request, { signal, timeoutMs: to.timeoutMs })) {
          const text = page.entries.map((entry) => `${JSON.stringify(itemOf(entry))}\n`).join('');
          if (sink) await sink.append(text);
          else await print(stdout, text);
          keys += page.entries.length;
          fresh += page.entries.length;
          bytes += Buffer.byteLength(text);
          screen.status(transferText({ keys: fresh, bytes: bytes - (before?.bytes ?? 0), bytesTotal: undefined, ms: clock.now() - startedAt }));
          if (!sink || !page.next || (clock.now() - savedAt < STATE_EVERY_MS && fresh > page.entries.length)) continue;
          savedAt = clock.now();
          await sink.sync();
          const state: State = { bytes, keys, token: page.next.toString('base64url'), span: spanJson(request.span) };
          await files.replace(statePath(path), `${JSON.stringify(state)}\n`);
        }
      });
      await sink?.sync();
      if (sink) await files.remove(statePath(path));
    } finally {
      screen.clear();
    }
    if (sink) await print(stderr, `exported ${countOf(keys)}, ${formatBytes(bytes)}, in ${tookText(clock.now() - startedAt)}\n`);
  }

  async #open(path: string, from: number): Promise<Writing> {
    try {
      return await this.io.files.write(path, from);
    } catch (thrown) {
      throw new UsageError(`cannot write ${path}: ${(thrown as Error).message}`);
    }
  }

  /** Undefined when there is nothing to go on with: then it begins. */
  async #state(path: string, span: ScanRequest['span']): Promise<State | undefined> {
    const text = await this.io.files.load(statePath(path));
    if (text === undefined) {
      if ((await this.io.files.size(path)) === undefined) return undefined;
      throw new UsageError(`${path} is whole, or no export: there is no ${statePath(path)} to go on from`);
    }
    const state = JSON.parse(text) as State;
    if (JSON.stringify(state.span) !== JSON.stringify(spanJson(span))) throw new UsageError(`${path} was begun with other keys: give the same --prefix, --start and --end`);
    if (((await this.io.files.size(path)) ?? 0) < state.bytes) throw new UsageError(`${path} is shorter than ${statePath(path)} says: begin again, without --resume`);
    return state;
  }
}

function statePath(path: string): string {
  return `${path}.state`;
}
