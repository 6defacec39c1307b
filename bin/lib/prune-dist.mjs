// tsc leaves the output of sources that are gone. It would be found: commands, for
// one, are looked up by listing a folder.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';

const root = process.argv[2];
const dist = join(root, 'dist');
/** What tsc makes of one source. */
const MADE = /\.(js|js\.map|d\.ts)$/;

for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !MADE.test(entry.name)) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  const source = join(root, relative(dist, path).replace(MADE, '.ts'));
  if (!existsSync(source)) rmSync(path);
}
