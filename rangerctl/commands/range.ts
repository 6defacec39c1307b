import { string } from '@oclif/core/args';
import { boolean } from '@oclif/core/flags';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';
import { UsageError } from '../failure.js';
import { readRangeId } from '../inputs.js';

export default class Range extends BaseCommand {
  static override summary = 'Show one range, its placements and its lineage; `range reset` starts one empty whose data is lost.';
  static override examples = ['<%= config.bin %> range 1', '<%= config.bin %> range reset 1 --accept-data-loss'];
  static override args = {
    range: string({ required: true, ignoreStdin: true, description: 'The number of the range; or the word reset.' }),
    reset: string({ ignoreStdin: true, description: 'With reset: the number of the range.' }),
  };
  static override flags = {
    ...CONTROLLER_FLAGS,
    ...COMMON_FLAGS,
    'accept-data-loss': boolean({ summary: 'With reset: what the range held is given up for good.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Range);
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    const isReset = args.range === 'reset';
    if (isReset) this.called = 'range reset';
    if (isReset !== (args.reset !== undefined)) {
      throw new UsageError(isReset ? 'the range to reset is missing' : `${JSON.stringify(args.reset)} is one argument too many; did you mean \`range reset ${args.range}\`?`);
    }
    if (flags['accept-data-loss'] && !isReset) throw new UsageError('--accept-data-loss belongs to `range reset`');
    const range = readRangeId(args.reset ?? args.range, 'the range');
    const query = { kind: 'range', range } as const;
    const reset = { kind: 'reset', range, acceptDataLoss: flags['accept-data-loss'] } as const;
    if (flags.request) return this.printRequest(isReset ? reset : query);
    await this.withController(flags, async (admin) => {
      if (isReset) {
        const { text } = await admin.order(reset, { timeoutMs });
        return this.wantsJson(flags) ? this.printJson({ lost: text }) : this.printText(text);
      }
      if (this.wantsJson(flags)) return this.printJson(await admin.json(query, { timeoutMs }));
      const [view, { rangeText }] = await Promise.all([admin.range(range, { timeoutMs }), import('../tables.js')]);
      return this.printText(rangeText(view, this.colours));
    });
  }
}
