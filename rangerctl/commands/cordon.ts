import { NODE_ORDER_ARGS, NODE_ORDER_FLAGS, NodeOrderCommand } from '../node-order.js';

export default class Cordon extends NodeOrderCommand {
  static override summary = 'Give a node no new ranges; it keeps those it has.';
  static override examples = ['<%= config.bin %> cordon 5201'];
  static override args = NODE_ORDER_ARGS;
  static override flags = NODE_ORDER_FLAGS;

  async run(): Promise<void> {
    await this.give('cordon', await this.parse(Cordon), 'is cordoned: it is given no new ranges', 'is cordoned already');
  }
}
