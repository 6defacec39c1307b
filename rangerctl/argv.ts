/** Flags that are followed by a value; all others stand alone. */
const VALUE_FLAGS = ['addr', 'proxy', 'timeout', 'prefix', 'start', 'end', 'limit', 'token', 'from-offset'];
const SWITCHES = ['reverse', 'keys-only', 'resume', 'if-absent', 'json', 'no-json', 'request', 'render', 'steps', 'accept-data-loss', 'help', 'version'];

export interface CommandLine {
  /** Undefined when none was given. */
  readonly command: string | undefined;
  /** Arguments and flags, flags with two dashes. */
  readonly rest: readonly string[];
  readonly help: boolean;
  readonly version: boolean;
}

/**
 * Takes the words as the Go tools do too: a long flag may have one dash (`-addr`),
 * and may stand before the command (`rangerctl -addr localhost:5000 nodes`).
 */
export function readCommandLine(argv: readonly string[]): CommandLine {
  let command: string | undefined;
  let help = false;
  let version = false;
  const rest: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    if (word === '--') {
      rest.push(...argv.slice(i));
      break;
    }
    const flag = longFlag(word);
    if (flag === 'help' || word === '-h') help = true;
    else if (flag === 'version' || word === '-V') version = true;
    else if (flag !== undefined) {
      const { name, value } = splitFlag(flag);
      const takesValue = VALUE_FLAGS.includes(name);
      rest.push(`--${name}`);
      if (value !== undefined) rest.push(value);
      else if (takesValue && argv[i + 1] !== undefined) rest.push(argv[++i] ?? '');
    } else if (command === undefined && !word.startsWith('-')) command = word;
    else rest.push(word);
  }
  if (command === 'help') return { command: rest.find((word) => !word.startsWith('-')), rest: [], help: true, version };
  return { command, rest, help, version };
}

/** `addr=x` of `-addr=x` and `--addr=x`; undefined for what is no flag of ours. */
function longFlag(word: string): string | undefined {
  const match = /^--?([a-z][a-z-]*)(=.*)?$/s.exec(word);
  const name = match?.[1];
  if (name === undefined || !(VALUE_FLAGS.includes(name) || SWITCHES.includes(name))) return undefined;
  return `${name}${match?.[2] ?? ''}`;
}

function splitFlag(flag: string): { name: string; value: string | undefined } {
  const equals = flag.indexOf('=');
  return equals < 0 ? { name: flag, value: undefined } : { name: flag.slice(0, equals), value: flag.slice(equals + 1) };
}
