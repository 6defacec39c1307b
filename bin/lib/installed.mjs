// Exits 0 when node_modules holds what package-lock.json asks for. npm notes what it
// installed in node_modules/.package-lock.json, so it need not be asked.
import { readFileSync } from 'node:fs';

const root = process.argv[2];

function packages(file) {
  try {
    return JSON.parse(readFileSync(`${root}/${file}`, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

const wanted = packages('package-lock.json');
const installed = packages('node_modules/.package-lock.json');
const differs = ([path, { version, optional, peer }]) => {
  if (path === '') return false;
  // Packages for other platforms are left out by npm.
  return installed[path] ? installed[path].version !== version : !(optional || peer);
};
process.exit(wanted && installed && !Object.entries(wanted).some(differs) ? 0 : 1);
