import { string } from '@oclif/core/args';
import { readKey, readNode, readRangeId } from '../inputs.js';
import { OPERATION_FLAGS, OperationCommand } from '../operation.js';

export default class Split extends OperationCommand {
  static override summary = 'Split a range in two; in place when no nodes are named.';
  static override examples = ['<%= config.bin %> split 1 m', '<%= config.bin %> split 1 m 5200 5202'];
  static override args = {
    range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }),
    boundary: string({ required: true, ignoreStdin: true, description: 'The first key of the right half; b64:… for bytes that are not text.' }),
    left: string({ ignoreStdin: true, description: 'The node of the left half.' }),
    right: string({ ignoreStdin: true, description: 'The node of the right half.' }),
  };
  static override flags = OPERATION_FLAGS;

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Split);
    const range = readRangeId(args.range, 'the range');
    const boundary = readKey(args.boundary, 'the boundary');
    const left = args.left === undefined ? undefined : readNode(args.left, 'the left node');
    const right = args.right === undefined ? undefined : readNode(args.right, 'the right node');
    await this.runOperation({ kind: 'split', range, boundary, left, right }, flags);
  }
}
