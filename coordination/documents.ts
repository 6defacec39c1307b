import { AppError } from '../runtime/errors.js';
import type { Change } from './interfaces.js';

export const DOCUMENT_KEY_LENGTH_MAX = 256;
/** What the tightest backend takes in one transaction, so that no group works on one and fails on another. */
export const GROUP_CHANGES_MAX = 63;
const DOCUMENT_KEY = /^[A-Za-z0-9._:-][A-Za-z0-9._:/-]*$/;

/** Throws INVALID_ARGUMENT for a group that some backend could not write as one. */
export function validateGroup(group: readonly Change[]): void {
  if (group.length > GROUP_CHANGES_MAX) {
    throw new AppError('INVALID_ARGUMENT', `a group of ${group.length} changes cannot be atomic: at most ${GROUP_CHANGES_MAX} fit, make it several groups`);
  }
  const keys = new Set<string>();
  for (const { key } of group) {
    if (key.length > DOCUMENT_KEY_LENGTH_MAX || !DOCUMENT_KEY.test(key)) {
      throw new AppError('INVALID_ARGUMENT', `document key '${key}' is not usable: use 1 to ${DOCUMENT_KEY_LENGTH_MAX} letters, digits and . _ : / -`);
    }
    if (keys.has(key)) throw new AppError('INVALID_ARGUMENT', `document '${key}' is changed twice in one group: keep the last change only`);
    keys.add(key);
  }
}
