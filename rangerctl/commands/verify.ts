import { string } from '@oclif/core/args';
import { boolean } from '@oclif/core/flags';
import type { VerifyReport } from '../../client/admin.js';
import { Screen } from '../../runtime/screen.js';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS } from '../base.js';
import { EXIT } from '../failure.js';
import { readRangeId } from '../inputs.js';
import { Detached } from '../operation.js';
import { ProgressMeter } from '../progress.js';
import { type Verdict, verdictOf, verifyJson, verifyLines, verifySummary, worst } from '../verify-text.js';

const EXITS: Readonly<Record<Verdict, number>> = { alike: EXIT.ok, partial: EXIT.busy, found: EXIT.degraded };

export default class Verify extends BaseCommand {
  static override summary = 'Compare the copies of a range, or of all, key by key; a damaged one is made anew.';
  static override description = 'Exit status: 0 all copies are alike, 1 one is damaged, 5 none was found damaged, but not everything could be compared.';
  static override examples = ['<%= config.bin %> verify', '<%= config.bin %> verify 1'];
  static override args = { range: string({ ignoreStdin: true, description: 'The number of the range; all without it.' }) };
  static override flags = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS, steps: boolean({ summary: 'With JSON output, print each report as a JSON line on standard error.' }) };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Verify);
    const order = { kind: 'verify', ...(args.range === undefined ? {} : { range: readRangeId(args.range, 'the range') }) } as const;
    const timeoutMs = this.timeoutMs(flags, undefined);
    if (flags.request) return this.printRequest(order);
    const json = this.wantsJson(flags);
    const screen = new Screen(this.io.stderr);
    const interrupt = new AbortController();
    const stopListening = this.io.onInterrupt(() => {
      interrupt.abort();
    });
    const done: VerifyReport[] = [];
    let meter = new ProgressMeter();
    const onEvent = (report: VerifyReport): void => {
      if (json && flags.steps) this.io.stderr.write(`${JSON.stringify(verifyJson(report))}\n`);
      const { range, keys, bytes, keysTotal, elapsedMs } = report;
      meter.add({ kind: 'progress', range: Number(range), node: '', keys: Number(keys), bytes: Number(bytes), keysTotal: Number(keysTotal), elapsedMs: Number(elapsedMs) });
      if (!json) screen.status(`R${range}  ${meter.text()}`);
      if (!report.done) return;
      meter = new ProgressMeter();
      done.push(report);
      screen.clear();
      if (!json) this.io.stdout.write(`${verifyLines(report).join('\n')}\n`);
    };
    try {
      await this.withController(flags, (admin) => admin.verify(order.range, { timeoutMs, signal: interrupt.signal, onEvent }));
    } catch (thrown) {
      if (interrupt.signal.aborted) throw new Detached('stopped: what was not compared by now is not known to be alike', EXIT.detached);
      throw thrown;
    } finally {
      screen.clear();
      stopListening();
    }
    const verdicts = done.map(verdictOf);
    this.exitCode = EXITS[worst(verdicts)];
    if (json) await this.printJson({ ranges: done.map(verifyJson) });
    else await this.printText(verifySummary(verdicts));
  }
}
