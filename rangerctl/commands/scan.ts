import { string } from '@oclif/core/args';
import { boolean, string as stringFlag } from '@oclif/core/flags';
import { itemOf } from '../../model/items.js';
import { formatKey } from '../../model/key.js';
import { DATA_TIMEOUT_MS } from '../data.js';
import { print } from '../io.js';
import { shown } from '../shown.js';
import { SPAN_FLAGS, StoreCommand, readCount, readSpan, readToken, spanJson } from '../store-command.js';

export default class Scan extends StoreCommand {
  static override summary = 'Print keys and values in order.';
  static override description = [
    'Print the keys that begin with PREFIX, all of them without one, and their values, in order.',
    'A pipe gets a line of JSON for each; text is text, and what is none is in base64 under another name.',
    'When --limit ends it, standard error tells the --token to go on with.',
  ].join('\n');
  static override examples = ['<%= config.bin %> scan user/', '<%= config.bin %> scan --start a --end m --reverse --limit 10', '<%= config.bin %> scan --keys-only | wc -l'];
  static override args = { prefix: string({ ignoreStdin: true, description: 'What the keys begin with; b64:… for bytes that are not text.' }) };
  static override flags = {
    ...SPAN_FLAGS,
    reverse: boolean({ default: false, summary: 'From the last key to the first.' }),
    'keys-only': boolean({ default: false, summary: 'Without the values.' }),
    limit: stringFlag({ summary: 'At most so many.', helpValue: 'N' }),
    token: stringFlag({ summary: 'Go on where an earlier scan of the same keys ended.', helpValue: 'TOKEN' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Scan);
    const keysOnly = flags['keys-only'];
    const timeoutMs = this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const request = { span: readSpan({ ...flags, prefix: args.prefix }), reverse: flags.reverse, keysOnly, limit: readCount(flags.limit, '--limit', 1), token: readToken(flags.token) };
    const address = this.dataAddress(flags);
    if (flags.request) {
      await this.printJson({ ...spanJson(request.span), reverse: request.reverse, keys_only: keysOnly, limit: String(request.limit ?? 0), token: request.token?.toString('base64') ?? '' });
      return;
    }
    const json = this.wantsJson(flags);
    let next: Buffer | undefined;
    await this.withStore(address, async (store, signal) => {
      for await (const page of store.scan(request, { signal, timeoutMs })) {
        next = page.next;
        const lines = page.entries.map((entry) => (json ? JSON.stringify(itemOf(entry, keysOnly)) : keysOnly ? formatKey(entry.key) : `${formatKey(entry.key)}  ${shown(entry.value)}`));
        if (lines.length > 0) await print(this.io.stdout, `${lines.join('\n')}\n`);
      }
    });
    if (next) await print(this.io.stderr, `there is more: --token ${next.toString('base64url')}\n`);
  }
}
