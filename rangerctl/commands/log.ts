import { string } from '@oclif/core/args';
import { boolean, string as stringFlag } from '@oclif/core/flags';
import type { AdminClient } from '../../client/admin.js';
import { changeItem } from '../../model/items.js';
import { formatKey } from '../../model/key.js';
import type { LogEntry, LogRequest } from '../../model/log.js';
import type { RangeId } from '../../model/range.js';
import { AppError } from '../../runtime/errors.js';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';
import { readAddress, readRangeId } from '../inputs.js';
import { print } from '../io.js';
import { Detached } from '../operation.js';
import { shown } from '../shown.js';
import { readCount } from '../store-command.js';

export default class Log extends BaseCommand {
  static override summary = "Print a range's log: its committed writes, oldest first.";
  static override description = [
    'Print the committed writes of a range as its log has them, oldest first, each with its time, epoch and offset. A pipe gets a line of JSON for each.',
    "The controller is asked where the range's primary is, unless --node says whom to ask. How far back a log reaches: --log-keep-bytes and --log-keep-age of the nodes.",
  ].join('\n');
  static override examples = ['<%= config.bin %> log 1', '<%= config.bin %> log 1 --from 120 --follow'];
  static override args = { range: string({ required: true, ignoreStdin: true, description: 'The number of the range.' }) };
  static override flags = {
    ...CONTROLLER_FLAGS,
    ...COMMON_FLAGS,
    from: stringFlag({ summary: 'The first offset to print; the oldest that is kept when not given.', helpValue: 'OFFSET' }),
    follow: boolean({ default: false, summary: 'Go on with what is written from now on, until Ctrl-C or --timeout.' }),
    node: stringFlag({ summary: 'Ask this node, which has a copy of the range, and no controller.', helpValue: 'HOST:PORT' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Log);
    const timeoutMs = flags.follow ? this.timeoutMs(flags, undefined) : this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    const request: LogRequest = { range: readRangeId(args.range, 'the range'), from: readCount(flags.from, '--from', 1), follow: flags.follow };
    const given = flags.node === undefined ? undefined : readAddress(flags.node, '--node', 'localhost:5200');
    if (flags.request) return this.printJson({ range: String(request.range), from: String(request.from ?? 0), follow: request.follow });
    const over = new AbortController();
    const stopListening = this.io.onInterrupt(() => {
      over.abort(new Detached('stopped', 130));
    });
    const cancel = timeoutMs === undefined ? (): void => undefined : this.io.clock.after(timeoutMs, () => {
      over.abort(new AppError(flags.follow ? 'CANCELLED' : 'DEADLINE_EXCEEDED', 'the time given with --timeout is over'));
    });
    try {
      const address = given ?? (await this.withController(flags, (admin) => primaryOf(admin, request.range, timeoutMs ?? QUERY_TIMEOUT_MS)));
      this.peer = { role: 'node', address, flag: '--node' };
      await this.tell(address, request, over.signal, this.wantsJson(flags));
    } catch (thrown) {
      // Who asked for an end of what has none gets it.
      if (!(flags.follow && over.signal.aborted)) throw thrown;
    } finally {
      cancel();
      stopListening();
    }
  }

  private async tell(address: string, request: LogRequest, signal: AbortSignal, json: boolean): Promise<void> {
    const { readLog } = await import('../../client/log.js');
    for await (const { entries } of readLog(address, request, signal)) {
      await print(this.io.stdout, `${entries.map((entry) => (json ? jsonLine(entry) : textLine(entry))).join('\n')}\n`);
    }
  }
}

async function primaryOf(admin: AdminClient, range: RangeId, timeoutMs: number | undefined): Promise<string> {
  const { placements } = await admin.range(range, { timeoutMs });
  const primary = placements.find((placement) => placement.primary) ?? placements.find(({ report }) => report?.state === 'Active');
  if (!primary) throw new AppError('FAILED_PRECONDITION', `R${range} has no primary now: give a node that has a copy with --node`);
  return (await admin.node(primary.node, { timeoutMs })).address;
}

function jsonLine(entry: LogEntry): string {
  return JSON.stringify({ ...changeItem(entry), ...(entry.timeMs === undefined ? {} : { time: new Date(entry.timeMs).toISOString() }) });
}

function textLine({ timeMs, epoch, offset, key, value }: LogEntry): string {
  const time = timeMs === undefined ? '-'.padEnd(24) : new Date(timeMs).toISOString();
  return `${time}  ${epoch}-${offset}  ${value ? `put  ${formatKey(key)}  ${shown(value)}` : `del  ${formatKey(key)}`}`;
}
