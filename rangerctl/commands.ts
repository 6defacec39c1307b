import type { CommandClass } from './base.js';

export interface CommandEntry {
  readonly name: string;
  /** Short forms, as in the Go tool. */
  readonly aliases: readonly string[];
  /** Each command is a file of its own, read only when it runs. */
  readonly load: () => Promise<{ readonly default: CommandClass }>;
}

/** In the order of the help. */
export const COMMANDS: readonly CommandEntry[] = [
  { name: 'ranges', aliases: [], load: () => import('./commands/ranges.js') },
  { name: 'range', aliases: ['r'], load: () => import('./commands/range.js') },
  { name: 'nodes', aliases: [], load: () => import('./commands/nodes.js') },
  { name: 'node', aliases: ['n'], load: () => import('./commands/node.js') },
  { name: 'move', aliases: ['m'], load: () => import('./commands/move.js') },
  { name: 'transfer', aliases: ['t'], load: () => import('./commands/transfer.js') },
  { name: 'split', aliases: ['s'], load: () => import('./commands/split.js') },
  { name: 'join', aliases: ['j'], load: () => import('./commands/join.js') },
  { name: 'drain', aliases: [], load: () => import('./commands/drain.js') },
  { name: 'undrain', aliases: [], load: () => import('./commands/undrain.js') },
  { name: 'cordon', aliases: [], load: () => import('./commands/cordon.js') },
  { name: 'uncordon', aliases: [], load: () => import('./commands/uncordon.js') },
  { name: 'adopt', aliases: [], load: () => import('./commands/adopt.js') },
  { name: 'verify', aliases: [], load: () => import('./commands/verify.js') },
  { name: 'status', aliases: [], load: () => import('./commands/status.js') },
  { name: 'watch', aliases: [], load: () => import('./commands/watch.js') },
  { name: 'put', aliases: [], load: () => import('./commands/put.js') },
  { name: 'get', aliases: [], load: () => import('./commands/get.js') },
  { name: 'del', aliases: ['delete'], load: () => import('./commands/del.js') },
  { name: 'scan', aliases: [], load: () => import('./commands/scan.js') },
  { name: 'watch-keys', aliases: [], load: () => import('./commands/watch-keys.js') },
  { name: 'log', aliases: [], load: () => import('./commands/log.js') },
  { name: 'export', aliases: [], load: () => import('./commands/export.js') },
  { name: 'import', aliases: [], load: () => import('./commands/import.js') },
];

export function findCommand(word: string): CommandEntry | undefined {
  return COMMANDS.find((command) => command.name === word || command.aliases.includes(word));
}
