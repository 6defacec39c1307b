import { string } from '@oclif/core/args';
import { DATA_TIMEOUT_MS, DataCommand, WRITE_FLAGS, positionJson, readLevel } from '../data.js';
import { readKey } from '../inputs.js';

export default class Del extends DataCommand {
  static override summary = 'Delete a key. Deleting one that is absent is no error.';
  static override examples = ['<%= config.bin %> del greeting'];
  static override args = { key: string({ required: true, ignoreStdin: true, description: 'The key; b64:… for bytes that are not text.' }) };
  static override flags = WRITE_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Del);
    const key = readKey(args.key, 'the key');
    const timeoutMs = this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const address = this.dataAddress(flags);
    const level = readLevel(flags.level);
    if (flags.request) return this.printDataRequest({ kind: 'delete', key, level });
    const position = await this.withData(address, (kv) => kv.delete(key, { timeoutMs, level }));
    await this.printPosition(flags, position);
    if (flags.json) await this.printJson(positionJson(position));
  }
}
