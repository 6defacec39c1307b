import { string } from '@oclif/core/args';
import { readNode, readRangeId } from '../inputs.js';
import { OPERATION_FLAGS, OperationCommand } from '../operation.js';

export default class Transfer extends OperationCommand {
  static override summary = 'Make the copy on a node the primary of a range. It has to be in sync, so nothing is copied.';
  static override examples = ['<%= config.bin %> transfer 1 5202'];
  static override args = {
    range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }),
    node: string({ required: true, ignoreStdin: true, description: 'The ident of the node whose copy becomes the primary.' }),
  };
  static override flags = OPERATION_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Transfer);
    await this.runOperation({ kind: 'transfer', range: readRangeId(args.range, 'the range'), node: readNode(args.node, 'the node') }, flags);
  }
}
