import { BehaviorSubject, EMPTY, Observable, type Subscriber, of, throwError } from 'rxjs';
import { describe, expect, test } from 'vitest';
import type { Instance } from '../coordination/interfaces.js';
import { formatInterval } from '../model/interval.js';
import type { Key } from '../model/key.js';
import { NO_LOAD, type RangeInfo, type ReplicaInfo } from '../model/report.js';
import type { RemoteState } from '../model/states.js';
import { seededRandom } from '../runtime/random.js';
import { ManualClock, settle } from '../test/cluster/manual-clock.js';
import type { LinkEvent } from './mirror-link.js';
import { Mirror, type OwnerMap } from './mirror.js';

const node = (ident: string, address = `${ident}:1`, incarnation?: string): Instance => ({
  service: 'node', ident, address, meta: incarnation === undefined ? {} : { incarnation },
});

/** `1 a-m Active 5`, in full, or as a node says it that knows no additions. */
function range(text: string, full = true): LinkEvent {
  const [id, bounds = '', state, epoch = '0'] = text.split(' ');
  const [start, end] = bounds.split('-') as [Key, Key];
  const meta = { id: Number(id), start, end };
  const report = { meta, state: state as RemoteState, epoch: Number(epoch) };
  const info: RangeInfo | undefined = full ? { ...report, load: NO_LOAD, progress: undefined, lastError: '', serving: state === 'Active' } : undefined;
  return { type: 'range', ...report, info };
}

/** A copy that follows its range's primary, and is level with it or not. */
function follower(text: string, caughtUp = true): LinkEvent {
  const event = range(text);
  if (event.type !== 'range' || !event.info) return event;
  const replica: ReplicaInfo = { configEpoch: 0, logEpoch: 0, lastOffset: 0, committedOffset: 0, source: 'n1:1', sourceLost: false, followers: [], leased: false, damaged: false, incomplete: false, static: false };
  return { ...event, info: { ...event.info, replica, progress: { keys: 0, bytes: 0, keysTotal: 0, caughtUp } } };
}

const old = (text: string): LinkEvent => range(text, false);
const SYNCED: LinkEvent = { type: 'synced' };
const CONNECTED: LinkEvent = { type: 'connected' };

class World {
  readonly clock = new ManualClock();
  readonly nodes = new BehaviorSubject<readonly Instance[]>([]);
  readonly streams = new Map<string, Subscriber<LinkEvent>>();
  readonly opened: string[] = [];
  readonly maps: OwnerMap[] = [];
  readonly mirror: Mirror;

  constructor(connect?: (address: string) => Observable<LinkEvent>) {
    this.mirror = new Mirror({
      nodes: this.nodes,
      connect:
        connect ??
        ((address) =>
          new Observable((subscriber) => {
            this.opened.push(address);
            this.streams.set(address, subscriber);
            return () => {
              if (this.streams.get(address) === subscriber) this.streams.delete(address);
            };
          })),
      clock: this.clock,
      random: seededRandom(1),
      turn: (callback) => {
        process.nextTick(callback);
      },
      rangesPerNodeMax: 1000,
    });
    this.mirror.changes.subscribe((map) => this.maps.push(map));
  }

  async discover(...instances: Instance[]): Promise<void> {
    this.nodes.next(instances);
    await settle();
  }

  async say(address: string, ...events: LinkEvent[]): Promise<void> {
    const stream = this.streams.get(address);
    if (!stream) throw new Error(`nobody listens to ${address}`);
    for (const event of events) stream.next(event);
    await settle();
  }

  get owners(): string[] {
    return this.mirror.current.owners.map((o) => `${formatInterval(o.interval)} R${o.range}@${o.node} ${o.address} e${o.epoch}`);
  }

  get links(): string[] {
    return this.mirror.nodes().map((n) => `${n.ident} ${n.link} ${n.known ? 'known' : 'unknown'} ${n.ranges}`);
  }
}

