import { string } from '@oclif/core/args';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';
import { readRangeId } from '../inputs.js';

export default class Range extends BaseCommand {
  static override summary = 'Show one range, its placements and its lineage.';
  static override examples = ['<%= config.bin %> range 1'];
  static override args = { range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }) };
  static override flags = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Range);
    const query = { kind: 'range', range: readRangeId(args.range, 'the range') } as const;
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest(query);
    await this.withController(flags, async (admin) => {
      if (this.wantsJson(flags)) return this.printJson(await admin.json(query, { timeoutMs }));
      const [range, { rangeText }] = await Promise.all([admin.range(query.range, { timeoutMs }), import('../tables.js')]);
      return this.printText(rangeText(range, this.colours));
    });
  }
}
