import type { Server } from '@grpc/grpc-js';
import type { Key } from '../../model/key.js';
import type { RangeId, RangeMeta } from '../../model/range.js';
import { type LoadInfo, NO_LOAD } from '../../model/report.js';
import { Rangelet, type RangeService } from '../../rangelet/index.js';

/** Counts in memory how often it saw each key: one table a range. */
export class Counters implements RangeService {
  readonly rangelet: Rangelet;
  private readonly tables = new Map<RangeId, Map<Key, number>>();

  constructor(server: Server, ident: string) {
    this.rangelet = new Rangelet({ service: this, ident });
    this.rangelet.register(server);
  }

  prepare = async (range: RangeMeta): Promise<void> => void this.tables.set(range.id, new Map());
  activate = async (): Promise<void> => {};
  deactivate = async (): Promise<void> => {};
  drop = async (range: RangeMeta): Promise<void> => void this.tables.delete(range.id);
  loadInfo = (id: RangeId): LoadInfo => ({ ...NO_LOAD, keys: this.tables.get(id)?.size ?? 0 });

  add(id: RangeId, key: Key): number | undefined {
    const table = this.rangelet.stateOf(id) === 'Active' ? this.tables.get(id) : undefined;
    return table?.set(key, (table.get(key) ?? 0) + 1).get(key);
  }
}
