import { unreachable } from './errors.js';
import { suggest } from './suggest.js';
import { type Address, formatAddress, formatBytes, formatDuration, parseAddress, parseBytes, parseDuration } from './units.js';

/**
 * A process is configured by one table. From it come the flags, the environment
 * variables, the defaults, the checks and the `--help`. A flag wins over its
 * variable, which wins over the default. Every problem is found in one go.
 */

interface OptionBase {
  /** Without dashes. `-flag` is taken like `--flag`. */
  readonly flag: string;
  /** A second, one-letter name. */
  readonly short?: string;
  readonly env?: string;
  readonly help: string;
  /** Must be given when there is no default. */
  readonly required?: boolean;
}

interface NumberBase extends OptionBase {
  readonly min?: number;
  readonly max?: number;
}

/** Defaults are written as a user would write them, and are checked like what users write. */
export type OptionSpec =
  | (OptionBase & { readonly kind: 'string'; readonly default?: string; readonly check?: (value: string) => string | undefined })
  | (OptionBase & { readonly kind: 'address'; readonly default?: string })
  | (NumberBase & { readonly kind: 'number'; readonly default?: number })
  | (NumberBase & { readonly kind: 'integer'; readonly default?: number })
  | (NumberBase & { readonly kind: 'bytes'; readonly default?: string })
  | (NumberBase & { readonly kind: 'duration'; readonly default?: string })
  | (OptionBase & { readonly kind: 'boolean'; readonly default?: boolean })
  | (OptionBase & { readonly kind: 'choice'; readonly choices: readonly string[]; readonly default?: string })
  | (OptionBase & { readonly kind: 'list'; readonly default?: readonly string[] });

export type Spec = Readonly<Record<string, OptionSpec>>;

type ValueOf<O extends OptionSpec> = O extends { kind: 'address' }
  ? Address
  : O extends { kind: 'number' | 'integer' | 'bytes' | 'duration' }
    ? number
    : O extends { kind: 'boolean' }
      ? boolean
      : O extends { kind: 'choice'; choices: readonly (infer C)[] }
        ? C
        : O extends { kind: 'list' }
          ? readonly string[]
          : string;

/** Always there: booleans and lists, what has a default, and what is required. */
type IsGiven<O> = O extends { kind: 'boolean' | 'list' } ? true : O extends { default: unknown } ? true : O extends { required: true } ? true : false;

export type ConfigOf<S extends Spec> = {
  readonly [K in keyof S]: IsGiven<S[K]> extends true ? ValueOf<S[K]> : ValueOf<S[K]> | undefined;
};

export interface Program {
  readonly name: string;
  readonly summary: string;
  /** Behind the name in the first line of the help; `[flags]` by default. */
  readonly usage?: string;
  /** Printed below the flags. */
  readonly notes?: string;
}

export type Parsed<S extends Spec> =
  | { readonly kind: 'config'; readonly config: ConfigOf<S> }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'problems'; readonly problems: readonly string[] };

/** Reads the configuration; prints the help and exits 0, or every problem and exits 2. */
export function loadConfig<const S extends Spec>(program: Program, spec: S, argv: readonly string[], env: NodeJS.ProcessEnv): ConfigOf<S> {
  const parsed = parseConfig(program, spec, argv, env);
  switch (parsed.kind) {
    case 'config':
      return parsed.config;
    case 'help':
      process.stdout.write(parsed.text);
      return process.exit(0);
    case 'problems':
      for (const problem of parsed.problems) process.stderr.write(`${program.name}: ${problem}\n`);
      process.stderr.write(`${program.name}: \`${program.name} --help\` lists every flag\n`);
      return process.exit(2);
    default:
      return unreachable(parsed);
  }
}

/** The pure part of {@link loadConfig}. */
export function parseConfig<const S extends Spec>(program: Program, spec: S, argv: readonly string[], env: NodeJS.ProcessEnv): Parsed<S> {
  const problems: string[] = [];
  const given = readFlags(spec, argv, problems);
  if (given.help) return { kind: 'help', text: helpText(program, spec) };
  const config: Record<string, unknown> = {};
  for (const [name, option] of Object.entries<OptionSpec>(spec)) {
    const value = resolve(option, given.values.get(option.flag), env);
    if (value instanceof Problem) problems.push(value.text);
    else config[name] = value;
  }
  if (problems.length > 0) return { kind: 'problems', problems };
  return { kind: 'config', config: Object.freeze(config) as ConfigOf<S> };
}

