import { type Clock, sleep } from '../../runtime/clock.js';
import type { Random } from '../../runtime/random.js';
import { type ConsulClient, ConsulError } from './client.js';

/** The service under which controllers that would lead are listed. */
const CANDIDATES = 'controller-candidate';
/** How long the lock outlives its last renewal. */
export const TTL_MS = 2000;
/** How long its holder trusts a renewal, from before it was sent: it stops before Consul does. */
export const TRUST_MS = 1700;
export const RENEW_MS = 500;
const RENEW_TIMEOUT_MS = 700;
const GOODBYE_MS = 1000;
/** The agent tells the servers of a new check in its own time. */
const CHECK_SEEN_MS = 2000;
const LOOK_AGAIN_MS = 20;

/**
 * A session that ends with its check, 2 s after the last renewal: a TTL of the session's
 * own would take up to twice that, and 10 s at least.
 */
export class Session {
  /** Until when this process may believe that the session lives. */
  trustedUntil: number;

  private constructor(
    readonly id: string,
    private readonly checkId: string,
    private readonly client: ConsulClient,
    private readonly clock: Clock,
    openedAt: number,
  ) {
    this.trustedUntil = openedAt + TRUST_MS;
  }

  static async open(options: { client: ConsulClient; clock: Clock; random: Random; name: string; signal: AbortSignal }): Promise<Session> {
    const { client, clock, random, name, signal } = options;
    const checkId = `election-${name}-${random.hex(8)}`;
    try {
      await client.registerTtlService({ id: checkId, name: CANDIDATES, checkName: `leadership of ${name}`, ttlMs: TTL_MS }, { signal });
      const giveUpAt = clock.now() + CHECK_SEEN_MS;
      for (;;) {
        const renewedAt = clock.now();
        await client.passCheck(checkId, { signal, timeoutMs: RENEW_TIMEOUT_MS });
        try {
          const id = await client.createSession({ name, checks: ['serfHealth', checkId] }, { signal });
          return new Session(id, checkId, client, clock, renewedAt);
        } catch (thrown) {
          const unseen = thrown instanceof ConsulError && thrown.status === 500 && /check/i.test(thrown.message);
          if (!unseen || clock.now() >= giveUpAt) throw thrown;
          await sleep(clock, LOOK_AGAIN_MS, signal);
        }
      }
    } catch (thrown) {
      await client.deregisterService(checkId, { timeoutMs: GOODBYE_MS }).catch(() => {});
      throw thrown;
    }
  }

  get trusted(): boolean {
    return this.clock.now() < this.trustedUntil;
  }

  /** Rejects when it could not be renewed; a slow agent may be asked again while the session is trusted. */
  async renew(signal: AbortSignal): Promise<void> {
    const sentAt = this.clock.now();
    await this.client.passCheck(this.checkId, { signal, timeoutMs: RENEW_TIMEOUT_MS });
    this.trustedUntil = sentAt + TRUST_MS;
  }

  /** Ends it at Consul, as far as that answers now. */
  async close(): Promise<void> {
    await this.client.destroySession(this.id, { timeoutMs: GOODBYE_MS }).catch(() => {});
    await this.client.deregisterService(this.checkId, { timeoutMs: GOODBYE_MS }).catch(() => {});
  }
}
