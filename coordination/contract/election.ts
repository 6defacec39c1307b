import type { Subscription } from 'rxjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Leadership } from '../interfaces.js';
import { NO_OUTAGE, ONE_AT_A_TIME, type ElectionCandidate, type ElectionHarness, until } from './harness.js';

interface Standing extends ElectionCandidate {
  readonly told: Leadership[];
  readonly now: () => Leadership;
}

/** What every Election does. */
export function electionContract(name: string, makeHarness: () => Promise<ElectionHarness>): void {
  describe(`${name}: election`, () => {
    let harness: ElectionHarness;
    let candidates: ElectionCandidate[];
    let subscriptions: Subscription[];

    beforeEach(async () => {
      harness = await makeHarness();
      candidates = [];
      subscriptions = [];
    });
    afterEach(async () => {
      for (const { election } of candidates) await election.resign();
      for (const subscription of subscriptions) subscription.unsubscribe();
      await harness.close();
    });

    async function stand(ident: string): Promise<Standing> {
      const candidate = await harness.candidate();
      candidates.push(candidate);
      const told: Leadership[] = [];
      subscriptions.push(candidate.election.campaign({ ident, address: `localhost:${ident}` }).subscribe((leadership) => told.push(leadership)));
      expect(told, 'told at once').not.toHaveLength(0);
      return { ...candidate, told, now: () => told.at(-1) as Leadership };
    }

    async function leading(candidate: Standing): Promise<Leadership> {
      await expect.poll(() => candidate.now().leading, { interval: 5 }).toBe(true);
      return candidate.now();
    }

    async function resign(candidate: Standing): Promise<void> {
      await candidate.election.resign();
      candidates = candidates.filter((other) => other.election !== candidate.election);
    }

    test('the only candidate leads, with a term and its own address', async () => {
      const a = await stand('5000');
      const { term, leaderAddress } = await leading(a);
      expect(a.election.leads()).toBe(true);
      expect(term).toBeGreaterThan(0);
      expect(leaderAddress).toBe('localhost:5000');
    });

    test('who resigns is told so, and the campaign ends', async () => {
      const candidate = await harness.candidate();
      const told: Leadership[] = [];
      let completed = false;
      const campaign = candidate.election.campaign({ ident: 'a', address: 'localhost:1' });
      subscriptions.push(campaign.subscribe({ next: (leadership) => told.push(leadership), complete: () => (completed = true) }));
      await until(campaign, (leadership) => leadership.leading);
      await candidate.election.resign();
      expect(candidate.election.leads()).toBe(false);
      await candidate.election.resign();
      expect(told.at(-1)?.leading).toBe(false);
      expect(completed).toBe(true);
    });

    test('the term grows from leader to leader', async () => {
      const terms: number[] = [];
      for (const ident of ['5000', '5001', '5000']) {
        const candidate = await stand(ident);
        terms.push((await leading(candidate)).term);
        await resign(candidate);
      }
      expect(terms).toEqual([...new Set(terms)].sort((x, y) => x - y));
      expect(terms).toHaveLength(3);
    });

    test('of several one leads, and the others know where it answers', async ({ skip }) => {
      if (!harness.shared) return skip(ONE_AT_A_TIME);
      const a = await stand('5000');
      const { term } = await leading(a);
      const b = await stand('5001');
      const c = await stand('5002');
      for (const other of [b, c]) {
        await expect.poll(() => other.now()).toEqual({ leading: false, term, leaderAddress: 'localhost:5000' });
        expect(other.election.leads()).toBe(false);
      }
    });

    test('when the leader resigns another leads at once, and never two', async ({ skip }) => {
      if (!harness.shared) return skip(ONE_AT_A_TIME);
      const a = await stand('5000');
      const { term } = await leading(a);
      const b = await stand('5001');
      await expect.poll(() => b.now().leaderAddress).toBe('localhost:5000');
      const resigned = resign(a);
      const next = await leading(b);
      expect(a.now().leading).toBe(false);
      expect(next.term).toBeGreaterThan(term);
      await resigned;
    });

    test('when the leader is killed another leads', async ({ skip }) => {
      if (!harness.shared) return skip(ONE_AT_A_TIME);
      const a = await stand('5000');
      const { term } = await leading(a);
      const b = await stand('5001');
      await expect.poll(() => b.now().leaderAddress).toBe('localhost:5000');
      await a.kill();
      const next = await leading(b);
      expect(next.term).toBeGreaterThan(term);
    });

    test('an outage ends the leadership, and one of the candidates leads after it', async ({ skip }) => {
      const { faults } = harness;
      if (!faults || !harness.shared) return skip(faults ? ONE_AT_A_TIME : NO_OUTAGE);
      const a = await stand('5000');
      const { term } = await leading(a);
      const b = await stand('5001');
      await expect.poll(() => b.now().leaderAddress).toBe('localhost:5000');
      await faults.stop();
      await expect.poll(() => a.now().leading).toBe(false);
      expect(a.election.leads()).toBe(false);
      await faults.start();
      await expect.poll(() => [a, b].filter((candidate) => candidate.now().leading).length, { interval: 5 }).toBe(1);
      const leader = [a, b].find((candidate) => candidate.now().leading);
      expect(leader?.now().term).toBeGreaterThan(term);
    });

    test('a campaign that starts while the backend is away leads once it is there', async ({ skip }) => {
      const { faults } = harness;
      if (!faults) return skip(NO_OUTAGE);
      await faults.stop();
      const a = await stand('5000');
      expect(a.now()).toEqual({ leading: false, term: 0, leaderAddress: undefined });
      await faults.start();
      await leading(a);
    });
  });
}
