/**
 * A key: any bytes, held as a binary string (one character a byte, 0x00–0xff).
 * Such strings order under `<` exactly as the bytes do, compare with `===`, and
 * work as Map keys; V8 stores them in one byte a character. Only this module
 * makes one, so that UTF-16 text never slips in by accident.
 */
export type Key = string & { readonly __brand: 'Key' };

/** The empty key: no stored key, but the mark of either infinity in an interval. */
export const NO_KEY = '' as Key;

export const KEY_BYTES_MAX = 1024;
export const VALUE_BYTES_MAX = 8 * 1024 * 1024;

export function keyFromBytes(bytes: Uint8Array): Key {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') as Key;
}

export function keyToBytes(key: Key): Buffer {
  return Buffer.from(key, 'latin1');
}

/** The key that `text` names in UTF-8. */
export function keyFromText(text: string): Key {
  return keyFromBytes(Buffer.from(text, 'utf8'));
}

/** The smallest key greater than `key`. */
export function successor(key: Key): Key {
  return (key + '\0') as Key;
}

const PLAIN = /^[\x21-\x7e]+$/;

/** Printable ASCII as it is; anything else as `b64:…`. Inverse of {@link parseKey}. */
export function formatKey(key: Key): string {
  return PLAIN.test(key) && !key.startsWith('b64:') && !/[,()[\]]/.test(key) && !/^[+-]inf$/.test(key)
    ? key
    : `b64:${keyToBytes(key).toString('base64')}`;
}

/** Reads what {@link formatKey} prints; any other text is taken as UTF-8. Undefined when malformed. */
export function parseKey(text: string): Key | undefined {
  if (!text.startsWith('b64:')) return keyFromText(text);
  const encoded = text.slice(4);
  const bytes = Buffer.from(encoded, 'base64');
  const canonical = bytes.toString('base64').replace(/=+$/, '');
  return canonical === encoded.replace(/=+$/, '') ? keyFromBytes(bytes) : undefined;
}
