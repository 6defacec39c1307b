import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';

/**
 * The table in a page of the docs behind `<!-- from SOURCE -->` is made from the
 * code: here it is compared with it. With REWRITE=1 it is written anew instead; read
 * the difference.
 */
export function expectSection(page: string, source: string, made: string): void {
  const path = new URL(page, import.meta.url);
  const mark = `<!-- from ${source} -->\n`;
  const text = readFileSync(path, 'utf8');
  const start = text.indexOf(mark) + mark.length;
  expect(start, `${page} has nothing from ${source}`).toBeGreaterThanOrEqual(mark.length);
  const end = start + (/^(\|.*\n)*/.exec(text.slice(start))?.[0].length ?? 0);
  const wanted = `${made.trim()}\n`;
  if (process.env['REWRITE'] === '1') writeFileSync(path, text.slice(0, start) + wanted + text.slice(end));
  else expect(text.slice(start, end), `REWRITE=1 npx vitest run docs brings ${page} up to date`).toBe(wanted);
}

/** The marks in a page, so that a page cannot lose a section unnoticed. */
export function sectionsOf(page: string): string[] {
  const text = readFileSync(new URL(page, import.meta.url), 'utf8');
  return [...text.matchAll(/^<!-- from (.*) -->$/gm)].map(([, source = '']) => source);
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}