describe('copies that may be read', () => {
  test('are the owner and who follows it, from when they are level until they leave', async () => {
    const w = new World();
    await w.discover(node('n1'), node('n2'), node('n3'));
    const copies = (): string[] => w.mirror.copiesOf('k' as Key).map(({ node: ident, range: id }) => `R${id}@${ident}`);
    await w.say('n1:1', range('1 -m Active 3'), range('2 m- Active 3'), SYNCED);
    await w.say('n2:1', follower('1 -m Inactive 3'), follower('2 m- Inactive 3'), SYNCED);
    await w.say('n3:1', follower('1 -m Inactive 3', false), SYNCED);
    expect(copies()).toEqual(['R1@n1', 'R1@n2']);
    await w.say('n3:1', follower('1 -m Inactive 3'));
    expect(copies()).toEqual(['R1@n1', 'R1@n2', 'R1@n3']);
    await w.say('n2:1', follower('1 -m Dropping 3'));
    await w.say('n1:1', range('1 -m Inactive 3'));
    expect(copies()).toEqual(['R1@n3']);
    await w.discover(node('n1'), node('n2'));
    expect(copies()).toEqual([]);
  });
});

describe('a listing', () => {
  test('counts when it is complete, all at once', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', range('1 -m Active 3'));
    await w.say('n1:1', range('2 m- Active 4'));
    await w.clock.advance(10_000);
    expect(w.maps).toEqual([]);
    expect(w.mirror.complete).toBe(false);
    await w.say('n1:1', SYNCED);
    expect(w.owners).toEqual(['[-inf, m) R1@n1 n1:1 e3', '[m, +inf) R2@n1 n1:1 e4']);
    expect(w.maps).toHaveLength(1);
    expect(w.mirror.complete).toBe(true);
  });

  test('of a node that does not mark its end is complete after a silence', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', CONNECTED, old('1 -m Active'));
    await w.clock.advance(99);
    await w.say('n1:1', old('2 m- Active'));
    await w.clock.advance(99);
    expect(w.owners).toEqual([]);
    await w.clock.advance(1);
    expect(w.owners).toEqual(['[-inf, m) R1@n1 n1:1 e0', '[m, +inf) R2@n1 n1:1 e0']);
  });

  test('of a connected node that has nothing to say is empty', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', CONNECTED);
    await w.clock.advance(999);
    expect(w.links).toEqual(['n1 listing unknown 0']);
    await w.clock.advance(1);
    expect(w.links).toEqual(['n1 live known 0']);
  });

  test('of a node that takes no connection never is', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.clock.advance(60_000);
    expect(w.links).toEqual(['n1 listing unknown 0']);
  });

  test('only ranges that are Active have owners', async () => {
    const w = new World();
    await w.discover(node('n1'));
    const states = ['Preparing', 'Inactive', 'Activating', 'Deactivating', 'Dropping'];
    await w.say('n1:1', ...states.map((state, i) => range(`${i + 1} - ${state} 9`)), SYNCED);
    expect(w.owners).toEqual([]);
    expect(w.mirror.ranges().map((r) => `R${r.meta.id} ${r.state} e${r.epoch} ${r.node} ${r.address}`)).toEqual(
      states.map((state, i) => `R${i + 1} ${state} e9 n1 n1:1`),
    );
  });
});

