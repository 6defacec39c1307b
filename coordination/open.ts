import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import type { Random } from '../runtime/random.js';
import type { CoordinationChoice } from './choose.js';
import type { Discovery, Election, Persister } from './interfaces.js';

export interface OpenDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface OpenOptions extends OpenDeps {
  readonly choice: CoordinationChoice;
}

/** Discovery for a node or proxy; only the libraries of the chosen backend are loaded. */
export async function openDiscovery({ choice, ...deps }: OpenOptions): Promise<Discovery> {
  if (choice.kind === 'embedded') {
    const { EmbeddedDiscovery } = await import('./embedded/client.js');
    return new EmbeddedDiscovery({ address: choice.address, ...deps });
  }
  const [{ ConsulClient }, { ConsulDiscovery }] = await Promise.all([import('./consul/client.js'), import('./consul/discovery.js')]);
  return new ConsulDiscovery({ client: new ConsulClient(choice), ...deps });
}

export interface ConsulBackend {
  readonly discovery: Discovery;
  readonly persister: Persister;
  readonly election: Election;
  close(): Promise<void>;
}

/** All that a controller needs of Consul. What it writes carries the proof that it leads. */
export async function openConsul(options: OpenDeps & { readonly host: string; readonly port: number }): Promise<ConsulBackend> {
  const { host, port, ...deps } = options;
  const [{ ConsulClient }, { ConsulDiscovery }, { ConsulElection }, { ConsulPersister, NODES_PREFIX }] = await Promise.all([
    import('./consul/client.js'),
    import('./consul/discovery.js'),
    import('./consul/election.js'),
    import('./consul/persister.js'),
  ]);
  const client = new ConsulClient({ host, port });
  const discovery = new ConsulDiscovery({ client, ...deps });
  const election = new ConsulElection({ client, ...deps });
  const persister = new ConsulPersister({ client, nodesPrefix: NODES_PREFIX, fence: () => election.fence() });
  return {
    discovery,
    election,
    persister,
    close: async () => {
      await Promise.all([discovery.close(), election.resign(), persister.close()]);
      client.close();
    },
  };
}
