import { join } from 'node:path';
import { suggest } from '../../runtime/suggest.js';

/** One line of a Procfile: a kind of process and the shell command that runs it. */
export interface Entry {
  readonly name: string;
  readonly command: string;
}

/** One process to run. */
export interface Planned {
  /** Such as `node.1`; counted from 1. */
  readonly name: string;
  readonly entry: string;
  readonly command: string;
  readonly port: number;
  readonly dataDir: string;
}

export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problems: readonly string[] };

/** Reads `name: command` lines; empty lines and `#` comments are passed over. */
export function parseProcfile(text: string): Result<readonly Entry[]> {
  const entries: Entry[] = [];
  const problems: string[] = [];
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const [, name, command] = /^([A-Za-z][\w-]*)\s*:\s*(\S.*)$/.exec(line) ?? [];
    if (name === undefined || command === undefined) problems.push(`Procfile, line ${index + 1}: expected "name: command", not ${JSON.stringify(line)}`);
    else if (entries.some((entry) => entry.name === name)) problems.push(`Procfile, line ${index + 1}: ${name} is there already`);
    else entries.push({ name, command });
  }
  return problems.length === 0 ? { ok: true, value: entries } : { ok: false, problems };
}

const INSTANCES_MAX = 100;

/** Reads `name=count` words; what is not named does not run, and `all=1` names the rest. */
export function parseFormation(words: readonly string[], entries: readonly Entry[]): Result<ReadonlyMap<string, number>> {
  const known = entries.map((entry) => entry.name);
  const counts = new Map<string, number>();
  const problems: string[] = [];
  for (const word of words) {
    const [, name = '', count = ''] = /^([A-Za-z][\w-]*)=(\d{1,4})$/.exec(word) ?? [];
    if (name === '') {
      problems.push(`formation: expected name=count, not ${JSON.stringify(word)}`);
    } else if (name !== 'all' && !known.includes(name)) {
      const close = suggest(name, known);
      problems.push(`formation: the Procfile has no ${name}${close === undefined ? `, only ${known.join(', ')}` : `, did you mean ${close}?`}`);
    } else if (Number(count) > INSTANCES_MAX) {
      problems.push(`formation: ${word} is too many, at most ${INSTANCES_MAX} of a kind`);
    } else {
      for (const one of name === 'all' ? known.filter((k) => !counts.has(k)) : [name]) counts.set(one, Number(count));
    }
  }
  return problems.length === 0 ? { ok: true, value: counts } : { ok: false, problems };
}

/** Ports as foreman gives them: the first line of the Procfile has the base and what follows, the next 100 more. */
export function plan(options: {
  readonly entries: readonly Entry[];
  readonly formation: ReadonlyMap<string, number>;
  readonly basePort: number;
  readonly dataDir: string;
}): Result<readonly Planned[]> {
  const planned = options.entries.flatMap((entry, index) =>
    Array.from({ length: options.formation.get(entry.name) ?? 0 }, (_, i) => {
      const port = options.basePort + index * 100 + i;
      return { name: `${entry.name}.${i + 1}`, entry: entry.name, command: entry.command, port, dataDir: join(options.dataDir, dataName(entry.name, port, i)) };
    }),
  );
  const problems = planned.filter(({ port }) => port > 65535).map(({ name, port }) => `${name} would get port ${port}: give a smaller --base-port`);
  if (planned.length === 0) problems.push('nothing to run: the formation is empty');
  return problems.length === 0 ? { ok: true, value: planned } : { ok: false, problems };
}

/** A node is its port, so its data is named after it; the one controller is the same at any port. */
function dataName(entry: string, port: number, index: number): string {
  return entry === 'controller' && index === 0 ? entry : `${entry}-${port}`;
}

/** Which names in the data directory are data of the Procfile's processes: all that `--fresh` may remove. */
export function isData(name: string, entries: readonly Entry[]): boolean {
  return entries.some((entry) => name === entry.name || (name.startsWith(`${entry.name}-`) && /^\d+$/.test(name.slice(entry.name.length + 1))));
}
