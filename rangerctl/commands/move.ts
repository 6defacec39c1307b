import { string } from '@oclif/core/args';
import { readNode, readRangeId } from '../inputs.js';
import { OPERATION_FLAGS, OperationCommand } from '../operation.js';

export default class Move extends OperationCommand {
  static override summary = 'Move a range to a node; to one that the controller chooses when none is named.';
  static override examples = ['<%= config.bin %> move 1 5201'];
  static override args = {
    range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }),
    node: string({ ignoreStdin: true, description: 'The ident of the node it goes to.' }),
  };
  static override flags = OPERATION_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Move);
    const range = readRangeId(args.range, 'the range');
    const node = args.node === undefined ? undefined : readNode(args.node, 'the node');
    await this.runOperation({ kind: 'move', range, node }, flags);
  }
}
