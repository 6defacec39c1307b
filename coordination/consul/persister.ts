import { AppError } from '../../runtime/errors.js';
import { validateGroup } from '../documents.js';
import type { Change, Persister } from '../interfaces.js';
import type { ConsulClient, KvOperation } from './client.js';
import { BODY_BYTES_MAX, operationOf, OPERATIONS_MAX, type Pack, packGroups } from './packing.js';

/** Proof of leadership that a transaction carries: without the lock nothing of it is applied. */
export interface Fence {
  readonly key: string;
  readonly session: string;
}

export interface ConsulPersisterOptions {
  readonly client: ConsulClient;
  /** Where the documents are; ends with a slash. */
  readonly prefix?: string;
  /**
   * Where documents stand that are not about ranges: those whose key begins with `nodes/`. Other
   * controllers read all that is below `ranges/`, and know of nothing else there. Without it they
   * are below `prefix` too.
   */
  readonly nodesPrefix?: string;
  /** Who is not leading when this is asked does not write. Without it only the documents' versions guard them. */
  readonly fence?: () => Fence | undefined;
}

export const RANGES_PREFIX = 'ranges/';
export const NODES_PREFIX = 'keyranger/nodes/';
const NODE_KEYS = 'nodes/';
const WRITE_MS = 10_000;
/** One operation is left for the fence, and room for it in the body. */
const LIMITS = { operationsMax: OPERATIONS_MAX - 1, bodyBytesMax: BODY_BYTES_MAX - 1024 };

/** Documents as keys of Consul's store, each change guarded by the version last seen. */
export class ConsulPersister implements Persister {
  private readonly prefix: string;
  private versions = new Map<string, number>();
  private mustLoad = false;
  private last: Promise<unknown> = Promise.resolve();
  private readonly closing = new AbortController();

  constructor(private readonly options: ConsulPersisterOptions) {
    this.prefix = options.prefix ?? RANGES_PREFIX;
  }

  load(): Promise<ReadonlyMap<string, string>> {
    return this.inTurn(async () => {
      const { client, nodesPrefix } = this.options;
      const signal = this.closing.signal;
      const pairs = [...(await client.pairs(this.prefix, { signal })), ...(nodesPrefix === undefined ? [] : await client.pairs(nodesPrefix, { signal }))];
      // Consul's own pages make a key of the prefix alone, as a folder.
      const documents = pairs.filter((pair) => pair.key !== this.prefix && pair.key !== nodesPrefix);
      this.versions = new Map(documents.map((pair) => [this.nameOf(pair.key), pair.modifyIndex]));
      this.mustLoad = false;
      return new Map(documents.map((pair) => [this.nameOf(pair.key), pair.value]));
    });
  }

  async write(groups: readonly (readonly Change[])[]): Promise<void> {
    for (const group of groups) validateGroup(group);
    // Versions have at most 16 digits, so an operation is never longer than with this one.
    const bytesOf = ({ key, value }: Change): number => JSON.stringify(operationOf(this.keyOf(key), value, Number.MAX_SAFE_INTEGER)).length;
    const packs = packGroups(groups, bytesOf, LIMITS);
    return this.inTurn(async () => {
      if (this.mustLoad) throw new AppError('ABORTED', 'an earlier write failed: load the documents again before writing');
      for (const pack of packs) await this.apply(pack);
    });
  }

  async close(): Promise<void> {
    this.closing.abort(new AppError('CANCELLED', 'the persister was closed'));
    await this.last;
  }

  private async apply(pack: Pack): Promise<void> {
    try {
      const operations = [...this.fencing(), ...[...pack.values()].map((change) => this.operation(change))];
      const outcome = await this.options.client.transaction(operations, { signal: this.closing.signal, timeoutMs: WRITE_MS });
      if (outcome.kind === 'conflict') {
        throw new AppError('ABORTED', `Consul refused a write, because somebody else changed a document or leads now: ${outcome.reason}`);
      }
      for (const { key, value } of pack.values()) if (value === undefined) this.versions.delete(key);
      for (const { key, modifyIndex } of outcome.pairs) {
        if (pack.has(this.nameOf(key))) this.versions.set(this.nameOf(key), modifyIndex);
      }
    } catch (thrown) {
      // It may have been applied, or not: only loading tells.
      this.mustLoad = true;
      throw thrown;
    }
  }

  private operation({ key, value }: Change): KvOperation {
    return operationOf(this.keyOf(key), value, this.versions.get(key));
  }

  private fencing(): KvOperation[] {
    if (!this.options.fence) return [];
    const fence = this.options.fence();
    if (!fence) throw new AppError('ABORTED', 'this controller does not lead, so it must not write');
    return [{ Verb: 'check-session', Key: fence.key, Session: fence.session }];
  }

  private keyOf(name: string): string {
    const { nodesPrefix } = this.options;
    return nodesPrefix !== undefined && name.startsWith(NODE_KEYS) ? nodesPrefix + name.slice(NODE_KEYS.length) : this.prefix + name;
  }

  private nameOf(key: string): string {
    const { nodesPrefix } = this.options;
    if (nodesPrefix !== undefined && key.startsWith(nodesPrefix)) return NODE_KEYS + key.slice(nodesPrefix.length);
    return key.slice(this.prefix.length);
  }

  /** Calls happen one after the other, so that versions are known when they are used. */
  private inTurn<T>(call: () => Promise<T>): Promise<T> {
    const result = this.last.then(call);
    this.last = result.catch(() => {});
    return result;
  }
}
