import { type Key, NO_KEY, formatKey, parseKey } from '../../model/key.js';
import { isEmpty } from '../../model/interval.js';
import type { PlacementState, RangeState } from '../../model/states.js';
import { AppError } from '../../runtime/errors.js';
import { type PlacementRecord, type RangeRecord, newPlacement, newRange } from './record.js';

/*
 * One range, one JSON document, under its id. A document says which format it is
 * in; a newer one is refused, because guessing at it could lose what it means.
 */

const FORMAT = 1;

const RANGE_STATES: readonly RangeState[] = ['Active', 'Subsuming', 'Obsolete'];
const PLACEMENT_STATES: readonly PlacementState[] = ['Pending', 'Inactive', 'Active', 'Missing', 'Dropped'];

export function documentKey(range: { readonly id: number }): string {
  return String(range.id);
}

export function printDocument(range: RangeRecord): string {
  return JSON.stringify({
    format: FORMAT,
    id: range.id,
    start: printBound(range.start),
    end: printBound(range.end),
    state: range.state,
    epoch: range.epoch,
    established: range.established,
    parents: range.parents,
    children: range.children,
    primary: range.primary,
    holder: range.holder,
    insync: range.insync,
    fork: range.fork === 0 ? undefined : range.fork,
    since: range.since === 0 ? undefined : range.since,
    followed: range.followed || undefined,
    abort: range.abort,
    rounds: range.rounds === 0 ? undefined : range.rounds,
    awaits: range.awaits,
    adopted: range.adopted === 0 ? undefined : range.adopted,
    placements: range.placements.map((p) => ({
      ...p,
      named: p.named || undefined,
      initial: p.initial || undefined,
      promote: p.promote || undefined,
      outdated: p.outdated || undefined,
      lost: p.lost || undefined,
    })),
  });
}

function printBound(key: Key): string {
  return key === NO_KEY ? '' : formatKey(key);
}

/** Throws DATA_LOSS for a damaged document, FAILED_PRECONDITION for one from a newer version. */
export function parseDocument(key: string, text: string): RangeRecord {
  const damaged = (problem: string): AppError =>
    new AppError('DATA_LOSS', `the document ${JSON.stringify(key)} of the keyspace is damaged: ${problem}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw damaged('it is not JSON');
  }
  const fields = new Fields(json, '', damaged);
  const format = fields.count('format');
  if (format > FORMAT) {
    throw new AppError(
      'FAILED_PRECONDITION',
      `the document ${JSON.stringify(key)} of the keyspace is in format ${format}, and this version reads up to ${FORMAT}: run the newer version`,
    );
  }
  const range = readRange(fields);
  if (documentKey(range) !== key) throw damaged(`it is about range ${range.id}`);
  if (isEmpty(range)) throw damaged('its start is not below its end');
  const indexes = new Set(range.placements.map((p) => p.index));
  if (indexes.size !== range.placements.length) throw damaged('two placements have one index');
  if (range.primary !== undefined && !indexes.has(range.primary)) throw damaged('its primary is not among its placements');
  if (range.insync.some((index) => !indexes.has(index))) throw damaged('a copy in sync is not among its placements');
  return range;
}

function readRange(fields: Fields): RangeRecord {
  const id = fields.count('id');
  const established = fields.flag('established');
  const primary = fields.optionalCount('primary');
  // A document from before there were replicas: whoever is primary has it all.
  const alone = established && primary !== undefined ? [primary] : [];
  return newRange(
    { id, start: fields.bound('start'), end: fields.bound('end') },
    {
      state: fields.oneOf('state', RANGE_STATES),
      epoch: fields.count('epoch'),
      established,
      parents: fields.counts('parents'),
      children: fields.counts('children'),
      primary,
      holder: fields.optionalCount('holder'),
      insync: fields.optionalCounts('insync') ?? alone,
      fork: fields.optionalCount('fork') ?? 0,
      since: fields.optionalCount('since') ?? 0,
      followed: fields.flag('followed'),
      abort: fields.optionalText('abort'),
      rounds: fields.optionalCount('rounds') ?? 0,
      awaits: fields.optionalText('awaits'),
      adopted: fields.optionalCount('adopted') ?? 0,
      placements: fields.objects('placements').map(readPlacement),
    },
  );
}

function readPlacement(fields: Fields): PlacementRecord {
  return newPlacement(fields.count('index'), fields.text('node'), {
    state: fields.oneOf('state', PLACEMENT_STATES),
    replaces: fields.optionalCount('replaces'),
    named: fields.flag('named'),
    initial: fields.flag('initial'),
    incarnation: fields.optionalText('incarnation'),
    failed: fields.optionalText('failed'),
    relieves: fields.optionalCount('relieves'),
    promote: fields.flag('promote'),
    outdated: fields.flag('outdated'),
    lost: fields.flag('lost'),
  });
}

/** Reads fields of a JSON object, and names the field that is wrong. */
class Fields {
  private readonly object: Readonly<Record<string, unknown>>;

  constructor(
    json: unknown,
    private readonly path: string,
    private readonly damaged: (problem: string) => AppError,
  ) {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) throw damaged(`${path || 'it'} is not an object`);
    this.object = json as Record<string, unknown>;
  }

  count(name: string): number {
    return this.asCount(this.object[name], name);
  }

  optionalCount(name: string): number | undefined {
    return this.object[name] === undefined ? undefined : this.count(name);
  }

  counts(name: string): number[] {
    return this.list(name).map((value, i) => this.asCount(value, `${name}[${i}]`));
  }

  optionalCounts(name: string): number[] | undefined {
    return this.object[name] === undefined ? undefined : this.counts(name);
  }

  text(name: string): string {
    const value = this.object[name];
    if (typeof value !== 'string') throw this.wrong(name, 'a text');
    return value;
  }

  optionalText(name: string): string | undefined {
    return this.object[name] === undefined ? undefined : this.text(name);
  }

  flag(name: string): boolean {
    const value = this.object[name] ?? false;
    if (typeof value !== 'boolean') throw this.wrong(name, 'true or false');
    return value;
  }

  bound(name: string): Key {
    const key = parseKey(this.text(name));
    if (key === undefined) throw this.wrong(name, 'a key');
    return key;
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    const value = choices.find((choice) => choice === this.object[name]);
    if (value === undefined) throw this.wrong(name, `one of ${choices.join(', ')}`);
    return value;
  }

  objects(name: string): Fields[] {
    return this.list(name).map((value, i) => new Fields(value, `${this.path}${name}[${i}]`, this.damaged));
  }

  private list(name: string): readonly unknown[] {
    const value = this.object[name];
    if (!Array.isArray(value)) throw this.wrong(name, 'a list');
    return value;
  }

  private asCount(value: unknown, name: string): number {
    if (!Number.isSafeInteger(value) || (value as number) < 0) throw this.wrong(name, 'a whole number');
    return value as number;
  }

  private wrong(name: string, wanted: string): AppError {
    return this.damaged(`${this.path === '' ? '' : `${this.path}.`}${name} is not ${wanted}`);
  }
}
