import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';

/** A file that is being written, from somewhere on. */
export interface Writing {
  append(bytes: string): Promise<void>;
  /** What was appended is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Files as export and import need them. */
export interface Files {
  /** In bytes; undefined when it is not there. */
  size(path: string): Promise<number | undefined>;
  read(path: string, from: number): AsyncIterable<Uint8Array>;
  /** Cuts off what is behind `from`, and goes on there. */
  write(path: string, from: number): Promise<Writing>;
  /** A small file as a whole; undefined when it is not there. */
  load(path: string): Promise<string | undefined>;
  /** The old one or the new one, never half of one. */
  replace(path: string, text: string): Promise<void>;
  remove(path: string): Promise<void>;
}

export const diskFiles: Files = {
  size: async (path) => {
    try {
      return (await stat(path)).size;
    } catch (thrown) {
      absent(thrown); return;
    }
  },
  read: (path, from) => createReadStream(path, { start: from }),
  write: async (path, from) => {
    const file = await open(path, from === 0 ? 'w' : 'r+');
    await file.truncate(from);
    let at = from;
    return {
      append: async (text) => {
        const bytes = Buffer.from(text);
        for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
        at += bytes.length;
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  },
  load: async (path) => {
    try {
      return await readFile(path, 'utf8');
    } catch (thrown) {
      absent(thrown); return;
    }
  },
  replace: async (path, text) => {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  },
  remove: (path) => rm(path, { force: true }),
};

function absent(thrown: unknown): undefined {
  if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  throw thrown;
}
