import { AppError, type ErrorCode } from '../runtime/errors.js';

/** Codes by their gRPC number; 0 is OK and no error. */
const CODES: readonly (ErrorCode | undefined)[] = [
  undefined,
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

const NUMBERS: ReadonlyMap<ErrorCode, number> = new Map(
  CODES.flatMap((code, number) => (code === undefined ? [] : [[code, number] as const])),
);

/** Details travel in a header, of which peers accept a few KiB. */
const DETAILS_LENGTH_MAX = 2048;

const SURROGATES = /[\uD800-\uDFFF]/;

/** What grpc-js takes as the status of a failed call. An Error is not needed, and costs a stack. */
export interface StatusResponse {
  readonly code: number;
  readonly details: string;
}

export function statusNumber(code: ErrorCode): number {
  return NUMBERS.get(code) ?? 2;
}

/** The code of a gRPC status number; a number that gRPC does not know is UNKNOWN. Not for 0, which is OK. */
export function codeOfStatus(number: number): ErrorCode {
  return CODES[number] ?? 'UNKNOWN';
}

export function toServiceError(thrown: unknown): StatusResponse {
  const error = AppError.from(thrown);
  return { code: statusNumber(error.code), details: sendable(error.message) };
}

/** What a grpc-js client call failed with, in our vocabulary. Anything else becomes INTERNAL. */
export function fromServiceError(thrown: unknown): AppError {
  if (thrown instanceof AppError || !isStatus(thrown)) return AppError.from(thrown);
  const details = typeof thrown.details === 'string' && thrown.details !== '' ? thrown.details : undefined;
  const message = details ?? (thrown instanceof Error ? thrown.message : codeOfStatus(thrown.code));
  return new AppError(codeOfStatus(thrown.code), message, { cause: thrown });
}

/** grpc-js percent-encodes details with encodeURI, which throws on half a surrogate pair. */
function sendable(message: string): string {
  const text = message.length > DETAILS_LENGTH_MAX ? `${message.slice(0, DETAILS_LENGTH_MAX - 1)}…` : message;
  return SURROGATES.test(text) ? Buffer.from(text, 'utf8').toString('utf8') : text;
}

function isStatus(thrown: unknown): thrown is { code: number; details?: unknown } {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown && typeof thrown.code === 'number';
}
