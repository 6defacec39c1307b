import { Config } from '@oclif/core/config';
import { settings } from '@oclif/core/settings';
import { suggest } from '../runtime/suggest.js';
import { readCommandLine } from './argv.js';
import type { BaseCommand } from './base.js';
import { COMMANDS, type CommandEntry, findCommand } from './commands.js';
import { EXIT, explain } from './failure.js';
import { type Io, bindIo, print } from './io.js';
import { Detached } from './operation.js';

/** Runs one command line to its end; the result is the exit code. Only here are errors printed. */
export async function runCli(argv: readonly string[], io: Io, version: string): Promise<number> {
  const line = readCommandLine(argv);
  if (line.version) {
    await print(io.stdout, `rangerctl ${version} node-${process.version}\n`);
    return EXIT.ok;
  }
  if (line.command === undefined) return withoutCommand(line.rest, line.help, io, version);
  const entry = findCommand(line.command);
  if (!entry) return complain(io, unknownCommand(line.command), EXIT.usage);
  const config = await loadConfig(version);
  if (line.help) {
    const { commandHelp } = await import('./help.js');
    await print(io.stdout, await commandHelp(entry, config));
    return EXIT.ok;
  }
  bindIo(config, io);
  return runCommand(entry, line.rest, config, io);
}

async function withoutCommand(rest: readonly string[], help: boolean, io: Io, version: string): Promise<number> {
  const { rootHelp } = await import('./help.js');
  if (rest.length > 0 && !help) return complain(io, `no command is given; ${listCommands()}`, EXIT.usage);
  await print(io.stdout, await rootHelp(version));
  return EXIT.ok;
}

async function runCommand(entry: CommandEntry, argv: readonly string[], config: Config, io: Io): Promise<number> {
  const { default: Command } = await entry.load();
  Command.id = entry.name;
  const command: BaseCommand = new Command([...argv], config);
  try {
    await command.execute();
    return command.exitCode;
  } catch (thrown) {
    if (thrown instanceof Detached) return complain(io, thrown.message, thrown.exitCode);
    const failure = explain(thrown, { command: command.called ?? entry.name, peer: command.peer, timeout: command.timeoutText });
    return complain(io, failure.message, failure.exitCode);
  }
}

async function complain(io: Io, message: string, exitCode: number): Promise<number> {
  await print(io.stderr, `rangerctl: ${message}\n`);
  return exitCode;
}

function unknownCommand(word: string): string {
  const close = suggest(word, COMMANDS.map((command) => command.name));
  return `${JSON.stringify(word)} is no command${close === undefined ? '' : `, did you mean ${close}?`}; ${listCommands()}`;
}

function listCommands(): string {
  return `commands are ${COMMANDS.map((command) => command.name).join(', ')}`;
}

/**
 * oclif parses and describes the commands. What it would do to find commands and
 * plugins takes longer than the commands themselves, so it is given everything.
 */
function loadConfig(version: string): Promise<Config> {
  settings.enableAutoTranspile = false;
  settings.performanceEnabled = false;
  const pjson = { name: 'rangerctl', version, type: 'module', oclif: { bin: 'rangerctl', dirname: 'rangerctl' } };
  return Config.load({ root: import.meta.dirname, pjson: pjson, version, devPlugins: false, userPlugins: false });
}
