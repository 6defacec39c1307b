import { AppError } from '../runtime/errors.js';
import { formatAddress, parseAddress } from './instances.js';

/** What `--coordination` names. */
export type CoordinationChoice =
  /** In the controller: it is the backend itself. In others: the controller at `address` is. */
  | { readonly kind: 'embedded'; readonly address: string }
  | { readonly kind: 'consul'; readonly host: string; readonly port: number };

export const CONTROLLER_PORT = 5000;
export const CONSUL_PORT = 8500;

const FORMS = `'embedded', 'embedded://host:${CONTROLLER_PORT}' or 'consul://host:${CONSUL_PORT}'`;

/** Reads a `--coordination` value; INVALID_ARGUMENT says what was wrong and what would do. */
export function parseCoordination(text: string): CoordinationChoice {
  if (text === 'embedded') return { kind: 'embedded', address: `localhost:${CONTROLLER_PORT}` };
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/.exec(text);
  if (!match) throw refuse(text, hint(text));
  const scheme = match[1] ?? '';
  const rest = (match[2] ?? '').replace(/\/$/, '');
  if (scheme !== 'embedded' && scheme !== 'consul') throw refuse(text, `'${scheme}' is not a backend`);
  const { host, port } = endpoint(text, rest, scheme === 'consul' ? CONSUL_PORT : CONTROLLER_PORT);
  return scheme === 'consul' ? { kind: 'consul', host, port } : { kind: 'embedded', address: formatAddress(host, port) };
}

/** The inverse of {@link parseCoordination}. */
export function formatCoordination(choice: CoordinationChoice): string {
  return choice.kind === 'embedded' ? `embedded://${choice.address}` : `consul://${formatAddress(choice.host, choice.port)}`;
}

function endpoint(text: string, rest: string, defaultPort: number): { host: string; port: number } {
  if (rest === '') throw refuse(text, 'the host is missing');
  const withPort = parseAddress(rest) ?? parseAddress(`${rest}:${defaultPort}`);
  if (!withPort) throw refuse(text, `'${rest}' is not host:port with a port from 1 to 65535`);
  return withPort;
}

function hint(text: string): string {
  if (text === '') return 'it is empty';
  if (text === 'consul') return `Consul needs an address, such as consul://localhost:${CONSUL_PORT}`;
  if (parseAddress(text)) return `an address alone does not say which backend answers there`;
  return 'it names no backend';
}

function refuse(text: string, why: string): AppError {
  return new AppError('INVALID_ARGUMENT', `coordination '${text}' is not usable: ${why}. Use ${FORMS}`);
}
