import { type Key, NO_KEY, VALUE_BYTES_MAX, parseKey } from '../model/key.js';
import { keyProblem, valueProblem } from '../model/limits.js';
import type { NodeIdent, RangeId } from '../model/range.js';
import { formatAddress, parseAddress, parseDuration } from '../runtime/units.js';
import { UsageError } from './failure.js';

/*
 * Everything a user gives is checked here, before anything is sent.
 */

/** `7`, or `R7` as ranges are printed. */
export function readRangeId(text: string, what: string): RangeId {
  const digits = /^R?(\d+)$/i.exec(text)?.[1];
  const id = Number(digits ?? NaN);
  if (Number.isSafeInteger(id) && id >= 1) return id;
  throw new UsageError(`${what} is ${JSON.stringify(text)}, but must be the number of a range, such as 1 (\`rangerctl ranges\` lists them)`);
}

export function readNode(text: string, what: string): NodeIdent {
  if (text !== '' && !/\s/.test(text)) return text;
  throw new UsageError(`${what} is ${JSON.stringify(text)}, but must be the ident of a node, such as 5201 (\`rangerctl nodes\` lists them)`);
}

/** Text, or `b64:…` for bytes that are not. */
export function readKey(text: string, what: string): Key {
  const key = parseKey(text);
  if (key === undefined) throw new UsageError(`${what} is ${JSON.stringify(text)}, but what follows b64: must be base64`);
  const problem = keyProblem(key.length);
  if (problem !== undefined) throw new UsageError(`${what}: ${problem}`);
  return key === NO_KEY ? NO_KEY : key;
}

export function readAddress(text: string, flag: string, example: string): string {
  const address = parseAddress(text);
  if (!address || address.port === 0) throw new UsageError(`${flag} is ${JSON.stringify(text)}, but must be host:port, such as ${example}`);
  return formatAddress({ ...address, host: address.host === '' ? 'localhost' : address.host });
}

export function readTimeout(text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 1 && ms <= TIMEOUT_MS_MAX) return Math.round(ms);
  throw new UsageError(`--timeout is ${JSON.stringify(text)}, but must be a duration such as 500ms, 10s or 2m`);
}

const TIMEOUT_MS_MAX = 24 * 3_600_000;

/** All bytes of a stream, up to the largest value there may be. */
export async function readValue(source: AsyncIterable<Uint8Array>, what: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of source) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, 'utf8') : chunk;
    length += bytes.length;
    if (length > VALUE_BYTES_MAX) throw new UsageError(`${what} is longer than a value may be: the limit is ${VALUE_BYTES_MAX} bytes (8 MiB)`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

export function checkValue(value: Buffer): Buffer {
  const problem = valueProblem(value.length);
  if (problem !== undefined) throw new UsageError(problem);
  return value;
}
