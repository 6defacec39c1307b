import type { Config } from '@oclif/core/config';
import { CommandHelp } from '@oclif/core/help';
import { COMMANDS, type CommandEntry } from './commands.js';

/** One command's help, in oclif's form. */
export async function commandHelp(entry: CommandEntry, config: Config): Promise<string> {
  const { default: Command } = await entry.load();
  const flags = Object.fromEntries(Object.entries(Command.flags).map(([name, flag]) => [name, { ...flag, name }]));
  const args = Object.fromEntries(Object.entries(Command.args).map(([name, arg]) => [name, { ...arg, name }]));
  const described = {
    id: entry.name,
    aliases: [...entry.aliases],
    hiddenAliases: [],
    // It stands above already, and the description may begin with it.
    summary: undefined,
    description: withoutSummary(Command.description, Command.summary),
    examples: Command.examples,
    flags,
    args,
  };
  const help = new CommandHelp(described as never, config, {} as never);
  return `${Command.summary ?? ''}\n\n${help.generate()}\n`;
}

function withoutSummary(description: string | undefined, summary: string | undefined): string | undefined {
  const lines = (description ?? '').split('\n');
  const rest = lines[0] === summary ? lines.slice(1) : lines;
  return rest.join('\n') || undefined;
}

/** What there is. */
export async function rootHelp(version: string): Promise<string> {
  const rows = await Promise.all(
    COMMANDS.map(async (entry) => {
      const { default: Command } = await entry.load();
      const names = [entry.name, ...entry.aliases].join(', ');
      return `  ${names.padEnd(12)}  ${Command.summary ?? ''}`;
    }),
  );
  return [
    `rangerctl ${version}: looks at and reshapes a cluster.`,
    '',
    'Usage: rangerctl COMMAND [arguments] [flags]',
    '',
    'Commands:',
    ...rows,
    '',
    'Flags of every command:',
    '  --addr HOST:PORT     The controller (env RANGERCTL_ADDR; default localhost:5000).',
    '                       put, get, del, scan, watch-keys, export and import talk to a proxy: there --addr is the same as --proxy.',
    '  --proxy HOST:PORT    Of those (env RANGERCTL_PROXY; default localhost:5100).',
    '  --timeout DURATION   How long to wait, such as 500ms or 10s. Questions: 10s by default.',
    '                       move, split and join wait for the end; Ctrl-C stops the waiting, not the operation.',
    '  --json, --no-json    Force or forbid JSON; it is the default when the output is no terminal.',
    '  --request            Print the gRPC request instead of sending it.',
    '  --help, --version',
    '',
    'Flags may have one dash and may come before the command, as in the Go tool.',
    'Keys that are not printable go in and out as b64:…',
    'status exits with 0 when all is well, 5 when something is being worked on, 1 when keys or an operator wait.',
    'Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 not found, 4 not reachable or timed out,',
    '130 detached by Ctrl-C from an operation that goes on.',
    '',
  ].join('\n');
}
