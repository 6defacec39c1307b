import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import type { Turn } from '../runtime/turn.js';
import { Pipe } from './pipe.js';
import type { TransportFactory } from './transport.js';

export interface PipesOptions {
  readonly transports: TransportFactory;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly logger: Logger;
  readonly onUsable: () => void;
}

/** One pipe a node. */
export class Pipes {
  private readonly pipes = new Map<string, Pipe>();
  private paused = false;

  constructor(private readonly options: PipesOptions) {}

  get size(): number {
    return this.pipes.size;
  }

  get(address: string): Pipe {
    return this.pipes.get(address) ?? this.add(address);
  }

  /** Connects to every node that is there, and lets go of those that are not once nothing waits for them. */
  keep(addresses: readonly string[]): void {
    for (const address of addresses) this.get(address).open();
    const wanted = new Set(addresses);
    for (const [address, pipe] of this.pipes) {
      if (wanted.has(address)) continue;
      this.pipes.delete(address);
      pipe.retire();
    }
  }

  setPaused(paused: boolean): void {
    this.paused = paused;
    for (const pipe of this.pipes.values()) pipe.setPaused(paused);
  }

  close(): void {
    for (const pipe of this.pipes.values()) pipe.close();
    this.pipes.clear();
  }

  private add(address: string): Pipe {
    const { transports, clock, turn, logger, onUsable } = this.options;
    const pipe = new Pipe({ address, transport: transports(address), clock, turn, logger, onUsable });
    if (this.paused) pipe.setPaused(true);
    this.pipes.set(address, pipe);
    return pipe;
  }
}
