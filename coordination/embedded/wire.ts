import type { ServiceInstance } from '../../proto/gen/ranger/coordination.js';
import { AppError } from '../../runtime/errors.js';
import { isServiceName, SERVICE_NAMES, validateInstance } from '../instances.js';
import type { Instance, ServiceName } from '../interfaces.js';

/** How often a registered process says that it lives, when nothing else is said on the stream. */
export const HEARTBEAT_MS = 1000;
/** How long the controller believes a process that says nothing. A frozen one keeps its connection. */
export const LEASE_MS = 3000;

export function instanceToWire(instance: Instance): ServiceInstance {
  return { service: instance.service, ident: instance.ident, address: instance.address, meta: { ...instance.meta } };
}

/** Throws INVALID_ARGUMENT, naming the field. */
export function instanceFromWire(wire: ServiceInstance): Instance {
  const instance = { service: serviceFromWire(wire.service), ident: wire.ident, address: wire.address, meta: wire.meta };
  validateInstance(instance);
  return instance;
}

export function serviceFromWire(service: string): ServiceName {
  if (isServiceName(service)) return service;
  throw new AppError('INVALID_ARGUMENT', `service cannot be '${service}': use one of ${SERVICE_NAMES.join(', ')}`);
}
