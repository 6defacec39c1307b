import type { Copy } from '../../../node/range/copy.js';
import type { Replication } from '../../../node/range/replication.js';
import type { CopyRecord } from '../../../node/storage/copy-record.js';
import type { Storage } from '../../../node/storage/storage.js';
import { keyFromBytes } from '../../../model/key.js';
import type { RangeId } from '../../../model/range.js';
import type { Clock } from '../../../runtime/clock.js';
import { type Private, broken, inside, serviceOf } from './broken.js';

/* Faults that only a range with several copies can have. */

const SLOW_ANSWER_MS = 2_000;

export const commitsAlone = broken('a primary acknowledges before every copy in sync has it', [3, 4, 9], {
  node: (node) => {
    const replicas = inside(inside(serviceOf(node))['deps'] as object)['replicas'] as { install: (copy: Copy) => void };
    const install = replicas.install.bind(replicas);
    replicas.install = (copy) => {
      install(copy);
      const { replication } = copy as { replication: Replication | undefined };
      if (!replication) return;
      replication.advance = (durable) => {
        const went = durable > replication.committed;
        replication.committed = Math.max(replication.committed, durable);
        return went;
      };
    };
  },
});

/** Where answers take long, so that it matters: a sound build only goes without leases then. */
export const countsLeasesFromTheAnswer = broken('a primary counts a lease from when it was granted, not from when it was asked for', [1, 3], {
  source: (source) => {
    const fields = inside(source) as { leases: Map<number, number>; deps: { clock: Clock } };
    const { clock } = fields.deps;
    fields.leases = new (class extends Map<number, number> {
      override get(id: number): number | undefined {
        return this.has(id) ? clock.now() : undefined;
      }
    })();
    const receive = source.receive.bind(source);
    source.receive = (message) => {
      if (message.type === 'ack' && message.lease !== undefined) clock.after(SLOW_ANSWER_MS, () => { receive(message); });
      else receive(message);
    };
    return source;
  },
});

export const cutsAtItsCommitPoint = broken('a copy that becomes primary cuts off what it does not know to be committed', [3, 4, 9], {
  node: (node) => {
    const service = inside(serviceOf(node)) as Private & { beginPromotion: (copy: Copy, ...rest: unknown[]) => Promise<void>; deps: { storage: Storage } };
    const begin = service.beginPromotion.bind(serviceOf(node));
    service.beginPromotion = async (copy, ...rest) => {
      await begin(copy, ...rest);
      const { storage } = service.deps;
      const { id } = copy.meta;
      const after = copy.follower.committed;
      const removeKeys = storage.readLog(id, after, 1_000_000).map(({ key }) => keyFromBytes(key));
      await storage.commit({ cuts: [{ range: id, after }], removeKeys });
    };
  },
});

/** What copies each disk had, by the name that its successors give themselves too. */
const had = new Map<string, Map<RangeId, CopyRecord>>();

/** As one that was made from a backup of its records alone does; of an empty one, others would see that its copies are gone. */
export const takesAStrangerIn = broken('a node with an empty disk says that it is the one it was', [3, 4, 5, 8, 9], {
  storage: (storage) => {
    const name = storage.incarnation.replace(/-disk.*/, '-disk');
    const isFirst = storage.incarnation === name;
    if (isFirst && storage.copies().length === 0) had.delete(name);
    const records = had.get(name) ?? new Map<RangeId, CopyRecord>();
    had.set(name, records);
    const commit: Storage['commit'] = async (changes) => {
      await storage.commit(changes);
      for (const copy of changes.copies ?? []) records.set(copy.meta.id, copy);
      for (const id of changes.removeCopies ?? []) records.delete(id);
    };
    const copies: Storage['copies'] = () => (isFirst || storage.copies().length > 0 ? storage.copies() : [...records.values()]);
    return new Proxy(storage, {
      get: (target, field) => {
        const value: unknown = { incarnation: name, commit, copies }[String(field)] ?? Reflect.get(target, field);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  },
});

/** Where logs are short, so that it matters: whoever was away gets a snapshot over what it has. */
export const keepsStaleKeys = broken('a follower does not remove what its source has no more', [3, 9], {
  node: (node) => {
    const retention = inside(inside(serviceOf(node))['deps'] as object)['retention'] as object;
    inside(retention)['limits'] = { keepBytes: 0, holdBytesMax: 0, keepAgeMs: 0 };
    const links = inside(serviceOf(node))['links'] as { open: (...given: unknown[]) => object };
    const open = links.open.bind(links);
    links.open = (...given) => {
      const link = open(...given);
      const { sink } = inside(link)['deps'] as { sink: object };
      inside(sink)['staleKeys'] = function* () {
        yield [];
      };
      return link;
    };
  },
});
