import { describe, expect, it } from 'vitest';
import { isData, parseFormation, parseProcfile, plan } from './plan.js';

const ENTRIES = ['controller', 'proxy', 'node'].map((name) => ({ name, command: `bin/${name}` }));

describe('parseProcfile', () => {
  it('reads names and commands', () => {
    expect(parseProcfile('# all of it\n\ncontroller: bin/controller --listen localhost:$PORT\nweb-1:  a: b \r\n')).toEqual({
      ok: true,
      value: [
        { name: 'controller', command: 'bin/controller --listen localhost:$PORT' },
        { name: 'web-1', command: 'a: b' },
      ],
    });
  });

  it('names every line it cannot use', () => {
    expect(parseProcfile('a: x\nnonsense\na: y\nb:\n')).toEqual({
      ok: false,
      problems: [
        'Procfile, line 2: expected "name: command", not "nonsense"',
        'Procfile, line 3: a is there already',
        'Procfile, line 4: expected "name: command", not "b:"',
      ],
    });
  });
});

describe('parseFormation', () => {
  it('reads counts; the later wins, and all is the rest', () => {
    expect(parseFormation(['node=3', 'node=5', 'all=1'], ENTRIES)).toEqual({
      ok: true,
      value: new Map([['node', 5], ['controller', 1], ['proxy', 1]]),
    });
  });

  it('names every word it cannot use', () => {
    expect(parseFormation(['nod=3', 'node', 'zebra=1', 'node=101', 'node=-1'], ENTRIES)).toEqual({
      ok: false,
      problems: [
        'formation: the Procfile has no nod, did you mean node?',
        'formation: expected name=count, not "node"',
        'formation: the Procfile has no zebra, only controller, proxy, node',
        'formation: node=101 is too many, at most 100 of a kind',
        'formation: expected name=count, not "node=-1"',
      ],
    });
  });
});

describe('plan', () => {
  const planOf = (formation: Record<string, number>, basePort = 5000): ReturnType<typeof plan> =>
    plan({ entries: ENTRIES, formation: new Map(Object.entries(formation)), basePort, dataDir: '/d' });

  it('gives ports as foreman does, and each process its data', () => {
    const result = planOf({ controller: 1, proxy: 1, node: 3 });
    expect(result.ok && result.value.map(({ name, port, dataDir }) => `${name} ${port} ${dataDir}`)).toEqual([
      'controller.1 5000 /d/controller',
      'proxy.1 5100 /d/proxy-5100',
      'node.1 5200 /d/node-5200',
      'node.2 5201 /d/node-5201',
      'node.3 5202 /d/node-5202',
    ]);
  });

  it('keeps the ports of a kind when another does not run, and shifts them all with the base', () => {
    const result = planOf({ node: 1, controller: 2 }, 7000);
    expect(result.ok && result.value.map(({ name, port, dataDir }) => `${name} ${port} ${dataDir}`)).toEqual([
      'controller.1 7000 /d/controller',
      'controller.2 7001 /d/controller-7001',
      'node.1 7200 /d/node-7200',
    ]);
  });

  it('refuses ports that do not exist, and an empty formation', () => {
    expect(planOf({ node: 1 }, 65500)).toEqual({ ok: false, problems: ['node.1 would get port 65700: give a smaller --base-port'] });
    expect(planOf({ node: 0 })).toEqual({ ok: false, problems: ['nothing to run: the formation is empty'] });
  });
});

describe('isData', () => {
  it('knows what --fresh may remove from what it may not', () => {
    expect(['controller', 'controller-5001', 'node-5200', 'proxy-1'].every((name) => isData(name, ENTRIES))).toBe(true);
    expect(['run', 'node-', 'node-x', 'nodes', 'notes.txt', '.git', 'node-5200.bak'].some((name) => isData(name, ENTRIES))).toBe(false);
  });
});
