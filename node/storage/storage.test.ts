import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import { describe, expect, it } from 'vitest';
import { systemRandom } from '../../runtime/random.js';
import { storageContract } from './contract.js';
import { openLmdb } from './lmdb.js';
import { MemoryStorage } from './memory.js';

storageContract('memory', { open: () => new MemoryStorage('test'), cleanUp: () => Promise.resolve() });

let dir = '';
const openDir = (): ReturnType<typeof openLmdb> => openLmdb({ dir, random: systemRandom, durable: true });
storageContract('lmdb', {
  open: () => {
    dir = mkdtempSync(join(tmpdir(), 'storage-'));
    return openDir();
  },
  reopen: openDir,
  cleanUp: () => {
    rmSync(dir, { recursive: true, force: true });
    return Promise.resolve();
  },
});

describe('an lmdb directory that cannot be used', () => {
  const inDirectory = (test: (path: string) => void | Promise<void>) => async (): Promise<void> => {
    const path = mkdtempSync(join(tmpdir(), 'storage-'));
    try {
      await test(path);
    } finally {
      rmSync(path, { recursive: true, force: true });
    }
  };

  it(
    'is refused when a newer version wrote it, and left as it was',
    inDirectory(async (path) => {
      const env = open<Buffer, string>({ path: join(path, 'data.mdb'), noSubdir: true, maxDbs: 8, encoding: 'binary' });
      const meta = env.openDB<Buffer, string>({ name: 'meta', encoding: 'binary', keyEncoding: 'ordered-binary' });
      await meta.put('format', Buffer.from('99'));
      await env.close();
      expect(() => openLmdb({ dir: path, random: systemRandom, durable: true })).toThrow(/format 99.*format 2.*newer/);
    }),
  );

  it(
    'is refused when its file is damaged',
    inDirectory((path) => {
      writeFileSync(join(path, 'data.mdb'), Buffer.alloc(64 * 1024, 0x5a));
      expect(() => openLmdb({ dir: path, random: systemRandom, durable: true })).toThrow(/damaged/);
    }),
  );

  it(
    'is refused when a file is in its place',
    inDirectory((path) => {
      writeFileSync(join(path, 'file'), 'x');
      expect(() => openLmdb({ dir: join(path, 'file'), random: systemRandom, durable: true })).toThrow(/data directory/);
    }),
  );
});
