import { AppError } from '../runtime/errors.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/log.js';
import type { Random } from '../runtime/random.js';
import type { CoordinationChoice } from './choose.js';
import { EmbeddedDiscovery } from './embedded/client.js';
import type { Discovery } from './interfaces.js';

export interface OpenOptions {
  readonly choice: CoordinationChoice;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Discovery for a node or proxy; only the libraries of the chosen backend are loaded. */
export async function openDiscovery({ choice, ...deps }: OpenOptions): Promise<Discovery> {
  if (choice.kind === 'embedded') return new EmbeddedDiscovery({ address: choice.address, ...deps });
  await Promise.resolve();
  throw new AppError('UNIMPLEMENTED', 'Consul is not there yet');
}
