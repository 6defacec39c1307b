import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from './key.js';

/** A content type travels in a header, and is kept beside the value. */
export const CONTENT_TYPE_BYTES_MAX = 255;

/** What is wrong with a key of this many bytes; undefined when nothing is. Nodes and proxies say the same. */
export function keyProblem(byteLength: number): string | undefined {
  if (byteLength === 0) return 'key is empty: give a key of 1 to 1024 bytes';
  if (byteLength > KEY_BYTES_MAX) {
    return `key of ${byteLength} bytes is too long: the limit is ${KEY_BYTES_MAX} bytes (1 KiB)`;
  }
  return undefined;
}

/** What is wrong with a value of this many bytes; undefined when nothing is. */
export function valueProblem(byteLength: number): string | undefined {
  if (byteLength <= VALUE_BYTES_MAX) return undefined;
  return `value of ${byteLength} bytes is too long: the limit is ${VALUE_BYTES_MAX} bytes (8 MiB)`;
}

/** What is wrong with a write id of this many bytes; undefined when nothing is. */
export function writeIdProblem(byteLength: number): string | undefined {
  return byteLength === 16 ? undefined : `write id has ${byteLength} bytes: give 16 random ones, or none`;
}

/** What is wrong with a content type; undefined when nothing is. */
export function contentTypeProblem(contentType: string): string | undefined {
  if (contentType === '') return 'content type is empty: leave it out, or give one such as text/plain';
  if (contentType.length > CONTENT_TYPE_BYTES_MAX) return `content type of ${contentType.length} bytes is too long: the limit is ${CONTENT_TYPE_BYTES_MAX} bytes`;
  if (!/^[\x20-\x7e]+$/.test(contentType)) return 'content type has other characters than printable ASCII: give one such as text/plain';
  return undefined;
}
