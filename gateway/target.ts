import { keyFromBytes, type Key } from '../model/key.js';
import { keyProblem } from '../model/limits.js';
import { Problem } from './problem.js';

/** What a request is about: the path as it came, for keys may be any bytes, and the query, decoded to bytes. */
export interface Target {
  readonly path: string;
  readonly query: ReadonlyMap<string, Buffer>;
}

export function parseTarget(url: string): Target {
  // Proxies ask for http://host/path.
  const relative = url.replace(/^https?:\/\/[^/?#]*/i, '') || '/';
  const [beforeFragment = ''] = relative.split('#', 1);
  const mark = beforeFragment.indexOf('?');
  const path = mark < 0 ? beforeFragment : beforeFragment.slice(0, mark);
  return { path, query: parseQuery(mark < 0 ? '' : beforeFragment.slice(mark + 1)) };
}

function parseQuery(text: string): Map<string, Buffer> {
  const query = new Map<string, Buffer>();
  for (const part of text.split('&')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    const name = decode((equals < 0 ? part : part.slice(0, equals)).replaceAll('+', ' '), 'the query').toString('utf8');
    if (query.has(name)) throw new Problem(400, 'bad_query', `${name} is given twice`);
    query.set(name, decode((equals < 0 ? '' : part.slice(equals + 1)).replaceAll('+', ' '), name));
  }
  return query;
}

/** The key that the rest of a path names: its bytes, percent-decoded; slashes are a part of it. */
export function keyOf(encoded: string): Key {
  const bytes = decode(encoded, 'the key');
  const problem = keyProblem(bytes.length);
  if (problem !== undefined) throw new Problem(400, 'bad_key', problem);
  return keyFromBytes(bytes);
}

function decode(text: string, what: string): Buffer {
  const bytes = Buffer.allocUnsafe(text.length);
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 0x25) {
      bytes[length++] = code;
      continue;
    }
    const digits = text.slice(i + 1, i + 3);
    if (!/^[0-9a-fA-F]{2}$/.test(digits)) throw new Problem(400, 'bad_encoding', `${what}: % has to be followed by two hexadecimal digits, not by ${JSON.stringify(digits)}; a percent sign itself is %25`);
    bytes[length++] = parseInt(digits, 16);
    i += 2;
  }
  return bytes.subarray(0, length);
}

/** Parameters that a route knows; anything else is a slip worth telling. */
export function onlyParameters(query: ReadonlyMap<string, Buffer>, known: readonly string[]): void {
  for (const name of query.keys()) {
    if (!known.includes(name)) throw new Problem(400, 'bad_query', `${JSON.stringify(name)} is no parameter here${known.length === 0 ? '' : `; known here: ${known.join(', ')}`}`);
  }
}

export function flagOf(query: ReadonlyMap<string, Buffer>, name: string): boolean {
  const text = query.get(name)?.toString('latin1');
  if (text === undefined || /^(false|0|no|off)$/i.test(text)) return false;
  if (/^(|true|1|yes|on)$/i.test(text)) return true;
  throw new Problem(400, 'bad_query', `${name} is ${JSON.stringify(text)}, but must be true or false`);
}
