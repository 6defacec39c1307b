import type * as grpc from '@grpc/grpc-js';
import type { CoordinationChoice } from './choose.js';
import { EmbeddedDiscoveryServer } from './embedded/server.js';
import { EmbeddedStore } from './embedded/store.js';
import type { Discovery, Election, Persister } from './interfaces.js';
import { openConsul } from './open.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import type { Random } from '../runtime/random.js';

/** What a controller needs of the coordination it was started with. */
export interface Backend {
  readonly discovery: Discovery;
  readonly persister: Persister;
  readonly election: Election;
  /** Adds what this backend serves on the controller's own port. */
  mount(server: grpc.Server, closing: AbortSignal): void;
  close(): Promise<void>;
}

export interface BackendOptions {
  readonly choice: CoordinationChoice;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export async function openBackend(options: BackendOptions): Promise<Backend> {
  const { choice, clock, random, logger } = options;
  if (choice.kind === 'embedded') return openEmbedded(options);
  const consul = await openConsul({ host: choice.host, port: choice.port, clock, random, logger });
  return { ...consul, close: () => consul.close(), mount: () => undefined };
}

/** The controller is the backend itself: its file holds the keyspace, its port is where the others register. */
async function openEmbedded({ dataDir, clock, random, logger }: BackendOptions): Promise<Backend> {
  const store = await EmbeddedStore.open({ directory: dataDir, clock, random });
  const server = new EmbeddedDiscoveryServer({ clock, logger });
  return {
    discovery: server.local,
    persister: store.persister,
    election: store.election,
    mount: (grpcServer, closing) => {
      server.register(grpcServer, closing);
    },
    close: async () => {
      server.close();
      await store.close();
    },
  };
}
