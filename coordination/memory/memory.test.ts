import { afterEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../../test/cluster/manual-clock.js';
import { discoveryContract } from '../contract/discovery.js';
import { electionContract } from '../contract/election.js';
import type { DiscoveryProcess, Faults } from '../contract/harness.js';
import { persisterContract } from '../contract/persister.js';
import type { Instance, Leadership } from '../interfaces.js';
import { MemoryCoordination } from './memory.js';

function faultsOf(backend: MemoryCoordination): Faults {
  return {
    stop: async () => backend.setAvailable(false),
    start: async () => backend.setAvailable(true),
  };
}

discoveryContract('memory', () => {
  const backend = new MemoryCoordination();
  let ports = 5200;
  const start = (instance: Instance): Promise<DiscoveryProcess> => {
    const { discovery, crash } = backend.connect();
    return Promise.resolve({ discovery, instance, kill: async () => crash() });
  };
  return Promise.resolve({
    process: (ident, incarnation = 'i') =>
      start({ service: 'node', ident, address: `localhost:${ports++}`, meta: { incarnation } }),
    restart: ({ instance }) => start(instance),
    faults: faultsOf(backend),
    deathMs: 50,
    recoveryMs: 50,
    close: () => Promise.resolve(),
  });
});

persisterContract('memory', () => {
  const backend = new MemoryCoordination();
  return Promise.resolve({
    open: () => Promise.resolve(backend.connect().persister),
    shared: true,
    faults: faultsOf(backend),
    close: () => Promise.resolve(),
  });
});

electionContract('memory', () => {
  const backend = new MemoryCoordination();
  return Promise.resolve({
    candidate: () => {
      const { election, crash } = backend.connect();
      return Promise.resolve({ election, kill: async () => crash() });
    },
    shared: true,
    faults: faultsOf(backend),
    close: () => Promise.resolve(),
  });
});

describe('memory', () => {
  const cleanups: (() => void)[] = [];
  afterEach(() => {
    for (const cleanup of cleanups.splice(0)) cleanup();
  });

  test('the lock of a crashed leader outlives it by its lease, on the clock that was given', async () => {
    const clock = new ManualClock();
    const backend = new MemoryCoordination({ clock, leaseMs: 2000 });
    const a = backend.connect();
    const b = backend.connect();
    const told: Leadership[] = [];
    a.election.campaign({ ident: 'a', address: 'localhost:1' });
    const subscription = b.election.campaign({ ident: 'b', address: 'localhost:2' }).subscribe((leadership) => told.push(leadership));
    cleanups.push(() => subscription.unsubscribe());
    a.crash();
    await clock.advance(1999);
    expect(told.at(-1)).toEqual({ leading: false, term: 1, leaderAddress: 'localhost:1' });
    await clock.advance(1);
    expect(told.at(-1)).toEqual({ leading: true, term: 2, leaderAddress: 'localhost:2' });
  });

  test('a write that fails half-way leaves the first groups written', async () => {
    const backend = new MemoryCoordination();
    const { persister } = backend.connect();
    await persister.load();
    backend.failWriteAfter(2);
    const groups = ['1', '2', '3'].map((key) => [{ key, value: 'x' }]);
    await expect(persister.write(groups)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect([...(await persister.load()).keys()]).toEqual(['1', '2']);
    await persister.write([[{ key: '3', value: 'x' }]]);
    expect([...(await persister.load()).keys()]).toEqual(['1', '2', '3']);
  });
});
