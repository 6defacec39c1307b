/*
 * The client host's process. Its parent asks it, over a channel that no partition cuts, to
 * put and get single keys, or to run the load and give its history: each operation with its
 * begin and end by this process's one clock.
 */
import { Buffer } from 'node:buffer';
import { execFile } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeName, connect } from '../grpc.mjs';

const THINK_MS_MAX = 60;
const PROXY_DEADLINE_MS = 5_000;
const NODE_DEADLINE_MS = 1_000;
/** Of a node that the caller asks straight, so often a key that it answered for before. */
const FAVOUR = 0.8;
const READS = 0.6;
/** Said by who has not done it and never will. */
const REFUSALS = new Set(['ABORTED', 'FAILED_PRECONDITION']);

const clients = new Map();
function client(address) {
  const open = clients.get(address) ?? connect(address, 'kv', 'KV');
  clients.set(address, open);
  return open;
}

const get = async (address, key, deadlineMs) => {
  const found = await client(address).call('Get', { key: Buffer.from(key), stale: false }, deadlineMs).catch((error) => {
    if (codeName(error.code) === 'NOT_FOUND') return undefined;
    throw error;
  });
  return found === undefined ? undefined : Buffer.from(found.value).toString();
};
const put = (address, key, value, deadlineMs) =>
  client(address).call('Put', { key: Buffer.from(key), value: Buffer.from(value), level: 0, writeId: Buffer.alloc(0), retryAgeMs: 0n }, deadlineMs);

/** The load under way: its operations so far, and how many requests ended in which error. */
let load;

async function one(address, key, { isRead, isDirect, value }) {
  const deadlineMs = isDirect ? NODE_DEADLINE_MS : PROXY_DEADLINE_MS;
  const invokedAt = performance.now();
  const note = (op) => load.ops.push({ key, invokedAt, respondedAt: performance.now(), at: address, ...op });
  load.requests++;
  try {
    if (isRead) note({ kind: 'read', value: await get(address, key, deadlineMs) });
    else {
      await put(address, key, value, deadlineMs);
      note({ kind: 'write', value });
    }
    return true;
  } catch (error) {
    const code = codeName(error.code);
    load.errors[code] = (load.errors[code] ?? 0) + 1;
    // Straight from a node a refusal is its word: should the value ever be read, then that was wrong.
    const isRefused = isDirect && REFUSALS.has(code);
    if (!isRead && !isRefused) note({ kind: 'write', value, respondedAt: null, code });
    return false;
  }
}

async function caller(name, addresses, isDirect) {
  let known = [];
  for (let count = 0; load.isRunning; count++) {
    const address = addresses[count % addresses.length];
    const key = known.length > 0 && Math.random() < FAVOUR ? known[Math.floor(Math.random() * known.length)] : load.keys[Math.floor(Math.random() * load.keys.length)];
    const isDone = await one(address, key, { isRead: Math.random() < READS, isDirect, value: `${name}.${count}` });
    if (isDirect && isDone && !known.includes(key)) known = [...known, key].slice(-load.keys.length / 2);
    if (isDirect && !isDone && Math.random() < 0.1) known = known.filter((other) => other !== key);
    await sleep(Math.random() * THINK_MS_MAX);
  }
}

const ACTIONS = {
  get: ({ address, key, deadlineMs }) => get(address, key, deadlineMs),
  put: ({ address, key, value, deadlineMs }) => put(address, key, value, deadlineMs).then(() => null),
  /** Sends many reads of a key, and says what each gave: `value` or `error`. */
  reads: ({ address, key, count, deadlineMs }) =>
    Promise.all(Array.from({ length: count }, () => get(address, key, deadlineMs).then((value) => ({ value }), (error) => ({ error: error.message })))),
  ready: (address) => globalThis.fetch(`http://${address}/ready`).then(({ ok }) => ok, () => false),
  run: ({ command: [file, ...args] }) =>
    new Promise((resolve, reject) => {
      execFile(file, args, (error, stdout, stderr) => (error ? reject(new Error(`${args.join(' ')}: ${stderr}${stdout}`)) : resolve(stdout)));
    }),
  async ranges(address) {
    const debug = connect(address, 'ranger', 'Debug');
    try {
      const { ranges } = await debug.call('RangesList', {}, 2_000);
      return ranges
        .filter(({ state }) => state === 1)
        .map(({ meta, placements }) => {
          const primary = placements.find((p) => p.rangeInfo?.serving);
          const followers = primary?.rangeInfo.replica?.followers ?? [];
          return {
            ident: Number(meta.ident),
            start: Buffer.from(meta.start).toString(),
            end: Buffer.from(meta.end).toString(),
            primary: primary?.placement.node,
            inSync: 1 + followers.filter((f) => f.inSync && Number(f.silentMs) < 2_000).length,
          };
        });
    } finally {
      debug.close();
    }
  },
  begin({ keys, proxies, nodes }) {
    load = { keys, isRunning: true, requests: 0, errors: {}, ops: [] };
    load.callers = [
      ...Array.from({ length: 8 }, (_, i) => caller(`p${i}`, proxies.slice(i % proxies.length).concat(proxies.slice(0, i % proxies.length)), false)),
      ...nodes.flatMap((node, i) => [caller(`d${i}`, [node], true), caller(`e${i}`, [node], true)]),
    ];
    return null;
  },
  /** Stops, and reads every key once more: each has to be readable, and what is read is part of its history. */
  async end({ proxies }) {
    load.isRunning = false;
    await Promise.all(load.callers);
    const last = { isDirect: false, isRead: true };
    const unread = [];
    for (const key of load.keys) if (!(await one(proxies[0], key, last))) unread.push(key);
    const { requests, errors, ops } = load;
    return { requests, errors, ops, unread };
  },
  /** Writes each key until that is acknowledged; milliseconds from `since` until it was. */
  async firstWrites({ keys, proxies, since, giveUpMs }) {
    return Promise.all(
      keys.map(async (key, i) => {
        for (let attempt = 0; performance.now() - since < giveUpMs; attempt++) {
          const done = await put(proxies[i % proxies.length], key, `first.${attempt}`, 30_000).then(() => true, () => false);
          if (done) return performance.now() - since;
        }
        return null;
      }),
    );
  },
  now: () => performance.now(),
};

process.on('message', async ({ id, action, argument }) => {
  try {
    process.send({ id, result: await ACTIONS[action](argument) });
  } catch (error) {
    process.send({ id, error: error.message });
  }
});
process.on('disconnect', () => process.exit(0));
