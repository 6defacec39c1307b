import { shareReplay, type Observable } from 'rxjs';
import { GrpcStore } from '../../client/store/grpc-store.js';
import { nextNews } from '../../client/store/news.js';
import { RoutedStore } from '../../client/store/routed-store.js';
import { ByteBudget } from '../../client/budget.js';
import type { Key } from '../../model/key.js';
import type { Store } from '../../model/store.js';
import { CODE } from '../../proto/codes.js';
import { type DiscoveredNode, Mirror } from '../../rangelet/mirror.js';
import { grpcRanges } from '../../rangelet/mirror-grpc.js';
import { MirroredOwners } from '../../rangelet/mirrored-owners.js';
import type { Cancel, Clock } from '../../runtime/clock.js';
import { AppError } from '../../runtime/errors.js';
import type { Logger } from '../../runtime/log.js';
import type { Random } from '../../runtime/random.js';

/** A key that nobody serves may be about to be: it is waited for so long. */
const LOCATE_MS_MAX = 2000;
/** A map that nobody asked for anything in so long is let go: most nodes never need one. */
const IDLE_MS = 5 * 60_000;
const TIMEOUT_MS = 10_000;
const BYTES_IN_FLIGHT_MAX = 64 * 1024 * 1024;

interface View {
  readonly mirror: Mirror;
  readonly owners: MirroredOwners;
  readonly store: RoutedStore;
}

/**
 * Where the keys are that this node does not serve. Clients who come to any node are sent
 * on by it; the map for that is drawn when the first of them comes.
 */
export class Elsewhere {
  private view: View | undefined;
  private cancelIdle: Cancel = () => undefined;
  private closed = false;

  constructor(
    private readonly deps: {
      /** Undefined until discovery is there. */
      readonly nodes: () => Observable<readonly DiscoveredNode[]> | undefined;
      /** This node's: whatever the map says, it was asked already. */
      readonly address: string;
      readonly clock: Clock;
      readonly random: Random;
      readonly logger: Logger;
    },
  ) {}

  /** The address of the primary of a key, which is another node; undefined when there is none for a while. */
  async locate(key: Key, signal: AbortSignal): Promise<string | undefined> {
    const view = this.use();
    if (!view) return undefined;
    const { clock, address } = this.deps;
    const dueAt = clock.now() + LOCATE_MS_MAX;
    for (let tries = 0; ; tries++) {
      const owner = view.owners.find(key);
      if (owner && owner.address !== address) return owner.address;
      const leftMs = dueAt - clock.now();
      if (leftMs <= 0) return undefined;
      await nextNews(view.owners, clock, { tries, msMax: leftMs, signal });
    }
  }

  /** Everything, wherever it is. Throws AppError while nothing is known of the others. */
  store(): Store {
    const view = this.use();
    if (!view) throw new AppError('UNAVAILABLE', 'this node does not know the others yet: try again');
    return view.store;
  }

  close(): void {
    this.closed = true;
    this.letGo();
  }

  private use(): View | undefined {
    if (this.closed) return undefined;
    this.cancelIdle();
    this.cancelIdle = this.deps.clock.after(IDLE_MS, () => {
      this.letGo();
    }, { unref: true });
    this.view ??= this.draw();
    return this.view;
  }

  private draw(): View | undefined {
    const { clock, random, logger } = this.deps;
    const nodes = this.deps.nodes()?.pipe(shareReplay({ bufferSize: 1, refCount: true }));
    if (!nodes) return undefined;
    const mirror = new Mirror({ nodes, connect: grpcRanges({ clock, logger }), clock, random, logger });
    const owners = new MirroredOwners(mirror, nodes);
    const connect = (address: string): GrpcStore => new GrpcStore(address, clock);
    const store = new RoutedStore({ owners, connect, router: NO_PLAIN_NODES, budget: new ByteBudget(BYTES_IN_FLIGHT_MAX), clock, random, timeoutMs: TIMEOUT_MS });
    return { mirror, owners, store };
  }

  private letGo(): void {
    this.cancelIdle();
    this.view?.store.close();
    this.view?.mirror.close();
    this.view = undefined;
  }
}

/** Nodes of other people's making are asked through a proxy. */
const NO_PLAIN_NODES: ConstructorParameters<typeof RoutedStore>[0]['router'] = { get: refusePlain, put: refusePlain };

function refusePlain(...args: readonly unknown[]): undefined {
  const done = args.at(-1) as (answer: { code: number; message: string; value: Buffer; epoch: number; offset: number }) => void;
  done({ code: CODE.UNIMPLEMENTED, message: 'the node that has the key knows kv.KV alone: ask a proxy', value: Buffer.alloc(0), epoch: 0, offset: 0 });
  return undefined;
}
