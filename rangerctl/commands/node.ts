import { string } from '@oclif/core/args';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';
import { readNode } from '../inputs.js';

export default class Node extends BaseCommand {
  static override summary = 'Show one node, and every range on it.';
  static override examples = ['<%= config.bin %> node 5201'];
  static override args = { node: string({ required: true, ignoreStdin: true, description: 'The ident of the node.' }) };
  static override flags = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Node);
    const query = { kind: 'node', node: readNode(args.node, 'the node') } as const;
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest(query);
    await this.withController(flags, async (admin) => {
      if (this.wantsJson(flags)) return this.printJson(await admin.json(query, { timeoutMs }));
      const [node, { nodeText }] = await Promise.all([admin.node(query.node, { timeoutMs }), import('../tables.js')]);
      return this.printText(nodeText(node, this.colours));
    });
  }
}
