import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parseScenario, play, printScenario } from './script.js';

/*
 * Every *.scenario file, played against the controller's real core. With REWRITE=1
 * the files are written anew with what happened; read the difference, do not trust it.
 */

const folder = fileURLToPath(new URL('.', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.scenario'));
const rewrite = process.env['REWRITE'] === '1';

describe('scenarios', () => {
  it.each(files)('%s', (name) => {
    const path = `${folder}${name}`;
    const text = readFileSync(path, 'utf8');
    const played = printScenario(play(parseScenario(text)));
    if (rewrite) writeFileSync(path, played);
    else expect(played).toBe(text);
  });
});
