import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type Database, open, type RootDatabase } from 'lmdb';
import type { Clock } from '../../runtime/clock.js';
import { type DirectoryLock, lockDirectory } from '../../runtime/directory-lock.js';
import { AppError, messageOf } from '../../runtime/errors.js';
import { commitFailure, isDiskFull } from '../../runtime/lmdb-file.js';
import type { Random } from '../../runtime/random.js';
import { validateGroup } from '../documents.js';
import type { Change, Election, Persister } from '../interfaces.js';
import { EmbeddedElection } from './election.js';
import { fileProblem } from './verify.js';

export const STORE_FILE = 'coordination.mdb';
export const STORE_FORMAT = 1;

export interface EmbeddedStoreOptions {
  /** Made when it is not there; used by one controller at a time. */
  readonly directory: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** A document as it is stored: LMDB itself checks nothing that it reads. */
function seal(key: string, value: string): string {
  return checksum(key, value) + value;
}

function unseal(key: string, stored: string): string | undefined {
  const value = stored.slice(CHECKSUM_LENGTH);
  return stored.slice(0, CHECKSUM_LENGTH) === checksum(key, value) ? value : undefined;
}

const CHECKSUM_LENGTH = 8;

function checksum(key: string, value: string): string {
  return crc32(`${key}\n${value}`).toString(16).padStart(CHECKSUM_LENGTH, '0');
}

/** Tells one set of documents from another: LMDB can read a damaged file as one with less in it, without complaint. */
function sumOf(checksums: Iterable<string>): string {
  let count = 0;
  let sum = 0;
  for (const each of checksums) {
    count += 1;
    sum ^= Number.parseInt(each, 16);
  }
  return `${count} ${(sum >>> 0).toString(16)}`;
}

/** What the controller of an embedded cluster keeps: one LMDB file in a directory of its own. */
export class EmbeddedStore {
  readonly persister: Persister;
  readonly election: Election;
  private closing: Promise<void> | undefined;

  private constructor(
    private readonly file: StoreFile,
    private readonly lock: DirectoryLock,
  ) {
    this.persister = new EmbeddedPersister(file, () => this.close());
    this.election = new EmbeddedElection({ nextTerm: () => file.nextTerm() });
  }

  /**
   * Rejects with FAILED_PRECONDITION when another controller has the directory or a
   * newer version wrote the file, with DATA_LOSS when the file is damaged, and with
   * PERMISSION_DENIED when it cannot be written.
   */
  static async open(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
    const { directory, clock, random } = options;
    const lock = await lockDirectory({ directory, holder: 'a controller', clock, random });
    try {
      return new EmbeddedStore(await StoreFile.open(join(directory, STORE_FILE)), lock);
    } catch (thrown) {
      await lock.release();
      throw thrown;
    }
  }

  close(): Promise<void> {
    this.closing ??= (async () => {
      await this.election.resign();
      await this.file.close();
      await this.lock.release();
    })();
    return this.closing;
  }
}

/** The one file: documents, and a few facts about itself. */
export class StoreFile {
  private closed = false;
  /** The checksum of each document, of which their sum is made. */
  private checksums = new Map<string, string>();

  private constructor(
    private readonly path: string,
    private readonly root: RootDatabase<string, string>,
    private readonly facts: Database<string, string>,
    private readonly documents: Database<string, string>,
  ) {}

  static async open(path: string): Promise<StoreFile> {
    const problem = await fileProblem(path);
    if (problem !== undefined) throw damaged(path, problem);
    let root: RootDatabase<string, string> | undefined;
    try {
      // Without overlapping syncs a commit that was awaited is on the disk.
      root = open<string, string>({ path, maxDbs: 4, overlappingSync: false, encoding: 'string' });
      const facts = root.openDB<string, string>({ name: 'facts', encoding: 'string' });
      const documents = root.openDB<string, string>({ name: 'documents', encoding: 'string' });
      const file = new StoreFile(path, root, facts, documents);
      await file.checkFormat();
      file.load();
      return file;
    } catch (thrown) {
      await root?.close();
      throw openError(path, thrown);
    }
  }

  load(): Map<string, string> {
    this.assertOpen();
    const loaded = new Map<string, string>();
    const checksums = new Map<string, string>();
    for (const { key, value: stored } of this.documents.getRange({ snapshot: true })) {
      const value = unseal(key, stored);
      if (value === undefined) throw damaged(this.path, `document '${key}' is not what was written`);
      loaded.set(key, value);
      checksums.set(key, stored.slice(0, CHECKSUM_LENGTH));
    }
    const sum = this.facts.get('sum') ?? sumOf([]);
    if (sum !== sumOf(checksums.values())) throw damaged(this.path, `its ${loaded.size} documents are not all that were written`);
    this.checksums = checksums;
    return loaded;
  }

