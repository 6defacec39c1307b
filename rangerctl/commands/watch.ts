import type { ClusterEvent } from '../../client/admin.js';
import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS } from '../base.js';
import { AppError } from '../../runtime/errors.js';

export default class Watch extends BaseCommand {
  static override summary = 'Follow live what happens: steps of operations, nodes that come and go, ranges that are unavailable.';
  static override description = 'Until Ctrl-C. In a pipe each event is a line of JSON. With --timeout it ends by itself.';
  static override examples = ['<%= config.bin %> watch', "<%= config.bin %> watch | jq -r 'select(.kind == \"node\").text'"];
  static override flags = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS };

  async run(): Promise<void> {
    const { flags } = await this.parse(Watch);
    const timeoutMs = this.timeoutMs(flags, undefined);
    if (flags.request) return this.printJson({});
    const json = this.wantsJson(flags);
    const interrupt = new AbortController();
    const stopListening = this.io.onInterrupt(() => {
      interrupt.abort();
    });
    const onEvent = (event: ClusterEvent): void => {
      this.io.stdout.write(`${json ? JSON.stringify(plain(event)) : `${timeOf(event)}  ${event.text}`}\n`);
    };
    try {
      await this.withController(flags, (admin) => admin.watch({ timeoutMs, signal: interrupt.signal, onEvent }));
    } catch (thrown) {
      // Who asked for an end gets it; everything else is a failure.
      const ended = interrupt.signal.aborted || (timeoutMs !== undefined && thrown instanceof AppError && thrown.code === 'DEADLINE_EXCEEDED');
      if (!ended) throw thrown;
    } finally {
      stopListening();
    }
  }
}

function plain({ wallMs, kind, text, range, node }: ClusterEvent): object {
  return { at: new Date(Number(wallMs)).toISOString(), kind, text, range: Number(range), node };
}

function timeOf({ wallMs }: ClusterEvent): string {
  return new Date(Number(wallMs)).toTimeString().slice(0, 8);
}
