import { string } from '@oclif/core/args';
import { boolean } from '@oclif/core/flags';
import { formatKey } from '../../model/key.js';
import { AppError } from '../../runtime/errors.js';
import { DATA_FLAGS, DATA_TIMEOUT_MS, DataCommand, type StoredValue, positionJson } from '../data.js';
import { readKey } from '../inputs.js';
import { print } from '../io.js';
import { shown } from '../shown.js';

export default class Get extends DataCommand {
  static override summary = 'Print the value of a key.';
  static override description = [
    'Print the value of a key.',
    'A pipe or a file gets exactly the bytes of the value. A terminal gets text as it is, and b64:… for anything else.',
    'A key that is absent is told on standard error, with exit status 3.',
  ].join('\n');
  static override examples = ['<%= config.bin %> get greeting', '<%= config.bin %> get photo > cat.jpg'];
  static override args = { key: string({ required: true, ignoreStdin: true, description: 'The key; b64:… for bytes that are not text.' }) };
  static override flags = {
    ...DATA_FLAGS,
    stale: boolean({ summary: 'Any copy of the range may answer, with what it has.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Get);
    const key = readKey(args.key, 'the key');
    const timeoutMs = this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const address = this.dataAddress(flags);
    if (flags.request) return this.printDataRequest({ kind: 'get', key, stale: flags.stale });
    const stored = await this.withData(address, (kv) => kv.get(key, { timeoutMs, stale: flags.stale }));
    if (!stored) throw new AppError('NOT_FOUND', `key ${formatKey(key)} is absent`);
    await this.printPosition(flags, stored);
    if (flags.json) await this.printJson(json(stored));
    else if (this.io.stdout.isTTY === true) await this.printText(shown(stored.value));
    else await print(this.io.stdout, stored.value);
  }
}

/** kv.GetResponse, as the other commands print messages. */
function json(stored: StoredValue): object {
  const { value, atOffset } = stored;
  return { value: value.toString('base64'), ...positionJson(stored), ...(atOffset === undefined ? {} : { stale: true, at_offset: String(atOffset) }) };
}
