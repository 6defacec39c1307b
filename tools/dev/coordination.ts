import { messageOf } from '../../runtime/errors.js';
import { httpGet } from './http.js';
import type { Planned, Result } from './plan.js';

export interface Coordination {
  /** What the controllers get, and what the others get. */
  readonly controller: string;
  readonly others: string;
  /** One line: which, and why. */
  readonly because: string;
}

/** Whether a Consul agent answers at an address; and if not, what happened instead. */
export type Probe = (address: string) => Promise<{ readonly agent: true } | { readonly agent: false; readonly reason: string }>;

/** By hand when `choice` is given; otherwise Consul where an agent answers, else embedded. */
export async function chooseCoordination(options: {
  readonly choice: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly planned: readonly Planned[];
  readonly probe: Probe;
}): Promise<Result<Coordination>> {
  const { choice, env, planned, probe } = options;
  if (choice?.startsWith('consul://')) return { ok: true, value: consul(choice, 'as --coordination says') };
  if (choice !== undefined) return embedded(choice, planned, 'as --coordination says');
  const fromEnv = env['CONSUL_HTTP_ADDR'];
  const address = consulAddress(fromEnv);
  const where = fromEnv === undefined || fromEnv === '' ? address : `CONSUL_HTTP_ADDR (${address})`;
  const found = await probe(address);
  if (found.agent) return { ok: true, value: consul(`consul://${address}`, `an agent answers at ${where}`) };
  return embedded('embedded', planned, `no Consul agent answers at ${where} (${found.reason})`);
}

/** What `--coordination` must look like; undefined when all is well. */
export function checkChoice(choice: string): string | undefined {
  return /^(embedded(:\/\/\S+)?|consul:\/\/\S+)$/.test(choice) ? undefined : 'use embedded, embedded://host:5000 or consul://host:8500';
}

/** host:port, from what Consul's own tools take in CONSUL_HTTP_ADDR. */
export function consulAddress(fromEnv: string | undefined): string {
  const rest = (fromEnv ?? '').replace(/^[a-z+]+:\/\//, '').replace(/\/.*$/, '');
  if (rest === '') return 'localhost:8500';
  return /:\d+$/.test(rest) ? rest : `${rest}:8500`;
}

function consul(url: string, why: string): Coordination {
  return { controller: url, others: url, because: `coordination is ${url}: ${why}` };
}

function embedded(choice: string, planned: readonly Planned[], why: string): Result<Coordination> {
  const controllers = planned.filter((process) => process.entry === 'controller');
  if (controllers.length > 1) {
    const how = 'start a Consul agent (bin/consul agent -dev), or give --coordination consul://host:8500';
    return { ok: false, problems: [`${controllers.length} controllers need Consul to agree on one that leads, and coordination is embedded in the one controller (${why}): ${how}`] };
  }
  const [controller] = controllers;
  const others = choice !== 'embedded' ? choice : controller && `embedded://localhost:${controller.port}`;
  if (others === undefined) {
    return { ok: false, problems: ['without a controller in the formation, say where one is: --coordination embedded://host:5000'] };
  }
  return { ok: true, value: { controller: 'embedded', others, because: `coordination is embedded in the controller: ${why}` } };
}

const PROBE_MS = 500;

export const probeConsul: Probe = async (address) => {
  try {
    const { status } = await httpGet(`http://${address}/v1/agent/self`, PROBE_MS);
    // An agent that wants a token is one too.
    if (status === 200 || status === 403) return { agent: true };
    return { agent: false, reason: `what answers there is none: status ${status}` };
  } catch (thrown) {
    return { agent: false, reason: reasonOf(thrown) };
  }
};

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Error && thrown.name === 'TimeoutError') return `no answer within ${PROBE_MS} ms`;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : undefined;
  return code === 'ECONNREFUSED' ? 'connection refused' : (code ?? messageOf(thrown));
}
