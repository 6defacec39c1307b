import { NODE_ORDER_ARGS, NODE_ORDER_FLAGS, NodeOrderCommand } from '../node-order.js';

export default class Uncordon extends NodeOrderCommand {
  static override summary = 'Let a node be given ranges again.';
  static override examples = ['<%= config.bin %> uncordon 5201'];
  static override args = NODE_ORDER_ARGS;
  static override flags = NODE_ORDER_FLAGS;

  async run(): Promise<void> {
    await this.give('uncordon', await this.parse(Uncordon), 'is cordoned no more', 'was not cordoned');
  }
}
