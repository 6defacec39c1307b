import { AppError } from '../../runtime/errors.js';
import { validateGroup } from '../documents.js';
import type { Change, Persister } from '../interfaces.js';
import type { MemoryHub } from './hub.js';

export class MemoryPersister implements Persister {
  /** The version of each document as this process last saw it; absent is no document. */
  private seen = new Map<string, number>();
  private mustLoad = false;

  constructor(private readonly hub: MemoryHub) {}

  load(): Promise<ReadonlyMap<string, string>> {
    if (!this.hub.available.value) return Promise.reject(away());
    this.mustLoad = false;
    this.seen = new Map([...this.hub.documents].map(([key, document]) => [key, document.version]));
    return Promise.resolve(new Map([...this.hub.documents].map(([key, document]) => [key, document.value])));
  }

  write(groups: readonly (readonly Change[])[]): Promise<void> {
    try {
      for (const group of groups) validateGroup(group);
      if (this.mustLoad) throw new AppError('ABORTED', 'an earlier write failed: load the documents again before writing');
      for (const group of groups) this.apply(group);
      this.hub.writeDone();
      return Promise.resolve();
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (error.code !== 'INVALID_ARGUMENT') this.mustLoad = true;
      return Promise.reject(error);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private apply(group: readonly Change[]): void {
    if (!this.hub.available.value || this.hub.writeFailsNow()) throw away();
    const changed = group.find(({ key }) => this.hub.documents.get(key)?.version !== this.seen.get(key));
    if (changed) throw new AppError('ABORTED', `document '${changed.key}' was changed by somebody else: load again`);
    for (const { key, value } of group) {
      if (value === undefined) {
        this.hub.documents.delete(key);
        this.seen.delete(key);
      } else {
        const version = this.hub.nextVersion();
        this.hub.documents.set(key, { value, version });
        this.seen.set(key, version);
      }
    }
  }
}

function away(): AppError {
  return new AppError('UNAVAILABLE', 'the in-memory backend is away');
}
