import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseStep } from '../model/notation.js';
import { PLACEMENT_TRANSITIONS } from '../model/states.js';

const folder = new URL('operations/', import.meta.url);
const scenarios = new URL('../test/scenarios/', import.meta.url);
const pages = readdirSync(folder).filter((name) => name.endsWith('.md'));
const read = (page: string): string => readFileSync(new URL(page, folder), 'utf8');

/** The rows of the tables that say which scenario shows what they promise. */
function promises(text: string): string[] {
  const rows: string[] = [];
  let within = false;
  for (const line of text.split('\n')) {
    if (!line.startsWith('|')) within = false;
    else if (line.endsWith('| shown by |')) within = true;
    else if (within && !line.startsWith('|---')) rows.push(line);
  }
  return rows;
}

/** Every scenario that is named, as it is shown and as it is linked. */
function named(text: string): { shown: string; linked: string }[] {
  return [...text.matchAll(/\[([\w-]+)\]\(\.\.\/\.\.\/test\/scenarios\/([^)]+)\)/g)].map(([, shown = '', linked = '']) => ({ shown, linked }));
}

describe.each(pages)('docs/operations/%s', (page) => {
  const text = read(page);

  test('names scenarios that there are', () => {
    expect(named(text).length).toBeGreaterThan(0);
    for (const { shown, linked } of named(text)) {
      expect(linked).toBe(`${shown}.scenario`);
      expect(existsSync(new URL(linked, scenarios)), `${page} names ${linked}, which does not exist`).toBe(true);
    }
  });

  test('promises nothing without a scenario', () => {
    const without = promises(text).filter((row) => named(row).length === 0);
    expect(promises(text).length).toBeGreaterThan(0);
    expect(without).toEqual([]);
  });

  test('shows steps that can happen', () => {
    const steps = [...text.matchAll(/`(R\d+ P[^`]* -> [^`]*)`/g)].map(([, step = '']) => step);
    for (const text of steps) {
      const step = parseStep(text);
      expect(step, text).toBeDefined();
      const edge = step?.from === 'New' || step?.to === 'Gone';
      const legal = PLACEMENT_TRANSITIONS.some(({ from, to }) => from === step?.from && to === step.to);
      const joins = [step?.from, step?.to].sort().join(' ') === 'InSync Learner';
      expect(edge || legal || joins, text).toBe(true);
    }
  });
});

test('every scenario is of an operation that has a page, or is named by one', () => {
  const all = readdirSync(scenarios).filter((name) => name.endsWith('.scenario'));
  const known = new Set(pages.flatMap((page) => named(read(page)).map(({ linked }) => linked)));
  const strangers = all.filter((name) => !known.has(name) && !pages.some((page) => name.startsWith(page.replace('.md', ''))));
  expect(strangers).toEqual([]);
});
