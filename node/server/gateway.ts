import { ByteBudget } from '../../client/budget.js';
import { Gateway, type GatewayOptions, type StaleValue } from '../../gateway/gateway.js';
import { type Key, keyToBytes } from '../../model/key.js';
import type { AskOptions, ScanPage, ScanRequest, Store } from '../../model/store.js';
import { AppError } from '../../runtime/errors.js';
import type { KvNode } from '../node.js';
import type { Elsewhere } from './elsewhere.js';

/** Bodies and answers of HTTP requests on their way. */
const BYTES_IN_FLIGHT_MAX = 64 * 1024 * 1024;

/** HTTP on a node: it answers for the keys that it has, and knows where the others are. */
export function nodeGateway(node: KvNode, elsewhere: Elsewhere, options: Pick<GatewayOptions, 'clock' | 'logger' | 'closing' | 'version' | 'observe'>): Gateway {
  return new Gateway({
    ...options,
    store: withListings(node.store, elsewhere),
    role: () => node.role,
    status: () => node.summary(),
    elsewhere: {
      serves: (key) => node.copies.servingKey(key) !== undefined,
      locate: (key, signal) => elsewhere.locate(key, signal),
      stale: (key) => staleValue(node, key),
    },
    budget: new ByteBudget(BYTES_IN_FLIGHT_MAX),
  });
}

function staleValue(node: KvNode, key: Key): StaleValue | undefined {
  if (!node.copies.staleKey(key)) return undefined;
  const { stored, atOffset } = node.data.getStale(keyToBytes(key));
  return { ...stored, atOffset };
}

/** Listings reach beyond what is here: the rest is had from where it is. */
function withListings(local: Store, elsewhere: Elsewhere): Store {
  return {
    get: (...args) => local.get(...args),
    put: (...args) => local.put(...args),
    delete: (...args) => local.delete(...args),
    batch: (...args) => local.batch(...args),
    watch: (...args) => local.watch(...args),
    scan: (request, options) => listing(local, elsewhere, request, options),
  };
}

async function* listing(local: Store, elsewhere: Elsewhere, request: ScanRequest, options: AskOptions | undefined): AsyncGenerator<ScanPage, void, undefined> {
  let { token, limit } = request;
  try {
    for await (const page of local.scan(request, options)) {
      if (limit !== undefined) limit -= page.entries.length;
      if (page.next) token = page.next;
      yield page;
    }
  } catch (thrown) {
    const { code } = AppError.from(thrown);
    if (code !== 'ABORTED' && code !== 'FAILED_PRECONDITION') throw thrown;
    yield* elsewhere.store().scan({ ...request, token, limit }, options);
  }
}
