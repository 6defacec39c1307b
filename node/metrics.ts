import type { RangeletHooks } from '../rangelet/options.js';
import { Counter, Gauge, Histogram, type Registry } from '../runtime/metrics.js';
import type { KvNode } from './node.js';

/** What the rangelet tells of each command. */
export function commandMetrics(registry: Registry): RangeletHooks {
  const answered = new Counter({
    name: 'keyranger_node_commands_total',
    help: 'Commands of the controller, by what became of them.',
    labelNames: ['command', 'outcome'],
    registers: [registry],
  });
  const settled = new Histogram({
    name: 'keyranger_node_transition_seconds',
    help: 'Time from the start of a command to the end of its work.',
    labelNames: ['command', 'ok'],
    buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600],
    registers: [registry],
  });
  return {
    answered: ({ command, outcome }) => {
      answered.inc({ command, outcome });
    },
    settled: ({ command, ok, ms }) => {
      settled.observe({ command, ok: String(ok) }, ms / 1000);
    },
  };
}

/** What the node holds, read when somebody asks. */
export function registerNodeMetrics(registry: Registry, node: KvNode): void {
  const ranges = new Gauge({
    name: 'keyranger_node_ranges',
    help: 'Ranges on this node, by state.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      ranges.reset();
      for (const { state } of node.rangelet.info().ranges) ranges.inc({ state });
    },
  });
  const keys = new Gauge({
    name: 'keyranger_node_keys',
    help: 'Keys in active ranges, an estimate.',
    registers: [registry],
    collect() {
      keys.set(node.rangelet.info().ranges.reduce((sum, { state, load }) => sum + (state === 'Active' ? load.keys : 0), 0));
    },
  });
  const pending = new Gauge({
    name: 'keyranger_node_pending_write_bytes',
    help: 'Keys and values of writes on their way to the disk.',
    registers: [registry],
    collect() {
      pending.set(node.queue.pendingBytes);
    },
  });
  const ids = new Gauge({
    name: 'keyranger_node_write_ids',
    help: 'Ids of late writes that are remembered, so that a retry is applied once.',
    registers: [registry],
    collect() {
      ids.set(node.writeIds.size);
    },
  });
  const damaged = new Gauge({
    name: 'keyranger_node_damaged_copies',
    help: 'Copies here that were found to differ from the others of their range, and wait to be made anew.',
    registers: [registry],
    collect() {
      damaged.set(node.copies.all().filter(({ record }) => record.damaged === true).length);
    },
  });
  const verified = [
    { name: 'keyranger_node_verified_keys_total', help: 'Keys that were compared with the other copies of their range, as their primary.', value: () => node.verify.verifier.totals.keys },
    { name: 'keyranger_node_verify_differences_total', help: 'Keys that were found wrong in one of the copies so compared.', value: () => node.verify.verifier.totals.differences },
  ];
  for (const { name, help, value } of verified) {
    const counter = new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        counter.reset();
        counter.inc(value());
      },
    });
  }
  registry.registerMetric(
    new Counter({
      name: 'keyranger_node_repeated_writes_total',
      help: 'Retries of writes that were known already, and answered without being applied again.',
      registers: [],
      collect() {
        this.reset();
        this.inc(node.writeIds.repeated);
      },
    }),
  );
}
