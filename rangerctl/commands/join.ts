import { string } from '@oclif/core/args';
import { UsageError } from '../failure.js';
import { readNode, readRangeId } from '../inputs.js';
import { OPERATION_FLAGS, OperationCommand } from '../operation.js';

export default class Join extends OperationCommand {
  static override summary = 'Join two neighbouring ranges into one; where the left one is when no node is named.';
  static override examples = ['<%= config.bin %> join 2 3 5201'];
  static override args = {
    left: string({ required: true, ignoreStdin: true, description: 'The number of the left range.' }),
    right: string({ required: true, ignoreStdin: true, description: 'The number of the right range, which begins where the left one ends.' }),
    node: string({ ignoreStdin: true, description: 'The ident of the node it goes to.' }),
  };
  static override flags = OPERATION_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Join);
    const left = readRangeId(args.left, 'the left range');
    const right = readRangeId(args.right, 'the right range');
    if (left === right) throw new UsageError(`R${left} cannot be joined with itself: name two neighbouring ranges`);
    const node = args.node === undefined ? undefined : readNode(args.node, 'the node');
    await this.runOperation({ kind: 'join', left, right, node }, flags);
  }
}
