import { AppError, type ErrorCode } from '../../runtime/errors.js';
import { isKnownUnmade } from '../store/failures.js';
import { KeyrangerError, type KeyrangerErrorCode } from './api.js';

/** What asked: a write that failed may have been made all the same. */
export type Kind = 'read' | 'write';

const CODES: Partial<Record<ErrorCode, KeyrangerErrorCode>> = {
  INVALID_ARGUMENT: 'invalid_argument',
  UNAVAILABLE: 'unavailable',
  FAILED_PRECONDITION: 'unavailable',
  ABORTED: 'unavailable',
  CANCELLED: 'unavailable',
  DEADLINE_EXCEEDED: 'timeout',
  RESOURCE_EXHAUSTED: 'overloaded',
  OUT_OF_RANGE: 'history_lost',
  UNIMPLEMENTED: 'not_supported',
};

/** In the words of the SDK. */
export function toKeyrangerError(thrown: unknown, kind: Kind): KeyrangerError {
  if (thrown instanceof KeyrangerError) return thrown;
  const error = AppError.from(thrown);
  const code = kind === 'write' && !isKnownUnmade(error) ? 'outcome_unknown' : (CODES[error.code] ?? 'internal');
  return new KeyrangerError(code, error.message, { cause: error });
}
