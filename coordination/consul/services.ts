import { formatAddress, parseAddress, sortInstances } from '../instances.js';
import type { Instance, ServiceName } from '../interfaces.js';
import type { GrpcCheck, ServiceDefinition, ServiceEntry } from './client.js';

/** How Consul looks whether a process lives. Death is seen within the sum of the two. */
export interface CheckTiming {
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

/** As wire.md has it. */
export const CHECK_TIMING: CheckTiming = { intervalMs: 3000, timeoutMs: 1000 };
const DEREGISTER_AFTER_MS = 10_000;

/**
 * A node's service id is its ident, as other programs rely on. Ids are one namespace
 * for all services of an agent, so the others say what they are.
 */
export function serviceId(service: ServiceName, ident: string): string {
  return service === 'node' ? ident : `${service}-${ident}`;
}

function identOf(service: ServiceName, id: string): string {
  const prefix = service === 'node' ? '' : `${service}-`;
  return id.startsWith(prefix) ? id.slice(prefix.length) : id;
}

export function definitionOf(instance: Instance): ServiceDefinition {
  const { service, ident, address, meta } = instance;
  const { host, port } = parseAddress(address) ?? { host: '', port: 0 };
  return { id: serviceId(service, ident), name: service, address: host, port, meta };
}

/**
 * Passing from the start, so that a new process is seen at once; Consul would call it
 * critical until its first look, up to an interval later. The price: one that cannot
 * be reached is shown for that long.
 */
export function checkOf(instance: Instance, timing: CheckTiming = CHECK_TIMING): GrpcCheck {
  return {
    checkid: `service:${serviceId(instance.service, instance.ident)}`,
    name: `gRPC health of ${instance.service} ${instance.ident}`,
    grpc: instance.address,
    interval: `${timing.intervalMs}ms`,
    timeout: `${timing.timeoutMs}ms`,
    deregistercriticalserviceafter: `${DEREGISTER_AFTER_MS}ms`,
    status: 'passing',
  };
}

export function instanceOf(service: ServiceName, definition: ServiceDefinition): Instance {
  const { id, address, port, meta } = definition;
  return { service, ident: identOf(service, id), address: formatAddress(address, port), meta };
}

/** One instance an ident, the newest: the agents of two machines may both know one that moved. */
export function instancesOf(service: ServiceName, entries: readonly ServiceEntry[]): readonly Instance[] {
  const newest = new Map<string, ServiceEntry>();
  for (const entry of entries) {
    const other = newest.get(entry.id);
    if (!other || other.createIndex < entry.createIndex) newest.set(entry.id, entry);
  }
  return sortInstances([...newest.values()].map((entry) => instanceOf(service, entry)));
}
