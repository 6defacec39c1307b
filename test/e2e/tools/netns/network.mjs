/*
 * Hosts as network namespaces, joined by a bridge that has a namespace of its own, so that
 * nothing of it is seen on the machine itself. Every host knows every other one's hardware
 * address for good; the way from one to another is cut by making that an address which
 * nobody has: what is sent is dropped by the bridge, without a word, one way at a time.
 */
import { execFile, execFileSync } from 'node:child_process';

const IP = process.env.IP_BIN ?? 'ip';
const PORT_DEVICE = 'eth0';

export const addressOf = (index) => `10.0.0.${index + 1}`;
const hex = (index) => (index + 1).toString(16).padStart(2, '0');
const hardware = (index) => `02:00:00:00:00:${hex(index)}`;
const nowhere = (index) => `02:00:00:00:01:${hex(index)}`;

function ip(...args) {
  return execFileSync(IP, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Many commands in one namespace, in one process. */
function batch(namespace, commands) {
  return new Promise((resolve, reject) => {
    const child = execFile(IP, ['-n', namespace, '-batch', '-'], (error) => (error ? reject(error) : resolve()));
    child.stdin.end(commands.join('\n'));
  });
}

/** Why there can be no namespaces here, if so. */
export function whyNot(prefix) {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux';
  if (process.getuid() !== 0) return 'network namespaces need root';
  try {
    ip('-V');
  } catch {
    return 'there is no `ip` here (package iproute2)';
  }
  const probe = `${prefix}-probe`;
  try {
    ip('netns', 'add', probe);
    try {
      ip('-n', probe, 'link', 'add', 'br0', 'type', 'bridge');
      ip('-n', probe, 'link', 'add', 'veth0', 'type', 'veth', 'peer', 'name', 'veth1');
    } finally {
      ip('netns', 'del', probe);
    }
  } catch (error) {
    return `this machine allows no network namespaces: ${String(error.stderr ?? error.message).trim()}`;
  }
  return undefined;
}

/** Ends whatever runs in the namespaces of this prefix, and removes them. */
export function removeNetwork(prefix) {
  const namespaces = ip('netns', 'list')
    .split('\n')
    .map((line) => line.split(' ')[0])
    .filter((name) => name.startsWith(`${prefix}-`));
  for (const namespace of namespaces) {
    for (const pid of ip('netns', 'pids', namespace).split('\n').filter(Boolean)) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    ip('netns', 'del', namespace);
  }
}

/** @param hosts their names; the place of each gives its address */
export async function makeNetwork(prefix, hosts) {
  const bridge = `${prefix}-bridge`;
  const namespaceOf = (host) => `${prefix}-${host}`;
  ip('netns', 'add', bridge);
  ip('-n', bridge, 'link', 'add', 'br0', 'type', 'bridge');
  ip('-n', bridge, 'link', 'set', 'br0', 'up');
  for (const [index, host] of hosts.entries()) {
    const namespace = namespaceOf(host);
    ip('netns', 'add', namespace);
    ip('-n', namespace, 'link', 'add', PORT_DEVICE, 'address', hardware(index), 'type', 'veth', 'peer', 'name', host, 'netns', bridge);
    await batch(bridge, [`link set ${host} master br0`, `link set ${host} up`]);
    await batch(namespace, ['link set lo up', `address add ${addressOf(index)}/24 dev ${PORT_DEVICE}`, `link set ${PORT_DEVICE} up`]);
  }

  /** The ways that are cut, as `from>to`. */
  let cuts = new Set();

  /** Cuts these ways, and heals all others. */
  async function apply(next) {
    const was = cuts;
    cuts = next;
    await Promise.all(
      hosts.map((from) => {
        const changed = hosts.filter((to) => to !== from && was.has(`${from}>${to}`) !== next.has(`${from}>${to}`));
        return changed.length === 0 ? undefined : batch(namespaceOf(from), changed.map((to) => neighbour(to, next.has(`${from}>${to}`))));
      }),
    );
  }

  function neighbour(to, isCut) {
    const index = hosts.indexOf(to);
    return `neighbour replace ${addressOf(index)} lladdr ${isCut ? nowhere(index) : hardware(index)} dev ${PORT_DEVICE} nud permanent`;
  }

  await Promise.all(hosts.map((from) => batch(namespaceOf(from), hosts.filter((to) => to !== from).map((to) => neighbour(to, false)))));

  return {
    addressOf: (host) => addressOf(hosts.indexOf(host)),
    /** A command line that runs in the host's namespace, as the same process. */
    inside: (host, ...command) => [IP, 'netns', 'exec', namespaceOf(host), ...command],
    apply,
    heal: () => apply(new Set()),
  };
}

/** Both ways between each of these and each of those. */
export function between(these, those) {
  return these.flatMap((a) => those.filter((b) => b !== a).flatMap((b) => [`${a}>${b}`, `${b}>${a}`]));
}
