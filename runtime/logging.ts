import { pino } from 'pino';
import type { LOG_FORMATS, LOG_LEVELS } from './common-options.js';
import { type Clock, systemClock } from './clock.js';
import type { Fields, Logger } from './log.js';

export interface LoggingOptions {
  /** The program, in every line. */
  readonly name: string;
  readonly level: (typeof LOG_LEVELS)[number];
  readonly format: (typeof LOG_FORMATS)[number];
  /** Where lines go; standard output by default. */
  readonly destination?: { write(line: string): void };
  readonly clock?: Clock;
}

/** Lines of JSON for machines, or of text where a person looks on. */
export function createLogger(options: LoggingOptions): Logger {
  const clock = options.clock ?? systemClock;
  const format = options.format === 'auto' ? (process.stdout.isTTY ? 'pretty' : 'json') : options.format;
  const out = options.destination ?? pino.destination({ fd: 1, sync: true });
  const destination = format === 'json' ? out : { write: (line: string) => out.write(prettyLine(line, { withTime: format === 'pretty' })) };
  const root = pino(
    {
      level: options.level,
      base: { name: options.name },
      timestamp: () => `,"time":"${new Date(clock.wallMs()).toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
      serializers: { error: describeError },
    },
    destination,
  );
  return adapt(root);
}

/** Ours takes the message first, so that it stays constant and the fields stay fields. */
function adapt(inner: pino.Logger): Logger {
  return {
    debug: (message, fields) => {
      inner.debug(fields ?? {}, message);
    },
    info: (message, fields) => {
      inner.info(fields ?? {}, message);
    },
    warn: (message, fields) => {
      inner.warn(fields ?? {}, message);
    },
    error: (message, fields) => {
      inner.error(fields ?? {}, message);
    },
    child: (fields: Fields) => adapt(inner.child(fields)),
  };
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error ? { code: error.code } : {};
  return { message: error.message, ...code, stack: error.stack };
}

/** `12:03:04.567 INFO  listening address=localhost:5200`; a line that is not JSON stays as it is. */
export function prettyLine(line: string, { withTime }: { withTime: boolean }): string {
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return line;
  }
  const { level, time, message, name: _name, ...fields } = parsed;
  const stack: string[] = [];
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${fieldText(value, stack)}`);
  const clock = withTime && typeof time === 'string' ? `${time.slice(11, 23)} ` : '';
  const head = `${clock}${String(level).toUpperCase().padEnd(5)} ${String(message)}${pairs.join('')}\n`;
  return stack.length === 0 ? head : `${head}${stack.join('\n')}\n`;
}

/** A stack has lines of its own; it goes below the line rather than into it. */
function fieldText(value: unknown, stack: string[]): string {
  if (typeof value === 'object' && value !== null && 'stack' in value && typeof value.stack === 'string') {
    stack.push(value.stack);
    return quoted(String('message' in value ? value.message : 'error'));
  }
  return typeof value === 'string' ? quoted(value) : JSON.stringify(value);
}

function quoted(text: string): string {
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}
