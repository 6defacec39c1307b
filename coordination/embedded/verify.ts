import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { lmdbFileProblem } from '../../runtime/lmdb-file.js';

const READ_ALL_MS = 20_000;

/** Reads every entry of every database in the file, and ends. */
const READ_ALL = `
const { open } = await import(process.argv[1]);
const root = open({ path: process.argv[2], readOnly: true, maxDbs: 8 });
const names = [...root.getKeys()];
for (const name of names) {
  for (const entry of root.openDB({ name, encoding: 'binary' }).getRange()) entry.value.at(-1);
}
process.exit(0);
`;

/**
 * What is wrong with the file; undefined when all of it can be read. LMDB ends its
 * process with a signal on pages that make no sense, so a child reads first: the file
 * is small, and the message is worth the tenth of a second.
 */
export async function fileProblem(path: string): Promise<string | undefined> {
  const problem = lmdbFileProblem(path);
  if (problem !== undefined) return problem;
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size === 0) return undefined;
  const lmdb = import.meta.resolve('lmdb');
  return new Promise((resolve) => {
    const options = { timeout: READ_ALL_MS, killSignal: 'SIGKILL', env: {} } as const;
    execFile(process.execPath, ['--input-type=module', '--eval', READ_ALL, '--', lmdb, path], options, (error, _out, complaint) => {
      if (!error) resolve(undefined);
      else if (error.killed) resolve(`it could not be read within ${READ_ALL_MS / 1000} s`);
      else if (error.signal) resolve(`reading it ended with ${error.signal}`);
      else resolve(lastLine(complaint));
    });
  });
}

function lastLine(complaint: string): string {
  const line = complaint.split('\n').find((text) => /^\w*Error/.test(text));
  return line ?? 'it cannot be read';
}