  /** Applies all changes or none; on the disk when it resolves. */
  async write(changes: readonly Change[]): Promise<void> {
    this.assertOpen();
    if (changes.length === 0) return;
    for (const { key, value } of changes) {
      if (value === undefined) this.checksums.delete(key);
      else this.checksums.set(key, checksum(key, value));
    }
    const sum = sumOf(this.checksums.values());
    try {
      await this.root.batch(() => {
        for (const { key, value } of changes) {
          // The promises of a batch's parts settle with the batch.
          if (value === undefined) void this.documents.remove(key);
          else void this.documents.put(key, seal(key, value));
        }
        void this.facts.put('sum', sum);
      });
    } catch (thrown) {
      throw writeError(this.path, await commitFailure(thrown));
    }
  }

  /** One more than ever before, on the disk when it resolves. */
  async nextTerm(): Promise<number> {
    this.assertOpen();
    const stored = this.facts.get('term');
    const term = stored === undefined ? 0 : Number(unseal('term', stored));
    if (!Number.isSafeInteger(term)) throw damaged(this.path, 'the term is not what was written');
    await this.putFact('term', String(term + 1));
    return term + 1;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.root.close();
  }

  private async checkFormat(): Promise<void> {
    const stored = this.facts.get('format');
    if (stored === undefined) {
      if (this.documents.getKeysCount() > 0) throw damaged(this.path, 'it does not say what format it is in');
      await this.putFact('format', String(STORE_FORMAT));
      return;
    }
    const format = Number(unseal('format', stored));
    if (!Number.isSafeInteger(format)) throw damaged(this.path, 'the format is not what was written');
    if (format > STORE_FORMAT) {
      throw new AppError(
        'FAILED_PRECONDITION',
        `'${this.path}' has format ${format}, which a newer version wrote; this one reads up to format ${STORE_FORMAT}: run the newer version`,
      );
    }
  }

  private async putFact(name: string, value: string): Promise<void> {
    try {
      await this.facts.put(name, seal(name, value));
    } catch (thrown) {
      throw writeError(this.path, await commitFailure(thrown));
    }
  }

  private assertOpen(): void {
    if (this.closed) throw new AppError('UNAVAILABLE', `'${this.path}' is closed`);
  }
}

/** Nobody else can change the documents: the directory is locked. */
class EmbeddedPersister implements Persister {
  private mustLoad = false;

  constructor(
    private readonly file: StoreFile,
    private readonly closeStore: () => Promise<void>,
  ) {}

  async load(): Promise<ReadonlyMap<string, string>> {
    const documents = this.file.load();
    this.mustLoad = false;
    return documents;
  }

  async write(groups: readonly (readonly Change[])[]): Promise<void> {
    for (const group of groups) validateGroup(group);
    if (this.mustLoad) throw new AppError('ABORTED', 'an earlier write failed: load the documents again before writing');
    try {
      await this.file.write(groups.flat());
    } catch (thrown) {
      this.mustLoad = true;
      throw thrown;
    }
  }

  close(): Promise<void> {
    return this.closeStore();
  }
}

function damaged(path: string, problem: string): AppError {
  return new AppError(
    'DATA_LOSS',
    `'${path}' is damaged: ${problem}. Nothing was changed. Put back a copy of it; without one, the ranges that nodes hold are only known to the nodes`,
  );
}

function openError(path: string, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const why = messageOf(thrown);
  if (/permission|EACCES|EROFS|read-only/i.test(why)) {
    return new AppError('PERMISSION_DENIED', `'${path}' cannot be opened: ${why}; it must be writable for this user`, { cause: thrown });
  }
  return new AppError('DATA_LOSS', `'${path}' cannot be opened: ${why}`, { cause: thrown });
}

function writeError(path: string, thrown: unknown): AppError {
  const why = messageOf(thrown);
  const full = isDiskFull(thrown, dirname(path));
  return new AppError(
    full ? 'RESOURCE_EXHAUSTED' : 'UNAVAILABLE',
    full ? `'${path}' cannot be written, the disk is full: free some space (${why})` : `'${path}' cannot be written: ${why}`,
    { cause: thrown },
  );
}
