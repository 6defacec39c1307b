import type { RangeMeta } from '../model/range.js';
import { type Membership, NO_LOAD, type Parent, type RangeInfo, type TransferProgress } from '../model/report.js';
import { messageOf } from '../runtime/errors.js';
import type { RangeRecord } from './machine.js';
import type { RangeletHooks, Settings } from './options.js';

/**
 * Asks the service about its ranges. Whatever it throws stays here: a report that
 * cannot be made must not take a command, a stream or the process down.
 */
export class Reports {
  constructor(private readonly settings: Settings) {}

  info(record: RangeRecord, epoch: number): RangeInfo {
    const { service } = this.settings;
    const { meta, state, lastError } = record;
    return {
      meta,
      state,
      load: this.ask('loadInfo', () => service.loadInfo(meta.id)) ?? NO_LOAD,
      epoch,
      progress: this.ask<TransferProgress | undefined>('progress', () => service.progress?.(meta.id)),
      lastError,
      serving: this.ask('serving', () => service.serving?.(meta.id)) ?? state === 'Active',
      replica: this.ask('replica', () => service.replica?.(meta.id)),
    };
  }

  /** The last word on a range that the node no longer has. */
  gone(meta: RangeMeta, epoch: number, lastError: string): RangeInfo {
    return { meta, state: 'NotFound', load: NO_LOAD, epoch, progress: undefined, lastError, serving: false };
  }

  updateSources(meta: RangeMeta, parents: readonly Parent[], context: { readonly epoch: number; readonly fork: number }): void {
    this.ask('updateSources', () => this.settings.service.updateSources?.(meta, parents, context));
  }

  updateMembership(meta: RangeMeta, membership: Membership, context: { readonly epoch: number }): void {
    this.ask('updateMembership', () => this.settings.service.updateMembership?.(meta, membership, context));
  }

  hook<K extends keyof RangeletHooks>(name: K, event: Parameters<NonNullable<RangeletHooks[K]>>[0]): void {
    const { hooks } = this.settings;
    this.ask(`hooks.${name}`, () => (hooks[name] as ((event: unknown) => void) | undefined)?.call(hooks, event));
  }

  private ask<T>(what: string, call: () => T): T | undefined {
    try {
      return call();
    } catch (thrown) {
      this.settings.logger.warn('the service failed to answer the rangelet', { what, error: messageOf(thrown) });
      return undefined;
    }
  }
}
