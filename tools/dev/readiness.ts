import { type Clock, sleep } from '../../runtime/clock.js';
import { httpGet } from './http.js';
import type { Planned } from './plan.js';

/** Undefined when the process is ready, else why it is not. */
export type AskReady = (port: number) => Promise<string | undefined>;

/**
 * Watches until every process was ready once, and says so; says once what keeps it
 * waiting when that takes long. Ends early when `signal` is aborted.
 */
export async function reportReadiness(options: {
  readonly planned: readonly Planned[];
  readonly ask: AskReady;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}): Promise<void> {
  const { planned, ask, clock, signal, say } = options;
  const started = clock.now();
  let waiting = [...planned];
  let complained = false;
  for (;;) {
    const answers = await Promise.all(waiting.map(async (process) => ({ process, reason: await ask(process.port) })));
    if (signal.aborted) return;
    const unready = answers.filter((answer) => answer.reason !== undefined);
    waiting = unready.map((answer) => answer.process);
    if (waiting.length === 0) {
      say(`all ready after ${((clock.now() - started) / 1000).toFixed(1)} s`);
      return;
    }
    if (!complained && clock.now() - started > COMPLAIN_MS) {
      complained = true;
      say(`not ready yet: ${unready.map(({ process, reason }) => `${process.name} (${reason ?? ''})`).join(', ')}`);
    }
    await sleep(clock, ASK_EVERY_MS, signal).catch(() => {});
  }
}

const ASK_EVERY_MS = 200;
const ASK_MS = 2000;
const COMPLAIN_MS = 15_000;

export const askReady: AskReady = async (port) => {
  try {
    const { status, body } = await httpGet(`http://localhost:${port}/ready`, ASK_MS);
    const { ready, reason } = JSON.parse(body) as { ready?: boolean; reason?: string };
    return ready === true ? undefined : (reason ?? `status ${status}`);
  } catch {
    return 'no answer yet';
  }
};
