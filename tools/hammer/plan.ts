import { KEY_BYTES_MAX } from '../../model/key.js';
import { AppError, messageOf } from '../../runtime/errors.js';

export const ACTIONS = ['create', 'read', 'update', 'delete'] as const;
export type Action = (typeof ACTIONS)[number];

/** One worker: requests per second of each kind, on keys of its own that begin with `prefix`. */
export interface Worker {
  readonly prefix: string;
  readonly qps: Readonly<Record<Action, number>>;
}

export interface Plan {
  readonly workers: readonly Worker[];
}

/** Spread over the alphabet, so that every part of a split keyspace is under load. */
export const DEFAULT_PLAN: Plan = {
  workers: ['a', 'd', 'g', 'j', 'm', 'p', 's', 'v', 'y'].map((prefix) => ({
    prefix,
    qps: { create: 2, read: 20, update: 10, delete: 1 },
  })),
};

const WORKERS_MAX = 1000;
const QPS_MAX = 1_000_000;
/** Room in a key for what is put behind the prefix. */
const PREFIX_BYTES_MAX = KEY_BYTES_MAX - 64;

/** Reads a configuration file's text; every problem in it is named at once. */
export function parsePlan(text: string, file: string): Plan {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw new AppError('INVALID_ARGUMENT', `${file} is not JSON: ${messageOf(thrown)}`, { cause: thrown });
  }
  const problems: string[] = [];
  const plan = planOf(json, problems);
  if (problems.length > 0) {
    throw new AppError('INVALID_ARGUMENT', `${file}: ${problems.join('; ')}. ${EXAMPLE}`);
  }
  return plan;
}

const EXAMPLE = 'It looks like {"workers":[{"prefix":"a","qps":{"create":1,"read":5,"update":1,"delete":0}}]}';

function planOf(json: unknown, problems: string[]): Plan {
  if (!isObject(json)) {
    problems.push('has to be an object');
    return { workers: [] };
  }
  complainOfOthers(json, ['workers'], '', problems);
  const list = json['workers'];
  if (!Array.isArray(list) || list.length === 0) {
    problems.push('workers has to be a list with at least one worker');
    return { workers: [] };
  }
  if (list.length > WORKERS_MAX) problems.push(`workers has ${list.length} entries; at most ${WORKERS_MAX} are allowed`);
  const workers = list.slice(0, WORKERS_MAX).map((worker: unknown, i) => workerOf(worker, `workers[${i}]`, problems));
  if (problems.length === 0 && workers.every((worker) => ACTIONS.every((action) => worker.qps[action] === 0))) {
    problems.push('every qps is 0, so there is nothing to do');
  }
  return { workers };
}

function workerOf(json: unknown, at: string, problems: string[]): Worker {
  const qps = { create: 0, read: 0, update: 0, delete: 0 };
  if (!isObject(json)) {
    problems.push(`${at} has to be an object`);
    return { prefix: '', qps };
  }
  complainOfOthers(json, ['prefix', 'qps'], at, problems);
  const prefix = prefixOf(json['prefix'], at, problems);
  const rates = json['qps'];
  if (!isObject(rates)) {
    problems.push(`${at}.qps has to be an object with ${ACTIONS.join(', ')}`);
    return { prefix, qps };
  }
  complainOfOthers(rates, ACTIONS, `${at}.qps`, problems);
  for (const action of ACTIONS) qps[action] = rateOf(rates[action], `${at}.qps.${action}`, problems);
  return { prefix, qps };
}

function prefixOf(json: unknown, at: string, problems: string[]): string {
  if (typeof json !== 'string') {
    problems.push(`${at}.prefix has to be a string`);
    return '';
  }
  const bytes = Buffer.byteLength(json, 'utf8');
  if (bytes > PREFIX_BYTES_MAX) problems.push(`${at}.prefix has ${bytes} bytes; at most ${PREFIX_BYTES_MAX} are allowed`);
  return json;
}

function rateOf(json: unknown, at: string, problems: string[]): number {
  if (json === undefined) return 0;
  if (typeof json === 'number' && json >= 0 && json <= QPS_MAX) return json;
  problems.push(`${at} is ${JSON.stringify(json)}; it has to be a number from 0 to ${QPS_MAX}`);
  return 0;
}

function complainOfOthers(json: object, known: readonly string[], at: string, problems: string[]): void {
  for (const name of Object.keys(json)) {
    if (known.includes(name)) continue;
    problems.push(`${at === '' ? name : `${at}.${name}`} is unknown; known here: ${known.join(', ')}`);
  }
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}
