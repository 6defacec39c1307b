import type { RangeMeta } from '../model/range.js';
import { NO_LOAD, type Parent, type RangeInfo, type TransferProgress } from '../model/report.js';
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
    };
  }

  /** The last word on a range that the node no longer has. */
  gone(meta: RangeMeta, epoch: number, lastError: string): RangeInfo {
    return { meta, state: 'NotFound', load: NO_LOAD, epoch, progress: undefined, lastError, serving: false };
  }

  updateSources(meta: RangeMeta, parents: readonly Parent[]): void {
    this.ask('updateSources', () => this.settings.service.updateSources?.(meta, parents));
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