describe('changes', () => {
  test('of one turn make one map', async () => {
    const w = new World();
    await w.discover(node('n1'), node('n2'));
    await w.say('n1:1', range('1 - Active 1'), SYNCED);
    await w.say('n2:1', range('1 - Inactive 1'), SYNCED);
    const before = w.maps.length;
    w.streams.get('n1:1')?.next(range('1 - Deactivating 1'));
    w.streams.get('n1:1')?.next(range('1 - Inactive 1'));
    w.streams.get('n2:1')?.next(range('1 - Active 2'));
    await settle();
    expect(w.maps).toHaveLength(before + 1);
    expect(w.owners).toEqual(['[-inf, +inf) R1@n2 n2:1 e2']);
  });

  test('in a storm wait for the map to be worth its work, and the first one does not', async () => {
    const w = new World();
    await w.discover(node('n1'));
    w.mirror.changes.subscribe(() => {
      w.clock.advanceSync(1);
    });
    await w.say('n1:1', range('1 - Active 1'), SYNCED);
    expect(w.maps).toHaveLength(1);
    for (let ms = 0; ms < 9; ms++) {
      expect(w.maps).toHaveLength(1);
      await w.say('n1:1', range(`1 - Active ${ms + 2}`));
      await w.clock.advance(1);
    }
    expect(w.maps).toHaveLength(2);
    expect(w.owners).toEqual(['[-inf, +inf) R1@n1 n1:1 e10']);
  });

  test('that give no key another owner make none', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', range('1 - Active 1'), SYNCED);
    await w.say('n1:1', range('2 - Preparing 1'), range('2 - Inactive 1'), range('2 - NotFound 1'));
    expect(w.maps).toHaveLength(1);
    expect(w.mirror.ranges()).toHaveLength(1);
  });

  test('a map in hand stays as it was', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', range('1 - Active 1'), SYNCED);
    const map = w.mirror.current;
    await w.say('n1:1', range('1 - Deactivating 1'));
    expect(map.ownerOf('k' as Key)?.node).toBe('n1');
    expect(w.mirror.current.ownerOf('k' as Key)).toBeUndefined();
    expect(w.mirror.current.version).toBeGreaterThan(map.version);
  });

  test('two nodes that claim one range: the higher epoch, whatever comes last', async () => {
    const w = new World();
    await w.discover(node('n1'), node('n2'));
    await w.say('n2:1', range('1 - Active 6'), SYNCED);
    await w.say('n1:1', range('1 - Active 5'), SYNCED);
    expect(w.owners).toEqual(['[-inf, +inf) R1@n2 n2:1 e6']);
    await w.say('n2:1', range('1 - NotFound 6'));
    expect(w.owners).toEqual(['[-inf, +inf) R1@n1 n1:1 e5']);
  });

  test('a split, seen by a mirror that hears the parent last', async () => {
    const w = new World();
    await w.discover(node('n1'), node('n2'));
    await w.say('n1:1', range('1 - Active 5'), SYNCED);
    await w.say('n2:1', range('2 -m Active 1'), range('3 m- Active 1'), SYNCED);
    expect(w.owners).toEqual(['[-inf, m) R2@n2 n2:1 e1', '[m, +inf) R3@n2 n2:1 e1']);
    await w.say('n1:1', range('1 - NotFound 6'));
    expect(w.owners).toEqual(['[-inf, m) R2@n2 n2:1 e1', '[m, +inf) R3@n2 n2:1 e1']);
  });
});

describe('a node that is lost', () => {
  async function lost(): Promise<World> {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', range('1 -m Active 3'), range('2 m- Active 3'), SYNCED);
    w.streams.get('n1:1')?.error(new Error('reset'));
    await settle();
    return w;
  }

  test('keeps its ranges while it is reached again, until its new listing is complete', async () => {
    const w = await lost();
    expect(w.owners).toHaveLength(2);
    expect(w.links).toEqual(['n1 waiting known 2']);
    await w.clock.advance(1000);
    await w.say('n1:1', range('1 -m Active 4'));
    expect(w.owners).toEqual(['[-inf, m) R1@n1 n1:1 e3', '[m, +inf) R2@n1 n1:1 e3']);
    const before = w.maps.length;
    await w.say('n1:1', SYNCED);
    expect(w.owners).toEqual(['[-inf, m) R1@n1 n1:1 e4']);
    expect(w.maps).toHaveLength(before + 1);
  });

  test('half a listing, then lost again: the old view stays', async () => {
    const w = await lost();
    await w.clock.advance(1000);
    await w.say('n1:1', range('1 -m Active 4'));
    w.streams.get('n1:1')?.complete();
    await w.clock.advance(1000);
    expect(w.owners).toEqual(['[-inf, m) R1@n1 n1:1 e3', '[m, +inf) R2@n1 n1:1 e3']);
    await w.say('n1:1', SYNCED);
    expect(w.owners).toEqual([]);
  });

  test('half a listing of one that does not mark its end, then lost: the silence after it counts for nothing', async () => {
    const w = await lost();
    await w.clock.advance(1000);
    await w.say('n1:1', old('1 -m Active'));
    w.streams.get('n1:1')?.error(new Error('reset'));
    await w.clock.advance(10_000);
    expect(w.owners).toHaveLength(2);
  });

  test('loses its ranges when discovery says that it is gone', async () => {
    const w = await lost();
    await w.discover();
    expect(w.owners).toEqual([]);
    expect(w.links).toEqual([]);
    await w.clock.advance(10_000);
    expect(w.opened).toEqual(['n1:1']);
    expect(w.clock.pending).toBe(0);
  });

  test('is tried again after 50 ms, then ever more rarely, up to a second, until it answers', async () => {
    const w = await lost();
    const waits: number[] = [];
    for (let i = 0; i < 12; i++) {
      const wait = w.clock.nextMs ?? Number.NaN;
      waits.push(wait);
      await w.clock.advance(wait);
      w.streams.get('n1:1')?.error(new Error('refused'));
      await settle();
    }
    expect(waits[0]).toBe(50);
    waits.forEach((wait, i) => {
      expect(wait).toBeGreaterThanOrEqual(Math.max(50, Math.min(1000, 50 * 2 ** i) / 2));
      expect(wait).toBeLessThanOrEqual(Math.min(1000, 50 * 2 ** i));
    });
    await w.clock.advance(1000);
    await w.say('n1:1', SYNCED);
    w.streams.get('n1:1')?.error(new Error('reset'));
    expect(w.clock.nextMs).toBe(50);
    expect(w.mirror.nodes()[0]?.lastError).toBe('reset');
  });
});

