/* Judges the histories of the load. */
import { isLinearizable } from '../../../../dist/test/simulator/linearizable.js';

/** The keys whose history no order of their operations explains. */
export function violations(keys, ops) {
  return keys.filter((key) => !isLinearizable(historyOf(key, ops)));
}

export function historyOf(key, ops) {
  const times = new Set();
  // The checker wants no two equal times.
  const distinct = (time) => {
    let free = time;
    while (times.has(free)) free += 1e-6;
    times.add(free);
    return free;
  };
  return ops
    .filter((op) => op.key === key)
    .map((op) => ({ ...op, invokedAt: distinct(op.invokedAt), respondedAt: op.respondedAt === null ? Infinity : distinct(op.respondedAt) }));
}

/** The longest time, within the load, without any answer, and without one for each of these groups of keys. */
export function longestGaps(ops, groupOf) {
  const groups = new Map();
  const answered = ops.filter(({ respondedAt }) => respondedAt !== null).sort((a, b) => a.respondedAt - b.respondedAt);
  for (const { key, respondedAt } of answered) {
    for (const group of ['', groupOf(key)]) {
      const { last, gap } = groups.get(group) ?? { last: respondedAt, gap: 0 };
      groups.set(group, { last: respondedAt, gap: Math.max(gap, respondedAt - last) });
    }
  }
  const { '': all, ...each } = Object.fromEntries([...groups].map(([group, { gap }]) => [group, gap]));
  return { all, range: Math.max(...Object.values(each)) };
}
