import { string } from '@oclif/core/args';
import type { Order } from '../client/admin.js';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from './base.js';
import { readNode } from './inputs.js';

export const NODE_ORDER_ARGS = { node: string({ required: true, ignoreStdin: true, description: 'The ident of the node.' }) };
export const NODE_ORDER_FLAGS = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS };

interface NodeOrderInput {
  readonly args: { readonly node: string };
  readonly flags: { readonly addr: string; readonly timeout?: string | undefined; readonly json?: boolean | undefined; readonly request: boolean };
}

/** What undrain, cordon and uncordon share: one word on one node, which holds until it is taken back. */
export abstract class NodeOrderCommand extends BaseCommand {
  protected async give(kind: 'undrain' | 'cordon' | 'uncordon', { args, flags }: NodeOrderInput, done: string, already: string): Promise<void> {
    const node = readNode(args.node, 'the node');
    const order: Exclude<Order, { kind: 'verify' }> = { kind, node };
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest(order);
    const { changed } = await this.withController(flags, (admin) => admin.order(order, { timeoutMs }));
    if (this.wantsJson(flags)) await this.printJson({ changed });
    else await this.printText(`${node} ${changed ? done : already}`);
  }
}
