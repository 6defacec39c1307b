import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';

export default class Nodes extends BaseCommand {
  static override summary = 'List all nodes, and the load that each reports.';
  static override examples = ['<%= config.bin %> nodes', "<%= config.bin %> nodes | jq -r '.nodes[].node.ident'"];
  static override flags = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS };

  async run(): Promise<void> {
    const { flags } = await this.parse(Nodes);
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest({ kind: 'nodes' });
    await this.withController(flags, async (admin) => {
      if (this.wantsJson(flags)) return this.printJson(await admin.json({ kind: 'nodes' }, { timeoutMs }));
      const [nodes, { nodesTable }] = await Promise.all([admin.nodes({ timeoutMs }), import('../tables.js')]);
      return this.printText(nodesTable(nodes, this.colours));
    });
  }
}
