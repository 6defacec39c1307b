import { boolean } from '@oclif/core/flags';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';
import { UsageError } from '../failure.js';

export default class Ranges extends BaseCommand {
  static override summary = 'List all ranges: where each is, and what the nodes say of it.';
  static override examples = ['<%= config.bin %> ranges', '<%= config.bin %> ranges --render | dot -Tsvg > ranges.svg'];
  static override flags = {
    ...CONTROLLER_FLAGS,
    ...COMMON_FLAGS,
    render: boolean({ summary: 'Print a Graphviz graph of ranges, placements and lineage.' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Ranges);
    if (flags.render && flags.request) throw new UsageError('--render draws an answer, and --request asks for none: give one of them');
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest({ kind: 'ranges' });
    await this.withController(flags, async (admin) => {
      if (flags.render) {
        const [ranges, { renderGraph }] = await Promise.all([admin.ranges({ timeoutMs }), import('../graphviz.js')]);
        await this.printText(renderGraph(ranges));
      } else if (this.wantsJson(flags)) {
        await this.printJson(await admin.json({ kind: 'ranges' }, { timeoutMs }));
      } else {
        const [ranges, { rangesTable }] = await Promise.all([admin.ranges({ timeoutMs }), import('../tables.js')]);
        await this.printText(rangesTable(ranges, this.colours));
      }
    });
  }
}
