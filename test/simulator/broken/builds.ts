import { type Loss } from '../../../client/pipe.js';
import { Router } from '../../../client/router.js';
import type { RoutedRequest } from '../../../client/request.js';
import type { Change } from '../../../coordination/interfaces.js';
import type { Copy } from '../../../node/range/copy.js';
import type { Storage } from '../../../node/storage/storage.js';
import { seededRandom } from '../../../runtime/random.js';
import type { Build } from '../build.js';
import { broken, inside, serviceOf } from './broken.js';

type HandsOver = (copy: Copy, epoch: number) => Promise<unknown>;

export const acknowledgesBeforeDurable = broken('a node acknowledges writes before they are on its disk', [3, 4], {
  storage: (storage) => changed(storage, 'commit', (commit) => {
    const durable = storage.commit(commit);
    if (!commit.appends || commit.copies) return durable;
    durable.catch(() => undefined);
    return Promise.resolve();
  }),
});

export const servesWithoutHandOver = broken('a node makes the right to write instead of fetching it', [1], {
  node: (node) => {
    inside(serviceOf(node))['mayMakeToken'] = () => true;
  },
});

export const givesWithoutDeactivating = broken('a source hands the right to write over while it goes on serving', [1, 3], {
  node: (node) => {
    serviceOf(node).deactivate = async (range) => {
      const copy = node.copies.get(range.id) as Copy;
      await node.copies.change(() => [copy], () => node.copies.save([{ copy, record: { ...copy.record, state: 'Inactive' } }]));
    };
  },
  source: (source) => {
    const methods = inside(source) as { decideHandOver: HandsOver; giveAway: HandsOver };
    methods.decideHandOver = (copy, epoch) => methods.giveAway(copy, epoch);
    return source;
  },
});

export const forgetsAnEpoch = broken('a node keeps no fence on its disk', [7], {
  storage: (storage) => changed(storage, 'commit', (commit) => storage.commit({ ...commit, ...(commit.fences ? { fences: commit.fences.map((fence) => ({ ...fence, epoch: fence.epoch % 7 })) } : {}) })),
});

export const skipsRecords = broken('a follower loses a batch of records now and then', [3, 4], {
  toFollower: lossy('records', 0.3),
});

export const skipsChunks = broken('a follower takes a snapshot for complete that is empty', [4, 3], {
  toFollower: (message) => (message.type === 'chunk' ? { ...message, pairs: { bytes: Buffer.alloc(0), count: 0 } } : message),
});

export const ignoresFailedWrites = broken('the controller takes a failed write of the keyspace for done', [1, 2, 5, 7], {
  persister: (persister) => ({
    load: () => persister.load(),
    write: (groups) => persister.write(groups).catch(() => undefined),
    close: () => persister.close(),
  }),
});

export const writesInPieces = broken('the controller writes the parts of one change one by one', [2], {
  persister: (persister) => ({
    load: () => persister.load(),
    write: (groups) => inOrder(groups.flat(), (change) => persister.write([[change]])),
    close: () => persister.close(),
  }),
});

export const lowersEpochs = broken('the controller forgets how high an epoch was', [7], {
  persister: (persister) => ({
    load: () => persister.load(),
    write: (groups) => persister.write(groups.map((group) => group.map(({ key, value }) => ({ key, value: value?.replace(/"epoch":(\d+)/, (_, n: string) => `"epoch":${1 + (Number(n) % 5)}`) })))),
    close: () => persister.close(),
  }),
});

export const neverRepeats = broken('the controller sends each command once', [5], {
  dial: (dial) => {
    const sent = new Set<string>();
    return (address) => {
      const transport = dial(address);
      return {
        ...transport,
        send: (command, options) => {
          const name = `${command.command} ${command.range.id} ${command.node} ${command.epoch}`;
          if (sent.has(name)) return new Promise(() => undefined);
          sent.add(name);
          return transport.send(command, options);
        },
      };
    };
  },
});

export const forgetsWriteIds = broken('a retried write is applied twice', [3], {
  node: (node) => {
    node.queue.answersKnown = () => false;
  },
});

export const doublesWrites = broken('the router sends a write again, as a new one, whose fate nobody knows', [3], {
  router: (options) => {
    const router = new Router(options);
    const events = inside(router)['events'] as { lost: (request: RoutedRequest, loss: Loss) => void };
    const { lost } = events;
    events.lost = (request, loss) => {
      const again = !request.isRead && !loss.definitelyNotApplied;
      const { keyBytes, value } = request;
      lost(request, loss);
      if (again) options.clock.after(300, () => void router.put(keyBytes, value, undefined, () => undefined));
    };
    return router;
  },
});

export const asksNoDeactivate = broken('the controller takes a Deactivate for done that it never sent', [1, 3, 5], {
  dial: (dial) => (address) => {
    const transport = dial(address);
    return {
      ...transport,
      send: async (command, options) => {
        if (command.command !== 'Deactivate') return transport.send(command, options);
        await transport.info(options);
        return { state: 'Inactive', lastError: '', info: undefined };
      },
    };
  },
});

function changed<K extends keyof Storage>(storage: Storage, name: K, value: Storage[K]): Storage {
  return new Proxy(storage, {
    get: (target, asked) => (asked === name ? value : (Reflect.get(target, asked) as unknown)),
  });
}

function lossy(type: string, probability: number): Build['toFollower'] {
  const random = seededRandom(1);
  return (message) => (message.type === type && random.next() < probability ? undefined : message);
}

async function inOrder(changes: readonly Change[], write: (change: Change) => Promise<void>): Promise<void> {
  for (const change of changes) await write(change);
}
