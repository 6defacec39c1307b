/*
 * Five nodes, two proxies, a controller and a client, each on a host of its own made of a
 * network namespace, with three copies of each range.
 *
 *   netns.mjs possible                    exit code 0, or 1 and the reason why not
 *   netns.mjs weather <seconds> <seed>    partitions at random under load; the clients' histories have to be linearizable
 *   netns.mjs frozen                      a primary stands still for longer than a lease
 *   netns.mjs cut-off                     a primary is cut off from everybody but its client
 *   netns.mjs killed <runs> [node flags]  how long until writes to nine ranges are accepted again when their primary is killed
 *   netns.mjs clean                       removes what a run that was killed has left
 *
 * NETNS_PREFIX begins the names of the namespaces, NETNS_DATA is where data and logs go.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { NODES, SERVERS, startCluster, until } from './netns/cluster.mjs';
import { historyOf, longestGaps, violations } from './netns/check.mjs';
import { pickFault, seeded } from './netns/faults.mjs';
import { between, removeNetwork, whyNot } from './netns/network.mjs';

const PREFIX = process.env.NETNS_PREFIX ?? `kr${process.pid}`;
const LEASE_MS = 1_500;
const WRITE_MS = 30_000;

const [action, ...args] = process.argv.slice(2);
const data = process.env.NETNS_DATA ?? mkdtempSync(join(tmpdir(), 'keyranger-netns-'));

function check(isSo, message) {
  if (!isSo) throw new Error(message);
}

async function weather(cluster, [seconds, seed]) {
  const random = seeded(Number(seed));
  const keys = Array.from({ length: 50 }, (_, i) => `k${String(i).padStart(2, '0')}`);
  await cluster.split(['k10', 'k20', 'k30', 'k40']);
  await cluster.ask('begin', { keys, proxies: cluster.proxies, nodes: NODES.map(cluster.addressOf) });
  const began = performance.now();
  const faults = [];
  while (performance.now() - began < Number(seconds) * 1000) {
    const fault = pickFault(random);
    faults.push(`${((performance.now() - began) / 1000).toFixed(1)} s: ${fault.what}, for ${(fault.forMs / 1000).toFixed(1)} s`);
    await cluster.network.apply(new Set(fault.cuts));
    if (fault.stopped) cluster.signal(fault.stopped, 'SIGSTOP');
    await sleep(fault.forMs);
    if (fault.stopped) cluster.signal(fault.stopped, 'SIGCONT');
    await cluster.network.heal();
    await sleep(fault.thenMs);
  }
  const healed = performance.now();
  await cluster.whole(5);
  const wholeMs = performance.now() - healed;
  const { requests, errors, ops, unread } = await cluster.ask('end', { proxies: cluster.proxies });
  const wrong = violations(keys, ops);
  const gaps = longestGaps(ops, (key) => key[1]);
  const answered = ops.filter(({ respondedAt }) => respondedAt !== null).length;
  console.log(
    `seed ${seed}: ${requests} requests, ${answered} answered, ${faults.length} partitions; longest gap ${Math.round(gaps.all)} ms, of one range ${Math.round(gaps.range)} ms; ` +
      `three copies everywhere ${Math.round(wholeMs)} ms after the last; ${JSON.stringify(errors)}`,
  );
  writeFileSync(`${data}/faults`, `${faults.join('\n')}\n`);
  check(cluster.dead().length === 0, `ended by themselves: ${cluster.dead().join(' ')}`);
  for (const key of wrong) writeFileSync(`${data}/history-${key}`, historyOf(key, ops).map((op) => JSON.stringify(op)).join('\n'));
  check(wrong.length === 0, `no order of the operations explains what was read of ${wrong.join(' ')}; see ${data}\n${faults.join('\n')}`);
  check(unread.length === 0, `could not be read in the end: ${unread.join(' ')}`);
  check(answered > requests / 10, 'hardly a request was answered');
}

/**
 * A key's primary is parted from the others, a new value is written, and then the old primary is asked, before and after it is back.
 * Each of these reads begins after that write was acknowledged.
 */