describe('a node that comes back', () => {
  test('at another address keeps its ranges, to be asked there', async () => {
    const w = new World();
    await w.discover(node('n1', 'h:1', 'x'));
    await w.say('h:1', range('1 - Active 3'), SYNCED);
    await w.discover(node('n1', 'h:2', 'x'));
    expect(w.owners).toEqual(['[-inf, +inf) R1@n1 h:2 e3']);
    expect(w.streams.has('h:1')).toBe(false);
    await w.say('h:2', range('1 - Active 4'), SYNCED);
    expect(w.owners).toEqual(['[-inf, +inf) R1@n1 h:2 e4']);
  });

  test('without its disk has none of them', async () => {
    const w = new World();
    await w.discover(node('n1', 'h:1', 'x'));
    await w.say('h:1', range('1 - Active 3'), SYNCED);
    await w.discover(node('n1', 'h:1', 'y'));
    expect(w.owners).toEqual([]);
    expect(w.opened).toEqual(['h:1', 'h:1']);
  });

  test('unchanged in a new list is left alone', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.discover(node('n1'), node('n2'));
    expect(w.opened).toEqual(['n1:1', 'n2:1']);
  });
});

describe('transports that misbehave', () => {
  test('one that fails or ends while it is opened is tried again', async () => {
    let opened = 0;
    const streams = [throwError(() => new Error('no')), EMPTY, of(range('1 - Active 1'), SYNCED)];
    const w = new World(() => {
      const stream = streams[opened++];
      if (!stream) throw new Error('no more');
      return stream;
    });
    await w.discover(node('n1'));
    await w.clock.advance(5000);
    expect(opened).toBeGreaterThan(3);
    expect(w.owners).toEqual(['[-inf, +inf) R1@n1 n1:1 e1']);
    expect(w.mirror.nodes()[0]?.lastError).toBe('no more');
  });

  test('a node that lists without end is cut off', async () => {
    const w = new World();
    await w.discover(node('n1'));
    await w.say('n1:1', ...Array.from({ length: 1001 }, (_, i) => range(`${i + 1} - Inactive`)));
    expect(w.links).toEqual(['n1 waiting unknown 0']);
    expect(w.mirror.nodes()[0]?.lastError).toContain('more than 1000 ranges');
  });
});

test('closing lets go of everything', async () => {
  const w = new World();
  await w.discover(node('n1'), node('n2'));
  await w.say('n1:1', range('1 - Active 1'), SYNCED);
  w.streams.get('n2:1')?.error(new Error('x'));
  w.mirror.close();
  w.mirror.close();
  expect(w.clock.pending).toBe(0);
  expect(w.streams.size).toBe(0);
  expect(w.nodes.observed).toBe(false);
});
