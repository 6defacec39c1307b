import { BaseCommand, QUERY_TIMEOUT_MS } from '../base.js';
import { readNode } from '../inputs.js';
import { NODE_ORDER_ARGS, NODE_ORDER_FLAGS } from '../node-order.js';

export default class Adopt extends BaseCommand {
  static override summary = 'Take over the keys of a static primary, where they are, before the cluster has keys of its own.';
  static override examples = ['<%= config.bin %> adopt 8081'];
  static override args = NODE_ORDER_ARGS;
  static override flags = NODE_ORDER_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Adopt);
    const node = readNode(args.node, 'the node');
    const order = { kind: 'adopt', node } as const;
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest(order);
    const { text } = await this.withController(flags, (admin) => admin.order(order, { timeoutMs }));
    if (this.wantsJson(flags)) await this.printJson({ taken: text });
    else await this.printText(text === '' ? `the keys of ${node} were taken over already` : text);
  }
}