class Problem {
  constructor(readonly text: string) {}
}

interface Flags {
  readonly help: boolean;
  readonly values: ReadonlyMap<string, readonly string[]>;
}

function readFlags(spec: Spec, argv: readonly string[], problems: string[]): Flags {
  const options = new Map<string, OptionSpec>();
  for (const option of Object.values(spec)) {
    options.set(option.flag, option);
    if (option.short !== undefined) options.set(option.short, option);
  }
  const values = new Map<string, string[]>();
  let help = false;
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    const match = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(word);
    const [, flag = '', inline] = match ?? [];
    if (flag === 'help' || flag === 'h') {
      help = true;
      continue;
    }
    const negated = flag.startsWith('no-') && options.get(flag.slice(3))?.kind === 'boolean' ? flag.slice(3) : undefined;
    const option = options.get(negated ?? flag);
    if (!match) {
      problems.push(`${JSON.stringify(word)} is not a flag, and no arguments are taken`);
    } else if (!option) {
      const close = suggest(flag, options.keys());
      problems.push(`unknown flag --${flag}${close === undefined ? '' : `, did you mean --${close}?`}`);
      // What follows is most likely its value: one mistake, one line.
      if (inline === undefined && argv[i + 1] !== undefined && !argv[i + 1]?.startsWith('-')) i++;
    } else if (negated !== undefined) {
      if (inline !== undefined) problems.push(`--${flag} takes no value`);
      values.set(option.flag, ['false']);
    } else if (option.kind === 'boolean') {
      values.set(option.flag, [inline ?? 'true']);
    } else if (inline === undefined && (argv[i + 1] === undefined || argv[i + 1]?.startsWith('--'))) {
      problems.push(`--${flag} needs a value: ${expected(option)}`);
    } else {
      const value = inline ?? argv[++i] ?? '';
      const earlier = option.kind === 'list' ? (values.get(option.flag) ?? []) : [];
      values.set(option.flag, [...earlier, value]);
    }
  }
  return { help, values };
}

function resolve(option: OptionSpec, given: readonly string[] | undefined, env: NodeJS.ProcessEnv): unknown {
  const fromEnv = option.env === undefined ? undefined : env[option.env];
  if (given !== undefined) return parseAll(option, given, `--${option.flag}`);
  if (fromEnv !== undefined && fromEnv !== '') return parseAll(option, [fromEnv], option.env ?? '');
  if (option.default !== undefined) {
    const texts = Array.isArray(option.default) ? (option.default as readonly string[]) : [String(option.default)];
    return parseAll(option, texts, `the default of --${option.flag}`);
  }
  if (option.kind === 'boolean') return false;
  if (option.kind === 'list') return [];
  if (!option.required) return undefined;
  const orEnv = option.env === undefined ? '' : ` or ${option.env}`;
  return new Problem(`--${option.flag}${orEnv} is required: ${expected(option)}`);
}

function parseAll(option: OptionSpec, texts: readonly string[], where: string): unknown {
  if (option.kind === 'list') {
    return Object.freeze(texts.flatMap((text) => text.split(',')).map((text) => text.trim()).filter((text) => text !== ''));
  }
  const text = texts.at(-1) ?? '';
  const value = parse(option, text);
  if (value === undefined) return new Problem(`${where} is ${JSON.stringify(text)}, but must be ${expected(option)}`);
  if (option.kind === 'string') {
    const objection = option.check?.(text);
    if (objection !== undefined) return new Problem(`${where} is ${JSON.stringify(text)}: ${objection}`);
  }
  return value;
}

function parse(option: Exclude<OptionSpec, { kind: 'list' }>, text: string): unknown {
  switch (option.kind) {
    case 'string':
      return text;
    case 'address':
      return parseAddress(text);
    case 'number':
      return within(option, /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined);
    case 'integer':
      return within(option, /^-?\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined);
    case 'bytes':
      return within(option, parseBytes(text));
    case 'duration':
      return within(option, parseDuration(text));
    case 'boolean':
      if (/^(true|1|yes|on)$/i.test(text)) return true;
      return /^(false|0|no|off)$/i.test(text) ? false : undefined;
    case 'choice':
      return option.choices.includes(text) ? text : undefined;
    default:
      return unreachable(option);
  }
}

