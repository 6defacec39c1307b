import type { Observable } from 'rxjs';

/**
 * What a cluster needs from outside: finding each other, keeping the desired
 * state, and agreeing on one controller. Three small interfaces; the backends in
 * consul/, embedded/ and memory/ pass the one suite in contract/.
 */

export type ServiceName = 'node' | 'proxy' | 'controller';

export interface Instance {
  readonly service: ServiceName;
  readonly ident: string;
  /** A dialable host:port at which gRPC answers. */
  readonly address: string;
  /** Short facts such as `incarnation`; at most 20 entries. */
  readonly meta: Readonly<Record<string, string>>;
}

export interface Registration {
  /** Ends the registration. Never rejects for weather: an agent that is away loses it by itself. */
  deregister(): Promise<void>;
}

export interface Discovery {
  /**
   * Makes the instance visible, and keeps it so through restarts and absences of
   * the backend, until `deregister`. Rejects with ALREADY_EXISTS when another live
   * process (another address or incarnation) holds the ident.
   */
  register(instance: Instance): Promise<Registration>;

  /**
   * The instances that are alive: the list at subscription, then again at each
   * change, sorted by ident. Never errors and never completes before `close`; while
   * the backend is away it stays silent, so subscribers go on with what they have.
   */
  watch(service: ServiceName): Observable<readonly Instance[]>;

  close(): Promise<void>;
}

/** A document's new text, or its removal when `value` is undefined. */
export interface Change {
  readonly key: string;
  readonly value: string | undefined;
}

export interface Persister {
  /** Every document under the persister's prefix. Also takes note of versions for compare-and-set. */
  load(): Promise<ReadonlyMap<string, string>>;

  /**
   * Writes the groups in order. A group is atomic; groups are packed into as few
   * transactions as the backend's limits allow, so a failure leaves a prefix of the
   * groups written. Rejects with ABORTED when somebody else changed a document since
   * it was last loaded or written here (nothing of that transaction is applied), and
   * with UNAVAILABLE when the backend is away: after either, `load` again before writing.
   */
  write(groups: readonly (readonly Change[])[]): Promise<void>;

  close(): Promise<void>;
}

export interface Leadership {
  readonly leading: boolean;
  /** Grows with every change of leader; commands carry it. 0 until known. */
  readonly term: number;
  /** Where the leader answers, when known. */
  readonly leaderAddress: string | undefined;
}

export interface Election {
  /**
   * Campaigns until `resign`. Emits at once and at every change. A lost lock is
   * told before another candidate can have it.
   */
  campaign(candidate: { readonly ident: string; readonly address: string }): Observable<Leadership>;

  /**
   * Whether this process is sure to hold the lock at this very moment. Asked before
   * each command: a process that stood still may not have been told yet that it lost.
   */
  leads(): boolean;

  resign(): Promise<void>;
}
