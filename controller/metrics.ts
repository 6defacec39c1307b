import type { Command } from '../model/states.js';
import { Counter, Gauge, Histogram, type Registry } from '../runtime/metrics.js';
import type { Controller } from './controller.js';
import type { Tracked } from './orchestrator/request.js';

/** What the controller tells of its work. */
export interface Observer {
  passed(elapsedMs: number, full: boolean): void;
  commandEnded(command: Command, code: string): void;
  operationEnded(kind: Tracked['kind'], done: boolean, elapsedMs: number): void;
}

export const silentObserver: Observer = {
  passed() {},
  commandEnded() {},
  operationEnded() {},
};

export function prometheusObserver(registry: Registry): Observer {
  const registers = [registry];
  const passes = new Histogram({
    name: 'keyranger_controller_reconcile_seconds',
    help: 'Time a pass of decisions took, without its writes.',
    labelNames: ['scope'],
    buckets: [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5],
    registers,
  });
  const commands = new Counter({
    name: 'keyranger_controller_commands_total',
    help: 'Commands to nodes that ended, by their gRPC status.',
    labelNames: ['command', 'code'],
    registers,
  });
  const operations = new Histogram({
    name: 'keyranger_controller_operation_seconds',
    help: 'Time the operations took that operators asked for.',
    labelNames: ['kind', 'result'],
    buckets: [0.01, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600],
    registers,
  });
  return {
    passed(elapsedMs, full) {
      passes.observe({ scope: full ? 'all' : 'changed' }, elapsedMs / 1000);
    },
    commandEnded(command, code) {
      commands.inc({ command, code });
    },
    operationEnded(kind, done, elapsedMs) {
      operations.observe({ kind, result: done ? 'done' : 'ended' }, elapsedMs / 1000);
    },
  };
}

/** Figures that are read when somebody asks. */
export function registerGauges(registry: Registry, controller: Controller): void {
  const gauge = (name: string, help: string, labels: readonly string[], read: (set: (labels: Record<string, string>, value: number) => void) => void): void => {
    new Gauge({
      name: `keyranger_controller_${name}`,
      help,
      labelNames: [...labels],
      registers: [registry],
      collect() {
        this.reset();
        read((values, value) => {
          this.set(values, value);
        });
      },
    });
  };
  gauge('ranges', 'Ranges in the keyspace, by state.', ['state'], (set) => {
    const counts = { Active: 0, Subsuming: 0, Obsolete: 0 };
    for (const range of controller.keyspace.values()) counts[range.state] += 1;
    for (const [state, count] of Object.entries(counts)) set({ state }, count);
  });
  gauge('placements', 'Placements in the keyspace, by state.', ['state'], (set) => {
    const counts = { Pending: 0, Inactive: 0, Active: 0, Missing: 0, Dropped: 0 };
    for (const range of controller.keyspace.values()) for (const p of range.placements) counts[p.state] += 1;
    for (const [state, count] of Object.entries(counts)) set({ state }, count);
  });
  gauge('nodes', 'Nodes, by how well they are heard.', ['link'], (set) => {
    const counts = { connecting: 0, live: 0, silent: 0, lost: 0 };
    for (const node of controller.roster.nodes.values()) counts[node.link.state] += 1;
    for (const [link, count] of Object.entries(counts)) set({ link }, count);
  });
  gauge('operations_running', 'Operations that operators wait for.', [], (set) => {
    set({}, controller.runningOperations);
  });
  gauge('commands_in_flight', 'Commands that were sent and not answered.', [], (set) => {
    set({}, controller.commandsInFlight);
  });
  gauge('leading', '1 when this controller is the one that decides.', [], (set) => {
    set({}, controller.leader.leading ? 1 : 0);
  });
}
