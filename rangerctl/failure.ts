import { AppError, messageOf } from '../runtime/errors.js';

/** Documented in docs/rangerctl.md. */
export const EXIT = { ok: 0, refused: 1, usage: 2, notFound: 3, unreachable: 4, degraded: 1, busy: 5, detached: 130 } as const;

/** Wrong usage, found before anything was sent. */
export class UsageError extends Error {}

/** Whom a command talks to, for messages. */
export interface Peer {
  readonly role: 'controller' | 'proxy' | 'node';
  readonly address: string;
  /** The flag that names another. */
  readonly flag: '--addr' | '--proxy' | '--node';
}

export interface Failure {
  readonly message: string;
  readonly exitCode: number;
}

/** One line that says what was wrong and what to do, and the exit code. */
export function explain(thrown: unknown, context: { readonly command: string; readonly peer?: Peer | undefined; readonly timeout?: string | undefined }): Failure {
  if (thrown instanceof UsageError || isParseError(thrown)) {
    return { message: `${oneLine(messageOf(thrown))}; see \`rangerctl ${context.command} --help\``, exitCode: EXIT.usage };
  }
  const error = AppError.from(thrown);
  const peer = context.peer ?? { role: 'controller', address: '', flag: '--addr' };
  const text = oneLine(error.message);
  switch (error.code) {
    case 'UNAVAILABLE':
      return { message: unavailable(text, peer), exitCode: EXIT.unreachable };
    case 'DEADLINE_EXCEEDED': {
      const within = context.timeout === undefined ? '' : ` within ${context.timeout}`;
      return { message: `no answer from the ${peer.role} at ${peer.address}${within}: try again, or give it longer with --timeout`, exitCode: EXIT.unreachable };
    }
    case 'UNIMPLEMENTED':
      return { message: `${peer.address} answers, but is no ${peer.role}: give ${peer.flag} (${usualPlace(peer)})`, exitCode: EXIT.refused };
    case 'NOT_FOUND':
      return { message: text, exitCode: EXIT.notFound };
    case 'INVALID_ARGUMENT':
      return { message: text, exitCode: EXIT.usage };
    case 'CANCELLED':
      return { message: `the ${peer.role} at ${peer.address} ended the call: ${text}`, exitCode: EXIT.unreachable };
    case 'INTERNAL':
    case 'UNKNOWN':
    case 'DATA_LOSS':
      return { message: `${context.command} failed: ${text}`, exitCode: EXIT.refused };
    default:
      return { message: `${context.command} refused: ${text}`, exitCode: EXIT.refused };
  }
}

/** What grpc-js says of connections, in words. */
function unavailable(text: string, peer: Peer): string {
  const todo = `is it running? start one with bin/dev, or give ${peer.flag}`;
  const cannot = `cannot reach the ${peer.role} at ${peer.address}`;
  if (/ECONNREFUSED/.test(text)) return `${cannot} (connection refused): ${todo}`;
  if (/ENOTFOUND|EAI_AGAIN|Name resolution failed/.test(text)) return `${cannot} (unknown host): check ${peer.flag}`;
  if (/ETIMEDOUT|EHOSTUNREACH|ENETUNREACH/.test(text)) return `${cannot} (no route, or no answer): ${todo}`;
  if (/^No connection established|^Failed to connect/.test(text)) return `${cannot} (${text.replace(/^No connection established\.? ?/, '')}): ${todo}`;
  if (/ECONNRESET|connection dropped|Connection dropped|read EPIPE/i.test(text)) return `lost the connection to the ${peer.role} at ${peer.address}: ${todo}`;
  return `the ${peer.role} at ${peer.address} is not available: ${text}`;
}

function usualPlace(peer: Peer): string {
  return peer.role === 'controller' ? 'a controller is usually at localhost:5000' : 'a proxy is usually at localhost:5100, nodes at localhost:5200 and up';
}

/** oclif's own complaints about flags and arguments carry the parser's state. */
function isParseError(thrown: unknown): thrown is Error {
  return thrown instanceof Error && ('parse' in thrown || 'oclif' in thrown);
}

function oneLine(text: string): string {
  return text
    .replace(/\s*See more help with --help/g, '')
    .replace(/^Nonexistent flag/, 'unknown flag')
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replace(/[.;:]$/, '');
}
