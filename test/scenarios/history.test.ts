import { expect, it } from 'vitest';
import { planJoin, planSplit } from '../../controller/orchestrator/request.js';
import { reconcile } from '../../controller/orchestrator/reconcile.js';
import { keyFromText } from '../../model/key.js';
import { Cluster } from './cluster.js';

const OPERATIONS = 10_000;

/*
 * Splits and joins in a row, many more than there are ranges. What has to stay the
 * same is counted, not timed: a machine that is busy must not fail this.
 */
it(`${OPERATIONS} splits and joins in a row leave a keyspace no larger than its live ranges`, () => {
  const cluster = new Cluster();
  cluster.addNode('5200');
  cluster.begin();
  cluster.run(30_000);
  let ranges = [...cluster.view.keyspace.leaves()];
  const looked: number[] = [];
  for (let i = 0; i < OPERATIONS; i++) {
    const [left, right] = ranges;
    if (!left) throw new Error('nothing is left');
    cluster.ask(right ? planJoin(cluster.view, { left: left.id, right: right.id, node: undefined }) : planSplit(cluster.view, { range: left.id, boundary: keyFromText('m'), left: undefined, right: undefined }));
    cluster.run(1000);
    ranges = cluster.view.keyspace.leaves();
    cluster.log.length = 0;
    if (i % 1000 === 999) looked.push(reconcile(cluster.view).looked.size);
    // The newest range may be history, and is kept so that its id is not given out again.
    expect(cluster.view.keyspace.size).toBeLessThanOrEqual(ranges.length + 1);
  }
  expect(cluster.view.keyspace.nextId).toBeGreaterThan(OPERATIONS);
  // What a whole pass looks at, and what is on disk and in memory, did not grow.
  expect(Math.max(...looked)).toBeLessThanOrEqual(3);
  expect(cluster.persisted.size).toBeLessThanOrEqual(3);
  expect(cluster.view.roster.attempts.size).toBeLessThanOrEqual(4);
  expect(cluster.node('5200').copies.size).toBe(ranges.length);
}, 120_000);