function within(option: NumberBase, value: number | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (option.min !== undefined && value < option.min) return undefined;
  if (option.max !== undefined && value > option.max) return undefined;
  return value;
}

/** What a good value looks like, for people whose value was not. */
function expected(option: OptionSpec): string {
  switch (option.kind) {
    case 'string':
      return 'text';
    case 'address':
      return 'host:port, such as localhost:5200';
    case 'number':
      return `a number${bounds(option, String)}`;
    case 'integer':
      return `a whole number${bounds(option, String)}`;
    case 'bytes':
      return `a size such as 64KiB or 16MiB${bounds(option, formatBytes)}`;
    case 'duration':
      return `a duration such as 500ms, 10s or 2m${bounds(option, formatDuration)}`;
    case 'boolean':
      return 'true or false';
    case 'choice':
      return `one of ${option.choices.join(', ')}`;
    case 'list':
      return 'values separated by commas';
    default:
      return unreachable(option);
  }
}

function bounds(option: NumberBase, format: (value: number) => string): string {
  const { min, max } = option;
  if (min !== undefined && max !== undefined) return `, from ${format(min)} to ${format(max)}`;
  if (min !== undefined) return `, at least ${format(min)}`;
  return max === undefined ? '' : `, at most ${format(max)}`;
}

const HELP_WIDTH = 100;

export function helpText(program: Program, spec: Spec): string {
  const rows = Object.values(spec).map((option) => ({ left: leftOf(option), right: describe(option) }));
  rows.push({ left: '--help', right: 'Show this.' });
  const width = Math.min(Math.max(...rows.map((row) => row.left.length)), 34);
  const lines = [program.summary, '', `Usage: ${program.name} ${program.usage ?? '[flags]'}`, '', 'Flags:'];
  for (const { left, right } of rows) {
    const wrapped = wrap(right, HELP_WIDTH - width - 6);
    lines.push(`  ${left.padEnd(width)}  ${wrapped[0] ?? ''}`.trimEnd());
    for (const more of wrapped.slice(1)) lines.push(`${' '.repeat(width + 4)}${more}`);
  }
  if (program.notes !== undefined) lines.push('', program.notes);
  return `${lines.join('\n')}\n`;
}

function leftOf(option: OptionSpec): string {
  const short = option.short === undefined ? '' : `-${option.short}, `;
  return `${short}--${option.flag}${argument(option)}`;
}

function argument(option: OptionSpec): string {
  switch (option.kind) {
    case 'boolean':
      return '';
    case 'string':
      return ' TEXT';
    case 'address':
      return ' HOST:PORT';
    case 'number':
    case 'integer':
      return ' N';
    case 'bytes':
      return ' SIZE';
    case 'duration':
      return ' DURATION';
    case 'choice':
      return ` ${option.choices.join('|')}`;
    case 'list':
      return ' A,B,…';
    default:
      return unreachable(option);
  }
}

/** Stands for a space at which no line is broken. */
const GLUE = '\u00a0';

function describe(option: OptionSpec): string {
  const facts: string[] = [];
  if (option.env !== undefined) facts.push(`env${GLUE}${option.env}`);
  if (option.required) facts.push('required');
  const fallback = defaultText(option);
  if (fallback !== undefined) facts.push(`default${GLUE}${fallback}`);
  return facts.length === 0 ? option.help : `${option.help} (${facts.join('; ')})`;
}

function defaultText(option: OptionSpec): string | undefined {
  if (option.kind === 'boolean') return String(option.default ?? false);
  if (option.default === undefined) return undefined;
  if (option.kind === 'list') return option.default.length === 0 ? undefined : option.default.join(',');
  if (option.kind === 'address') {
    const address = parseAddress(option.default);
    return address ? formatAddress(address) : option.default;
  }
  return String(option.default);
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.map((full) => full.replaceAll(GLUE, ' '));
}

export { commonOptions, dataDirOption, dialable } from './common-options.js';