async function parted(cluster, { part, rejoin }) {
  const [proxy] = cluster.proxies;
  await cluster.ask('put', { address: proxy, key: 'k', value: 'old', deadlineMs: WRITE_MS });
  const [{ primary }] = await cluster.ranges();
  const straight = cluster.addressOf(primary);
  check((await cluster.ask('get', { address: straight, key: 'k', deadlineMs: WRITE_MS })) === 'old', 'the primary does not answer');
  await part(primary);
  const began = performance.now();
  await cluster.ask('put', { address: proxy, key: 'k', value: 'new', deadlineMs: WRITE_MS });
  const writtenMs = performance.now() - began;
  const counts = { new: 0, refused: 0 };
  const readAll = async (deadlineMs) => {
    for (const { value, error } of await cluster.ask('reads', { address: straight, key: 'k', count: 50, deadlineMs })) {
      check(error !== undefined || value === 'new', `the old primary ${primary} answered ${JSON.stringify(value)} after "new" was acknowledged`);
      counts[error === undefined ? 'new' : 'refused']++;
    }
  };
  // These wait in the node's socket when it stands still.
  const waiting = readAll(WRITE_MS);
  await sleep(2 * LEASE_MS - Math.min(2 * LEASE_MS, writtenMs));
  for (let i = 0; i < 10; i++) await Promise.race([readAll(200), waiting.then(() => sleep(50))]);
  await rejoin(primary);
  for (let i = 0; i < 40; i++) await readAll(500);
  await waiting;
  await cluster.whole(1);
  console.log(`${primary}: another took the write after ${Math.round(writtenMs)} ms; then asked ${counts.new + counts.refused} times, answered the new value ${counts.new} times, the old one never`);
}

async function killed(cluster, [runs]) {
  const keys = Array.from({ length: 9 }, (_, i) => `k${i + 1}x`);
  await cluster.split(['k2', 'k3', 'k4', 'k5', 'k6', 'k7', 'k8', 'k9']);
  for (let run = 1; run <= Number(runs); run++) {
    const victim = NODES[run % NODES.length];
    await gather(cluster, victim);
    const since = await cluster.ask('now');
    await cluster.kill(victim);
    const times = await cluster.ask('firstWrites', { keys, proxies: cluster.proxies, since, giveUpMs: WRITE_MS });
    check(times.every((ms) => ms !== null), `some range took no write within ${WRITE_MS / 1000} s`);
    console.log(`run ${run}: first range after ${Math.round(Math.min(...times))} ms, all nine after ${Math.round(Math.max(...times))} ms`);
    cluster.startServer(victim);
    await cluster.ready(victim);
    await cluster.whole(9);
  }
}

/** Makes a node the primary of every range. */
async function gather(cluster, node) {
  for (const { ident, primary } of await cluster.whole(9)) {
    if (primary === node) continue;
    // One without a copy there gets one; the other copies stay.
    await cluster.rangerctl('transfer', String(ident), node).catch(() => cluster.rangerctl('move', String(ident), node));
  }
  await until(`${node} is primary of all`, async () => (await cluster.ranges()).every(({ primary }) => primary === node));
  await cluster.whole(9);
}

const SCENARIOS = {
  weather,
  frozen: (cluster) => parted(cluster, { part: (node) => cluster.signal(node, 'SIGSTOP'), rejoin: (node) => cluster.signal(node, 'SIGCONT') }),
  'cut-off': (cluster) => parted(cluster, { part: (node) => cluster.network.apply(new Set(between([node], SERVERS))), rejoin: () => cluster.network.heal() }),
  killed,
};

async function play(scenario) {
  // Whatever ends this process, nothing of it stays.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      removeNetwork(PREFIX);
      process.exit(1);
    });
  }
  let cluster;
  try {
    cluster = await startCluster({ prefix: PREFIX, data, nodeFlags: action === 'killed' ? args.slice(1) : [] });
    await scenario(cluster, args);
  } catch (error) {
    console.error(`${error.message}\nlogs and histories: ${data}`);
    process.exitCode = 1;
  } finally {
    cluster?.stop();
    removeNetwork(PREFIX);
  }
}

if (action === 'possible') {
  const reason = whyNot(PREFIX);
  if (reason) console.log(reason);
  process.exitCode = reason ? 1 : 0;
} else if (action === 'clean') removeNetwork(PREFIX);
else if (SCENARIOS[action]) await play(SCENARIOS[action]);
else throw new Error(`netns.mjs: ${action} is none of possible, clean, ${Object.keys(SCENARIOS).join(', ')}`);
