import { AppError } from '../runtime/errors.js';
import type { Instance, ServiceName } from './interfaces.js';

export const SERVICE_NAMES: readonly ServiceName[] = ['node', 'proxy', 'controller'];

export const META_ENTRIES_MAX = 20;
const META_VALUE_LENGTH_MAX = 512;
/** What every backend can hold as a name, Consul's filter expressions included. */
const IDENT = /^[A-Za-z0-9._:@[\]-]{1,128}$/;
const META_NAME = /^[A-Za-z0-9_-]{1,128}$/;

export function isServiceName(text: string): text is ServiceName {
  return (SERVICE_NAMES as readonly string[]).includes(text);
}

/** Throws INVALID_ARGUMENT, naming the field, for what some backend could not hold. */
export function validateInstance(instance: Instance): void {
  const { service, ident, address, meta } = instance;
  if (!isServiceName(service)) throw invalid('service', service, `use one of ${SERVICE_NAMES.join(', ')}`);
  if (!IDENT.test(ident)) throw invalid('ident', ident, 'use 1 to 128 letters, digits and . _ : @ - [ ]');
  if (!parseAddress(address)) throw invalid('address', address, 'use host:port with a port from 1 to 65535');
  const entries = Object.entries(meta);
  if (entries.length > META_ENTRIES_MAX) throw invalid('meta', `${entries.length} entries`, `at most ${META_ENTRIES_MAX} are allowed`);
  for (const [name, value] of entries) {
    if (!META_NAME.test(name)) throw invalid('meta', name, 'names are 1 to 128 letters, digits, _ and -');
    if (value.length > META_VALUE_LENGTH_MAX) throw invalid(`meta.${name}`, `${value.length} characters`, `at most ${META_VALUE_LENGTH_MAX} are allowed`);
  }
}

function invalid(field: string, value: string, advice: string): AppError {
  return new AppError('INVALID_ARGUMENT', `instance.${field} cannot be '${value}': ${advice}`);
}

/** Splits host:port, with brackets around an IPv6 host; undefined when malformed. */
export function parseAddress(address: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(address);
  if (!match) return undefined;
  const host = match[1] ?? match[2] ?? '';
  const port = Number(match[3]);
  return port >= 1 && port <= 65535 ? { host, port } : undefined;
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The same process, or one that has taken its place: same address, same incarnation. */
export function sameProcess(a: Instance, b: Instance): boolean {
  return a.address === b.address && a.meta['incarnation'] === b.meta['incarnation'];
}

export function alreadyExists(wanted: Instance, holder: Instance): AppError {
  return new AppError(
    'ALREADY_EXISTS',
    `${wanted.service} ident '${wanted.ident}' is taken: ${describe(holder)} is alive, so ${describe(wanted)} cannot have it. ` +
      'Give this process another ident, or stop the other one first',
  );
}

function describe(instance: Instance): string {
  const incarnation = instance.meta['incarnation'];
  return incarnation === undefined ? `the process at ${instance.address}` : `the process at ${instance.address} (incarnation ${incarnation})`;
}

export function sortInstances(instances: Iterable<Instance>): readonly Instance[] {
  return [...instances].sort((a, b) => (a.ident < b.ident ? -1 : a.ident > b.ident ? 1 : 0));
}

/** Both sorted by ident. */
export function sameInstances(a: readonly Instance[], b: readonly Instance[]): boolean {
  return a.length === b.length && a.every((instance, i) => sameInstance(instance, b[i]));
}

export function sameInstance(a: Instance, b: Instance | undefined): boolean {
  if (!b || a.service !== b.service || a.ident !== b.ident || a.address !== b.address) return false;
  const names = Object.keys(a.meta);
  return names.length === Object.keys(b.meta).length && names.every((name) => a.meta[name] === b.meta[name]);
}
