import { NODE_ORDER_ARGS, NODE_ORDER_FLAGS, NodeOrderCommand } from '../node-order.js';

export default class Undrain extends NodeOrderCommand {
  static override summary = 'End the drain of a node: what is still there stays, and it may be given ranges again.';
  static override examples = ['<%= config.bin %> undrain 5201'];
  static override args = NODE_ORDER_ARGS;
  static override flags = NODE_ORDER_FLAGS;

  async run(): Promise<void> {
    await this.give('undrain', await this.parse(Undrain), 'is drained no more', 'was not being drained');
  }
}
