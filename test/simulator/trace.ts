import { createHash } from 'node:crypto';
import type { Fields, Logger } from '../../runtime/log.js';
import type { Scheduler } from './scheduler.js';

/** What happened, line by line, and a hash of all of it: two runs of one seed have the same. */
export class Trace {
  private readonly lines: string[] = [];
  private readonly hash = createHash('sha256');
  private dropped = 0;

  constructor(
    private readonly scheduler: Scheduler,
    private readonly keep: number,
  ) {}

  note(who: string, what: string): void {
    const line = `${this.scheduler.now.toFixed(3).padStart(10)} ${who.padEnd(11)} ${what}`;
    this.hash.update(line);
    this.lines.push(line);
    if (this.lines.length > this.keep * 2 && this.keep !== Infinity) {
      this.dropped += this.lines.length - this.keep;
      this.lines.splice(0, this.lines.length - this.keep);
    }
  }

  /** The last lines, oldest first. */
  last(): string[] {
    const kept = this.keep === Infinity ? this.lines : this.lines.slice(-this.keep);
    const left = this.dropped + this.lines.length - kept.length;
    return left === 0 ? kept : [`(${left} lines before; --trace shows them)`, ...kept];
  }

  digest(): string {
    return this.hash.copy().digest('hex').slice(0, 16);
  }

  logger(who: string): Logger {
    const note = (level: string) => (message: string, fields?: Fields) => {
      this.note(who, `${level}${message}${describe(fields)}`);
    };
    return { debug: note(''), info: note(''), warn: note('! '), error: note('!! '), child: () => this.logger(who) };
  }
}

function describe(fields: Fields | undefined): string {
  if (!fields) return '';
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${value instanceof Error ? value.message : String(value)}`)
    .join('');
}
