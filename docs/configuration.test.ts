import { describe, expect, test } from 'vitest';
import { CONTROLLER_OPTIONS } from '../controller/config.js';
import { NODE_OPTIONS } from '../node/config.js';
import { PROXY_OPTIONS } from '../proxy/config.js';
import { helpText, type OptionSpec, type Spec } from '../runtime/config.js';
import { SPEC as DEV_OPTIONS } from '../tools/dev/options.js';
import { SPEC as HAMMER_OPTIONS } from '../tools/hammer/options.js';
import { expectSection, sectionsOf, table } from './sections.js';

const PAGE = 'configuration.md';

const SOURCES: Readonly<Record<string, Spec>> = {
  'controller/config.ts': CONTROLLER_OPTIONS,
  'node/config.ts': NODE_OPTIONS,
  'proxy/config.ts': PROXY_OPTIONS,
  'tools/dev/options.ts': DEV_OPTIONS,
  'tools/hammer/options.ts': HAMMER_OPTIONS,
};

function flag(option: OptionSpec): string {
  const long = `\`--${option.flag}\``;
  return option.short === undefined ? long : `\`-${option.short}\`, ${long}`;
}

function fallback(option: OptionSpec): string {
  if (option.default === undefined) return option.kind === 'boolean' ? '`false`' : '';
  if (option.default === '') return '';
  return `\`${option.kind === 'list' ? option.default.join(',') : option.default}\``;
}

function meaning(option: OptionSpec): string {
  return option.kind === 'choice' ? `${option.help} One of ${option.choices.map((choice) => `\`${choice}\``).join(', ')}.` : option.help;
}

function flagsTable(spec: Spec): string {
  const rows = Object.values(spec).map((option) => [flag(option), option.env === undefined ? '' : `\`${option.env}\``, fallback(option), meaning(option)]);
  return table(['flag', 'variable', 'default', ''], rows);
}

describe('docs/configuration.md', () => {
  test.each(Object.entries(SOURCES))('has every flag of %s', (source, spec) => {
    expectSection(PAGE, source, flagsTable(spec));
  });

  test('has a section of every program', () => {
    expect(sectionsOf(PAGE).sort()).toEqual(Object.keys(SOURCES).sort());
  });

  test.each(Object.entries(SOURCES))('tells what --help of %s tells', (_source, spec) => {
    const help = helpText({ name: 'program', summary: '' }, spec);
    for (const option of Object.values(spec)) {
      expect(help).toContain(`--${option.flag}`);
      if (option.env !== undefined) expect(help).toContain(`env ${option.env}`);
    }
  });
});
