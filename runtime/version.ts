import { readFileSync } from 'node:fs';

/** The package's version; compiled code lies one folder deeper than its source. */
export function readVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const { version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version?: unknown };
      if (typeof version === 'string') return version;
    } catch {
      continue;
    }
  }
  return 'unknown';
}
