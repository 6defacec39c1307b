import { AppError } from './errors.js';
import { type Address, formatAddress } from './units.js';

/** Why a port cannot be had, and what to do; `flag` is what names another. */
export function cannotListen(address: Address, error: NodeJS.ErrnoException, flag: string): AppError {
  const text = formatAddress(address);
  switch (error.code) {
    case 'EADDRINUSE':
      return new AppError('ALREADY_EXISTS', `port ${address.port} is taken by another process: stop it, or listen elsewhere with ${flag} (now ${text})`, { cause: error });
    case 'EACCES':
      return new AppError('PERMISSION_DENIED', `port ${address.port} is not allowed to this user: take one above 1023 with ${flag} (now ${text})`, { cause: error });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new AppError('INVALID_ARGUMENT', `${JSON.stringify(address.host)} is no address of this machine: give another with ${flag} (now ${text})`, { cause: error });
    default:
      return new AppError('UNAVAILABLE', `cannot listen on ${text}: ${error.message}`, { cause: error });
  }
}
