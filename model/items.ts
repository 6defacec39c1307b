import { isUtf8 } from 'node:buffer';
import { type Key, keyFromBytes, keyToBytes } from './key.js';
import type { Change, ScanEntry } from './store.js';

/*
 * Entries as JSON, the same over HTTP, from rangerctl and in exported files: text as it
 * is, and what is no text in base64, under another name.
 */

export interface Item {
  readonly key?: string;
  readonly key_base64?: string;
  readonly value?: string;
  readonly value_base64?: string;
  readonly content_type?: string;
  readonly epoch?: number;
  readonly offset?: number;
}

export function itemOf({ key, value, contentType, epoch, offset }: ScanEntry, keysOnly = false): Item {
  const name = textual('key', keyToBytes(key));
  return keysOnly ? name : { ...name, ...textual('value', value), ...typed(contentType), epoch, offset };
}

/** A deletion has no value, and says so. */
export function changeItem({ key, value, contentType, epoch, offset }: Change): Item & { readonly deleted?: true } {
  const name = textual('key', keyToBytes(key));
  return value ? { ...name, ...textual('value', value), ...typed(contentType), epoch, offset } : { ...name, deleted: true, epoch, offset };
}

function textual(name: string, bytes: Buffer): object {
  return isUtf8(bytes) ? { [name]: bytes.toString('utf8') } : { [`${name}_base64`]: bytes.toString('base64') };
}

function typed(contentType: string | undefined): object {
  return contentType === undefined ? {} : { content_type: contentType };
}

export interface ParsedItem {
  readonly key: Key;
  readonly value: Buffer;
  readonly contentType: string | undefined;
}

/** What a line of JSON names and holds; a text that says what is wrong when it does not. */
export function parseItem(line: string): ParsedItem | string {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return 'is no JSON';
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return 'is no JSON object';
  const item = json as Record<string, unknown>;
  const key = bytesOf(item, 'key');
  if (!key) return 'has neither "key", a text, nor "key_base64"';
  const value = bytesOf(item, 'value');
  if (!value) return 'has neither "value", a text, nor "value_base64"';
  const contentType = item['content_type'];
  if (contentType !== undefined && typeof contentType !== 'string') return 'has a "content_type" that is no text';
  return { key: keyFromBytes(key), value, contentType };
}

function bytesOf(item: Record<string, unknown>, name: string): Buffer | undefined {
  const text = item[name];
  if (typeof text === 'string') return Buffer.from(text, 'utf8');
  const encoded = item[`${name}_base64`];
  if (typeof encoded !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(encoded)) return undefined;
  return Buffer.from(encoded, 'base64');
}
