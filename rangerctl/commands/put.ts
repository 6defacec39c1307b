import { string } from '@oclif/core/args';
import { DATA_TIMEOUT_MS, DataCommand, WRITE_FLAGS, positionJson, readLevel } from '../data.js';
import { checkValue, readKey, readValue } from '../inputs.js';

export default class Put extends DataCommand {
  static override summary = 'Store a value under a key.';
  static override description = [
    'Store a value under a key.',
    'The value is VALUE itself, or a file given as @FILE, or what comes on standard input when VALUE is - or missing.',
    'A value that begins with a dash goes behind --, one that begins with @ through standard input.',
  ].join('\n');
  static override examples = ['<%= config.bin %> put greeting hello', '<%= config.bin %> put photo @cat.jpg', 'date | <%= config.bin %> put now'];
  static override args = {
    key: string({ required: true, ignoreStdin: true, description: 'The key; b64:… for bytes that are not text.' }),
    value: string({ ignoreStdin: true, description: 'The value, @FILE, or - for standard input.' }),
  };
  static override flags = WRITE_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Put);
    const key = readKey(args.key, 'the key');
    const timeoutMs = this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const address = this.dataAddress(flags);
    const level = readLevel(flags.level);
    const value = checkValue(await this.#value(args.value));
    if (flags.request) return this.printDataRequest({ kind: 'put', key, value, level });
    const position = await this.withData(address, (kv) => kv.put(key, value, { timeoutMs, level }));
    await this.printPosition(flags, position);
    if (flags.json) await this.printJson(positionJson(position));
  }

  async #value(given: string | undefined): Promise<Buffer> {
    if (given === undefined || given === '-') return readValue(this.io.stdin, 'standard input');
    if (given.startsWith('@')) return this.fileValue(given.slice(1));
    return Buffer.from(given, 'utf8');
  }
}
