import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type Clock, sleep } from '../../runtime/clock.js';
import type { Lap, LoadOptions } from './load.js';

export type ToGenerator =
  | { readonly do: 'start'; readonly load: number; readonly options: LoadOptions }
  | { readonly do: 'lap'; readonly load: number }
  | { readonly do: 'stop'; readonly load: number };

export interface FromGenerator {
  readonly load: number;
  readonly lap: Lap;
}

/** A load that another process makes. */
export interface RunningLoad {
  /** What happened since the last lap. */
  lap(): Promise<Lap>;
  stop(): void;
}

/** The other process. */
export class Generator {
  private readonly child: ChildProcess;
  private readonly laps = new Map<number, (lap: Lap) => void>();
  private lastLoad = 0;

  constructor(private readonly clock: Clock) {
    this.child = fork(fileURLToPath(new URL('generator.js', import.meta.url)));
    this.child.on('message', ({ load, lap }: FromGenerator) => {
      this.laps.get(load)?.(lap);
      this.laps.delete(load);
    });
  }

  start(options: LoadOptions): RunningLoad {
    const load = ++this.lastLoad;
    this.tell({ do: 'start', load, options });
    return {
      lap: () =>
        new Promise((resolve) => {
          this.laps.set(load, resolve);
          this.tell({ do: 'lap', load });
        }),
      stop: () => {
        this.tell({ do: 'stop', load });
      },
    };
  }

  /** One lap of `ms`, after a time that does not count. */
  async measure(options: LoadOptions, warmupMs: number, ms: number): Promise<Lap> {
    const load = this.start(options);
    await sleep(this.clock, warmupMs);
    await load.lap();
    await sleep(this.clock, ms);
    const lap = await load.lap();
    load.stop();
    return lap;
  }

  close(): void {
    this.child.kill();
  }

  private tell(message: ToGenerator): void {
    // After an interruption there is nobody to tell.
    if (this.child.connected) this.child.send(message);
  }
}
