import { string } from '@oclif/core/args';
import { string as stringFlag } from '@oclif/core/flags';
import { changeItem } from '../../model/items.js';
import { formatKey } from '../../model/key.js';
import type { Change } from '../../model/store.js';
import { AppError } from '../../runtime/errors.js';
import { UsageError } from '../failure.js';
import { print } from '../io.js';
import { shown } from '../shown.js';
import { SPAN_FLAGS, StoreCommand, readCount, readSpan, readToken, spanJson } from '../store-command.js';

export default class WatchKeys extends StoreCommand {
  static override summary = 'Print the changes of keys as they are made.';
  static override description = [
    'Print the changes of the keys that begin with PREFIX, of all keys without one, as they are made: each once, however ranges move. Until Ctrl-C, or --timeout.',
    'A pipe gets a line of JSON for each, and first one that tells where the watch begins. A token in a line goes on behind it: --token.',
    'From now on, if neither --token nor --from-offset is given.',
  ].join('\n');
  static override examples = ['<%= config.bin %> watch-keys user/', "<%= config.bin %> watch-keys | jq -r 'select(.deleted).key'"];
  static override args = { prefix: string({ ignoreStdin: true, description: 'What the keys begin with; b64:… for bytes that are not text.' }) };
  static override flags = {
    ...SPAN_FLAGS,
    token: stringFlag({ summary: 'Go on where an earlier watch of the same keys was.', helpValue: 'TOKEN' }),
    'from-offset': stringFlag({ summary: 'Begin behind this offset, of keys that lie in one range.', helpValue: 'N' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(WatchKeys);
    const timeoutMs = this.timeoutMs(flags, undefined);
    const afterOffset = readCount(flags['from-offset'], '--from-offset', 0);
    if (afterOffset !== undefined && flags.token !== undefined) throw new UsageError('--token and --from-offset both say where to begin: give one of them');
    const request = { span: readSpan({ ...flags, prefix: args.prefix }), token: readToken(flags.token), afterOffset };
    const address = this.dataAddress(flags);
    if (flags.request) {
      const after = afterOffset === undefined ? {} : { after_offset: String(afterOffset) };
      await this.printJson({ ...spanJson(request.span), token: request.token?.toString('base64') ?? '', ...after });
      return;
    }
    const json = this.wantsJson(flags);
    await this.withStore(address, async (store, interrupted) => {
      const over = new AbortController();
      const cancel = timeoutMs === undefined ? (): void => undefined : this.io.clock.after(timeoutMs, () => { over.abort(new AppError('CANCELLED', 'long enough')); });
      const signal = AbortSignal.any([interrupted, over.signal]);
      try {
        for await (const { changes, token } of store.watch(request, { signal })) {
          const begun = json && changes.length === 0 && token ? [JSON.stringify({ token: token.toString('base64url') })] : [];
          const lines = begun.length > 0 ? begun : changes.map((change, i) => (json ? jsonLine(change, i === changes.length - 1 ? token : undefined) : textLine(change)));
          if (lines.length > 0) await print(this.io.stdout, `${lines.join('\n')}\n`);
        }
      } catch (thrown) {
        // Who asked for an end gets it; everything else is a failure.
        if (!signal.aborted) throw thrown;
      } finally {
        cancel();
      }
    });
  }
}

function jsonLine(change: Change, token: Buffer | undefined): string {
  return JSON.stringify({ ...changeItem(change), ...(token ? { token: token.toString('base64url') } : {}) });
}

function textLine({ key, value }: Change): string {
  return value ? `put  ${formatKey(key)}  ${shown(value)}` : `del  ${formatKey(key)}`;
}
