import type { RouterOptions } from '../../client/router.js';
import { Router } from '../../client/router.js';
import type { Controller } from '../../controller/controller.js';
import type { Dial } from '../../controller/transport/transport.js';
import type { Persister } from '../../coordination/interfaces.js';
import { type Failpoints, NO_FAILPOINTS } from '../../node/chaos/failpoints.js';
import type { ToFollower } from '../../node/follow/messages.js';
import type { FollowSource } from '../../node/follow/source.js';
import type { KvNode } from '../../node/node.js';
import type { Storage } from '../../node/storage/storage.js';
import type { Process } from './process.js';

/**
 * Where the parts of a simulated cluster come from. The sound build takes them as
 * they are; the broken ones of broken/ each spoil one, to see that it is noticed.
 */
export interface Build {
  readonly name: string;
  readonly storage: (storage: Storage) => Storage;
  readonly node: (node: KvNode) => void;
  readonly failpoints: (process: Process) => Failpoints;
  readonly source: (source: FollowSource) => FollowSource;
  /** Makes, for one process, what becomes of messages to its followers. */
  readonly toFollower: (message: ToFollower) => ToFollower | undefined;
  readonly persister: (persister: Persister, process: Process) => Persister;
  readonly dial: (dial: Dial, process: Process) => Dial;
  readonly controller: (controller: Controller) => void;
  readonly router: (options: RouterOptions) => Router;
}

export const SOUND: Build = {
  name: 'sound',
  storage: (storage) => storage,
  node: () => undefined,
  failpoints: () => NO_FAILPOINTS,
  source: (source) => source,
  toFollower: (message) => message,
  persister: (persister) => persister,
  dial: (dial) => dial,
  controller: () => undefined,
  router: (options) => new Router(options),
};
