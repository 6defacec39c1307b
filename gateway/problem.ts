import type { ServerResponse } from 'node:http';
import { AppError, type ErrorCode } from '../runtime/errors.js';

/** What went wrong, as clients can tell it apart: these never change their meaning. */
export type ProblemCode =
  | 'no_route'
  | 'method_not_allowed'
  | 'bad_encoding'
  | 'bad_key'
  | 'bad_query'
  | 'bad_token'
  | 'bad_condition'
  | 'bad_header'
  | 'bad_request'
  | 'value_too_long'
  | 'not_found'
  | 'condition_failed'
  | 'not_served_here'
  | 'overloaded'
  | 'unavailable'
  | 'timeout'
  | 'not_supported'
  | 'internal';

/** A request that is answered with a problem document (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: ProblemCode,
    readonly detail: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
  }

  static from(thrown: unknown): Problem {
    if (thrown instanceof Problem) return thrown;
    const error = AppError.from(thrown);
    const { status, code, again } = STATUS_OF[error.code];
    return new Problem(status, code, error.message, again ? { 'retry-after': '1' } : {});
  }
}

const internal = { status: 500, code: 'internal', again: false } as const;
const unavailable = { status: 503, code: 'unavailable', again: true } as const;

const STATUS_OF: Readonly<Record<ErrorCode, { readonly status: number; readonly code: ProblemCode; readonly again: boolean }>> = {
  CANCELLED: unavailable,
  UNKNOWN: internal,
  INVALID_ARGUMENT: { status: 400, code: 'bad_request', again: false },
  DEADLINE_EXCEEDED: { status: 504, code: 'timeout', again: true },
  NOT_FOUND: { status: 404, code: 'not_found', again: false },
  ALREADY_EXISTS: { status: 412, code: 'condition_failed', again: false },
  PERMISSION_DENIED: { status: 403, code: 'bad_request', again: false },
  RESOURCE_EXHAUSTED: { status: 503, code: 'overloaded', again: true },
  FAILED_PRECONDITION: { status: 503, code: 'not_served_here', again: true },
  ABORTED: { status: 503, code: 'not_served_here', again: true },
  OUT_OF_RANGE: { status: 410, code: 'bad_token', again: false },
  UNIMPLEMENTED: { status: 501, code: 'not_supported', again: false },
  INTERNAL: internal,
  UNAVAILABLE: unavailable,
  DATA_LOSS: internal,
  UNAUTHENTICATED: { status: 401, code: 'bad_request', again: false },
};

export function sendJson(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'content-length': String(Buffer.byteLength(text)), ...headers }).end(text);
}
