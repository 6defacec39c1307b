/* A cluster of real processes, each on a host of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makeNetwork, removeNetwork } from './network.mjs';

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
const AGENT = fileURLToPath(new URL('agent.mjs', import.meta.url));
const PATIENCE_MS = 90_000;
const LOOK_AGAIN_MS = 100;

export const NODES = ['n1', 'n2', 'n3', 'n4', 'n5'];
export const PROXIES = ['p1', 'p2'];
export const CONTROLLER = 'ctl';
export const CLIENT = 'client';
export const SERVERS = [...NODES, ...PROXIES, CONTROLLER];
const PORTS = { [CONTROLLER]: 5000, p1: 5100, p2: 5100 };
const NODE_PORT = 5200;

/** Looks until it is so; `look` gives what was looked for, or undefined. */
export async function until(what, look, patienceMs = PATIENCE_MS) {
  const end = performance.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`waited ${patienceMs / 1000} s in vain until ${what}`);
    await sleep(LOOK_AGAIN_MS);
  }
}

/** The client host's process, asked over the channel to it: nothing of that goes through the network. */
function openAgent(child) {
  const waiting = new Map();
  let last = 0;
  child.on('message', ({ id, result, error }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  });
  child.on('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error('the client process is gone'));
  });
  return (action, argument) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      child.send({ id: last, action, argument });
    });
}

/** @param flags of the nodes and of the controller, besides */
export async function startCluster({ prefix, data, nodeFlags = [], controllerFlags = [] }) {
  const network = await makeNetwork(prefix, [...SERVERS, CLIENT]);
  const children = new Map();
  mkdirSync(data, { recursive: true });

  function start(host, command, options = {}) {
    const log = createWriteStream(`${data}/${host}.log`, { flags: 'a' });
    const [file, ...args] = network.inside(host, ...command);
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe', ...(options.channel ? ['ipc'] : [])], env: { ...process.env, KEYRANGER_BUILT: ROOT } });
    child.stdout.pipe(log);
    child.stderr.pipe(log);
    children.set(host, child);
    return child;
  }

  const portOf = (host) => PORTS[host] ?? NODE_PORT;
  const addressOf = (host) => `${network.addressOf(host)}:${portOf(host)}`;

  function startServer(host) {
    const program = host === CONTROLLER ? 'controller' : PROXIES.includes(host) ? 'proxy' : 'node';
    const common = ['--listen', `0.0.0.0:${portOf(host)}`, '--advertise', addressOf(host), '--ident', host, '--log-format', 'json'];
    const own = {
      controller: ['--data-dir', `${data}/${host}`, '--replicas', '3', ...controllerFlags],
      proxy: ['--coordination', `embedded://${addressOf(CONTROLLER)}`],
      node: ['--coordination', `embedded://${addressOf(CONTROLLER)}`, '--data-dir', `${data}/${host}`, ...nodeFlags],
    };
    start(host, [`${ROOT}/bin/${program}`, ...common, ...own[program]]);
  }

  const ask = openAgent(start(CLIENT, [process.execPath, AGENT], { channel: true }));
  for (const host of [CONTROLLER, ...NODES, ...PROXIES]) startServer(host);

  const ranges = () => ask('ranges', addressOf(CONTROLLER));
  const inSync = async (count) => {
    const all = await ranges().catch(() => []);
    const whole = all.filter(({ primary, inSync: members }) => primary !== undefined && members >= 3);
    return all.length === count && whole.length === count ? all : undefined;
  };

  const cluster = {
    ask,
    network,
    addressOf,
    ranges,
    proxies: PROXIES.map(addressOf),
    /** Every range has a primary, and three copies in sync. */
    whole: (count) => until(`${count} ranges have three copies in sync`, () => inSync(count)),
    rangerctl(...args) {
      return ask('run', { command: [`${ROOT}/bin/rangerctl`, ...args, '--addr', addressOf(CONTROLLER)] });
    },
    async ready(host) {
      await until(`${host} is ready`, () => ask('ready', addressOf(host)));
    },
    async split(keys) {
      for (const key of keys) {
        const owner = (await ranges()).find(({ start, end }) => start < key && (end === '' || key < end));
        await cluster.rangerctl('split', String(owner.ident), key);
      }
      return cluster.whole(keys.length + 1);
    },
    signal: (host, name) => children.get(host).kill(name),
    async kill(host) {
      const child = children.get(host);
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
    startServer,
    /** Whoever ended by itself: that is never right. */
    dead: () => [...children].filter(([, { exitCode, signalCode }]) => exitCode !== null || signalCode !== null).map(([host]) => host),
    stop() {
      for (const child of children.values()) child.kill('SIGKILL');
      removeNetwork(prefix);
    },
  };

  await Promise.all(SERVERS.map((host) => cluster.ready(host)));
  await cluster.whole(1);
  return cluster;
}
