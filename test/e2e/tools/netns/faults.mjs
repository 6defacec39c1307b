/* What goes wrong between the servers, at random, and the same again with the same seed. */
import { CLIENT, CONTROLLER, NODES, PROXIES, SERVERS } from './cluster.mjs';
import { between } from './network.mjs';

/** mulberry32 */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pick = (random, list) => list[Math.floor(random() * list.length)];
const some = (random, list) => list.filter(() => random() < 0.5);
const without = (list, ...left) => list.filter((host) => !left.includes(host));

/** Each gives what it is called, and the ways that are cut or the node that stands still. */
const FAULTS = [
  (random) => {
    const node = pick(random, NODES);
    return { what: `${node} from all servers, but not from its clients`, cuts: between([node], SERVERS) };
  },
  (random) => {
    const node = pick(random, NODES);
    return { what: `${node} from everybody`, cuts: between([node], [...SERVERS, CLIENT]) };
  },
  (random) => {
    const side = some(random, SERVERS);
    return { what: `{${side.join(' ')}} from the other servers`, cuts: between(side, without(SERVERS, ...side)) };
  },
  (random) => {
    const node = pick(random, NODES);
    const deaf = some(random, without(SERVERS, node));
    return { what: `${node} is not heard by {${deaf.join(' ')}}`, cuts: deaf.map((other) => `${node}>${other}`) };
  },
  (random) => {
    const node = pick(random, NODES);
    const silent = some(random, without(SERVERS, node));
    return { what: `${node} does not hear {${silent.join(' ')}}`, cuts: silent.map((other) => `${other}>${node}`) };
  },
  (random) => {
    const [a, ...rest] = [...NODES].sort(() => random() - 0.5);
    return { what: `${a} from {${rest.slice(0, 2).join(' ')}}`, cuts: between([a], rest.slice(0, 2)) };
  },
  (random) => {
    const middle = pick(random, NODES);
    const left = some(random, without(NODES, middle));
    return { what: `{${left.join(' ')}} from the other nodes, but for ${middle}`, cuts: between(left, without(NODES, middle, ...left)) };
  },
  (random) => {
    const lost = some(random, NODES);
    return { what: `the controller from {${lost.join(' ')}}`, cuts: between([CONTROLLER], lost) };
  },
  (random) => {
    const [proxy, lost] = [pick(random, PROXIES), some(random, NODES)];
    return { what: `${proxy} from {${lost.join(' ')}}`, cuts: between([proxy], lost) };
  },
  (random) => {
    const node = pick(random, NODES);
    return { what: `${node} stands still`, cuts: [], stopped: node };
  },
];

export function pickFault(random) {
  for (;;) {
    const fault = pick(random, FAULTS)(random);
    if (fault.cuts.length > 0 || fault.stopped) return { ...fault, forMs: 1_000 + random() * 5_000, thenMs: random() * 3_000 };
  }
}
