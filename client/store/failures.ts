import type { AppError, ErrorCode } from '../../runtime/errors.js';

/** The connection failed. Servers that die show as the first, servers that shut down sometimes as one of the others. */
export function isLoss({ code, message }: AppError): boolean {
  return code === 'UNAVAILABLE' || code === 'CANCELLED' || (code === 'INTERNAL' && message.includes('RST_STREAM'));
}

/** The node says "not me", or "not now". */
export function isRefusal({ code }: AppError): boolean {
  return code === 'ABORTED' || code === 'FAILED_PRECONDITION';
}

/** How the message of a failed write ends when surely nothing was made. */
export const NOTHING_APPLIED = 'Nothing was applied';

/** What is answered before anything is done. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['INVALID_ARGUMENT', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED', 'PERMISSION_DENIED', 'UNAUTHENTICATED']);

/** Of a write: it surely was not made. What does not say so may have been. */
export function isKnownUnmade({ code, message }: AppError): boolean {
  return REFUSALS.has(code) || message.endsWith(NOTHING_APPLIED);
}

/** Of a write that a proxy answers for: it tried, and does not know. */
export function saysUnknown({ message }: { readonly message: string }): boolean {
  return message.endsWith('applied is unknown');
}
