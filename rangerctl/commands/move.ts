import { string } from '@oclif/core/args';
import { readNode, readRangeId } from '../inputs.js';
import { OPERATION_FLAGS, OperationCommand } from '../operation.js';

export default class Move extends OperationCommand {
  static override summary = 'Move a range to a node; to one that the controller chooses when none is named. With two nodes: the copy on the first.';
  static override examples = ['<%= config.bin %> move 1 5201', '<%= config.bin %> move 1 5201 5203'];
  static override args = {
    range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }),
    node: string({ ignoreStdin: true, description: 'The ident of the node it goes to; or, before another one, of the node whose copy goes there.' }),
    to: string({ ignoreStdin: true, description: 'After a node: the ident of the node that its copy goes to.' }),
  };
  static override flags = OPERATION_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Move);
    const range = readRangeId(args.range, 'the range');
    const first = args.node === undefined ? undefined : readNode(args.node, 'the node');
    const to = args.to === undefined ? undefined : readNode(args.to, 'the node that the copy goes to');
    await this.runOperation(to === undefined ? { kind: 'move', range, node: first } : { kind: 'move', range, from: first, node: to }, flags);
  }
}
