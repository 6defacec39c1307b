import type { AppError } from '../../runtime/errors.js';

/** The connection failed. Servers that die show as the first, servers that shut down sometimes as one of the others. */
export function isLoss({ code, message }: AppError): boolean {
  return code === 'UNAVAILABLE' || code === 'CANCELLED' || (code === 'INTERNAL' && message.includes('RST_STREAM'));
}

/** The node says "not me", or "not now". */
export function isRefusal({ code }: AppError): boolean {
  return code === 'ABORTED' || code === 'FAILED_PRECONDITION';
}
