import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { formatInterval } from '../model/interval.js';
import { itemOf } from '../model/items.js';
import { KEY_BYTES_MAX, type Key, keyFromBytes } from '../model/key.js';
import { type AskOptions, type ScanPage, type ScanRequest, type Store, selectedSpan } from '../model/store.js';
import { decodeScanToken } from '../model/tokens.js';
import { Problem } from './problem.js';
import { type Target, flagOf, onlyParameters } from './target.js';

const PARAMETERS = ['prefix', 'start', 'end', 'limit', 'reverse', 'keys_only', 'token'];

export function listingOf({ query }: Target): ScanRequest {
  onlyParameters(query, PARAMETERS);
  const bound = (name: string): Key => {
    const bytes = query.get(name) ?? Buffer.alloc(0);
    if (bytes.length > KEY_BYTES_MAX) throw new Problem(400, 'bad_query', `${name} of ${bytes.length} bytes is longer than any key: the limit is ${KEY_BYTES_MAX} bytes`);
    return keyFromBytes(bytes);
  };
  const [start, end] = [bound('start'), bound('end')];
  const span = selectedSpan({ prefix: bound('prefix'), start, end });
  if (!span) throw new Problem(400, 'bad_query', `start and end: ${formatInterval({ start, end })} holds no key; start has to be below end`);
  const reverse = flagOf(query, 'reverse');
  return { span, reverse, keysOnly: flagOf(query, 'keys_only'), limit: limitOf(query.get('limit')), token: tokenOf(query.get('token'), span, reverse) };
}

function limitOf(given: Buffer | undefined): number | undefined {
  if (given === undefined) return undefined;
  const text = given.toString('latin1');
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new Problem(400, 'bad_query', `limit is ${JSON.stringify(text)}, but must be a whole number from 1 on`);
}

function tokenOf(given: Buffer | undefined, span: ScanRequest['span'], reverse: boolean): Buffer | undefined {
  if (given === undefined) return undefined;
  const text = given.toString('latin1');
  const token = Buffer.from(text, 'base64url');
  if (/^[\w-]+$/.test(text) && decodeScanToken(token, span, reverse)) return token;
  throw new Problem(400, 'bad_token', `token is ${JSON.stringify(text)}, which is no \`next\` of a listing with the same prefix, start, end and reverse`);
}

/**
 * Writes a listing as it is read, a page at a time, and no faster than the client
 * takes it. One that breaks off breaks off its connection too: what ends well is whole.
 */
export async function sendListing(store: Store, listing: ScanRequest, request: IncomingMessage, response: ServerResponse, options: AskOptions): Promise<void> {
  const lines = /\bapplication\/x-ndjson\b/.test(request.headers.accept ?? '');
  const headers = { 'content-type': lines ? 'application/x-ndjson' : 'application/json; charset=utf-8', 'cache-control': 'no-cache' };
  if (request.method === 'HEAD') {
    response.writeHead(200, headers).end();
    return;
  }
  let next: Buffer | undefined;
  let separator = '';
  const begin = (): void => {
    if (response.headersSent) return;
    response.writeHead(200, headers);
    if (!lines) response.write('{"items":[');
  };
  for await (const page of store.scan(listing, options)) {
    // The first page is here: from now on the answer can only be a good one.
    begin();
    next = page.next;
    const text = textOf(page, listing, lines ? '' : separator, lines);
    if (text !== '') separator = ',';
    if (text !== '' && !response.write(text)) await drained(response, options.signal);
  }
  begin();
  const left = next?.toString('base64url');
  if (!lines) response.end(`\n],"next":${left === undefined ? 'null' : JSON.stringify(left)}}\n`);
  else response.end(left === undefined ? undefined : `${JSON.stringify({ next: left })}\n`);
}

function textOf({ entries }: ScanPage, { keysOnly = false }: ScanRequest, separator: string, lines: boolean): string {
  const items = entries.map((entry) => JSON.stringify(itemOf(entry, keysOnly)));
  if (items.length === 0) return '';
  return lines ? `${items.join('\n')}\n` : `${separator}\n${items.join(',\n')}`;
}

async function drained(response: ServerResponse, signal: AbortSignal | undefined): Promise<void> {
  await once(response, 'drain', signal ? { signal } : {});
}
