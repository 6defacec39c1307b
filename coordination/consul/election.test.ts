import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../runtime/clock.js';
import { silentLogger } from '../../runtime/log.js';
import { systemRandom } from '../../runtime/random.js';
import { ConsulAgent } from '../../test/cluster/consul-agent.js';
import { electionContract } from '../contract/election.js';
import type { Leadership } from '../interfaces.js';
import { ConsulClient } from './client.js';
import { ConsulElection } from './election.js';

const deps = { clock: systemClock, random: systemRandom, logger: silentLogger };
const agents: Record<'memory' | 'disk', ConsulAgent | undefined> = { memory: undefined, disk: undefined };

function agentThat(keeps: 'memory' | 'disk'): ConsulAgent {
  const agent = agents[keeps];
  if (!agent) throw new Error('the agent was not started');
  return agent;
}

beforeAll(async () => {
  agents.memory = await ConsulAgent.start({ keeps: 'memory' });
  agents.disk = await ConsulAgent.start({ keeps: 'disk' });
}, 120_000);
afterAll(async () => {
  await agents.memory?.close();
  await agents.disk?.close();
});

let keys = 0;

for (const keeps of ['memory', 'disk'] as const) {
  electionContract(`consul (${keeps})`, () => {
    const agent = agentThat(keeps);
    const key = `test/leader${keys++}`;
    const clients: ConsulClient[] = [];
    return Promise.resolve({
      candidate: () => {
        const client = new ConsulClient(agent);
        clients.push(client);
        const election = new ConsulElection({ ...deps, client, key });
        return Promise.resolve({ election, kill: async () => election.abandon() });
      },
      shared: true,
      faults: { stop: () => agent.kill(), start: () => agent.start() },
      close: async () => {
        for (const client of clients) client.close();
        await agent.start();
      },
    });
  });
}

describe('consul election', () => {
  const elections: ConsulElection[] = [];
  afterEach(async () => {
    agentThat('disk').thaw();
    for (const election of elections.splice(0)) await election.resign();
  });

  function stand(key: string, ident: string): { election: ConsulElection; told: (Leadership & { at: number })[] } {
    const election = new ConsulElection({ ...deps, client: new ConsulClient(agentThat('disk')), key });
    elections.push(election);
    const told: (Leadership & { at: number })[] = [];
    election.campaign({ ident, address: `localhost:${ident}` }).subscribe((leadership) => told.push({ ...leadership, at: performance.now() }));
    return { election, told };
  }

  test('a leader whose agent stands still gives up before the lock can pass on, and has a fence only while leading', async () => {
    const a = stand('test/frozen', '5000');
    await expect.poll(() => a.told.at(-1)?.leading).toBe(true);
    expect(a.election.fence()).toMatchObject({ key: 'test/frozen' });
    agentThat('disk').freeze();
    await expect.poll(() => a.told.at(-1)?.leading, { interval: 5 }).toBe(false);
    expect(a.election.fence()).toBeUndefined();
    agentThat('disk').thaw();
    await expect.poll(() => a.told.at(-1)?.leading).toBe(true);
    const terms = a.told.filter(({ leading }) => leading).map(({ term }) => term);
    expect(terms[1]).toBeGreaterThan(terms[0] ?? Infinity);
  });

  test('a leader that is killed takes nothing with it that runs on its machine', async () => {
    const client = new ConsulClient(agentThat('disk'));
    const check = { checkid: 'service:n1', name: 'n1', grpc: 'localhost:1', interval: '1h', timeout: '1s', deregistercriticalserviceafter: '1m', status: 'passing' as const };
    await client.registerService({ id: 'n1', name: 'node', address: 'localhost', port: 1, meta: {} }, check);
    const killed = stand('test/killed', '5000');
    await expect.poll(() => killed.told.at(-1)?.leading).toBe(true);
    killed.election.abandon();
    const next = stand('test/killed', '5001');
    await expect.poll(() => next.told.at(-1)?.leading).toBe(true);
    const { value } = await client.serviceEntries('node', { passing: true, index: 0n });
    expect(value.map(({ id }) => id)).toEqual(['n1']);
    await client.deregisterService('n1');
    client.close();
  });

  test('through many changes of leader there is never more than one at a time', async () => {
    const candidates = ['5000', '5001', '5002'].map((ident) => stand('test/many', ident));
    for (let round = 0; round < 3; round++) {
      const leaders = (): typeof candidates => candidates.filter(({ told }) => told.at(-1)?.leading === true);
      await expect.poll(() => leaders().length, { interval: 5 }).toBe(1);
      const [leader] = leaders();
      await leader?.election.resign();
      if (leader) candidates.splice(candidates.indexOf(leader), 1, stand('test/many', `51${round}0`));
    }
    const spans = candidates.flatMap(({ told }) =>
      told.flatMap((leadership, i) => (leadership.leading ? [{ from: leadership.at, to: told[i + 1]?.at ?? Infinity, term: leadership.term }] : [])),
    );
    spans.sort((x, y) => x.from - y.from);
    for (const [i, span] of spans.entries()) {
      const before = spans[i - 1];
      if (!before) continue;
      expect(span.from).toBeGreaterThanOrEqual(before.to);
      expect(span.term).toBeGreaterThan(before.term);
    }
  });
});
