import { string } from '@oclif/core/args';
import { boolean, string as stringFlag } from '@oclif/core/flags';
import { changeItem } from '../../model/items.js';
import { formatKey } from '../../model/key.js';
import type { LogEntry, LogRequest } from '../../model/log.js';
import type { Cancel } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import { DATA_FLAGS, DATA_TIMEOUT_MS } from '../data.js';
import { readRangeId } from '../inputs.js';
import { print } from '../io.js';
import { shown } from '../shown.js';
import { StoreCommand, readCount } from '../store-command.js';

export default class Log extends StoreCommand {
  static override summary = "Print a range's log: its committed writes, oldest first.";
  static override description = [
    'Print the committed writes of a range as its log has them, oldest first, each with its time, epoch and offset. A pipe gets a line of JSON for each.',
    'A proxy reads it from the primary, and goes on at the next one; a node that --proxy names reads it from its own copy. How far back a log reaches: --log-keep-bytes and --log-keep-age of the nodes.',
  ].join('\n');
  static override examples = ['<%= config.bin %> log 1', '<%= config.bin %> log 1 --from 120 --follow'];
  static override args = { range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }) };
  static override flags = {
    ...DATA_FLAGS,
    from: stringFlag({ summary: 'The first offset to print; the oldest that is kept when not given.', helpValue: 'OFFSET' }),
    follow: boolean({ default: false, summary: 'Go on with what is written from now on, until Ctrl-C or --timeout.' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Log);
    const { follow } = flags;
    const timeoutMs = follow ? this.timeoutMs(flags, undefined) : this.timeoutMs(flags, DATA_TIMEOUT_MS);
    const request: LogRequest = { range: readRangeId(args.range, 'the range'), from: readCount(flags.from, '--from', 1), follow };
    const address = this.dataAddress(flags);
    if (flags.request) return this.printJson({ range: String(request.range), from: String(request.from ?? 0), follow });
    const over = new AbortController();
    let cancel: Cancel = () => undefined;
    const wait = (): void => {
      cancel();
      if (timeoutMs !== undefined) cancel = this.io.clock.after(timeoutMs, () => {
        over.abort(new AppError(follow ? 'CANCELLED' : 'DEADLINE_EXCEEDED', follow ? 'long enough' : `nothing came within ${String(this.timeoutText)}`));
      });
    };
    const json = this.wantsJson(flags);
    await this.withStore(address, async (store, interrupted) => {
      const signal = AbortSignal.any([interrupted, over.signal]);
      try {
        wait();
        for await (const { entries } of store.log(request, { signal })) {
          await print(this.io.stdout, `${entries.map((entry) => (json ? jsonLine(entry) : textLine(entry))).join('\n')}\n`);
          // A long log takes its time.
          if (!follow) wait();
        }
      } catch (thrown) {
        // Who asked for an end of what has none gets it.
        if (!(follow && signal.aborted)) throw thrown;
      } finally {
        cancel();
      }
    });
  }
}

function jsonLine(entry: LogEntry): string {
  return JSON.stringify({ ...changeItem(entry), ...(entry.timeMs === undefined ? {} : { time: new Date(entry.timeMs).toISOString() }) });
}

function textLine({ timeMs, epoch, offset, key, value }: LogEntry): string {
  const time = timeMs === undefined ? '-'.padEnd(24) : new Date(timeMs).toISOString();
  return `${time}  ${epoch}-${offset}  ${value ? `put  ${formatKey(key)}  ${shown(value)}` : `del  ${formatKey(key)}`}`;
}
