import { Command } from '@oclif/core/command';
import type { Config } from '@oclif/core/config';
import { boolean, string } from '@oclif/core/flags';
import type { AdminClient, Operation, Order, Query } from '../client/admin.js';
import { formatDuration } from '../runtime/units.js';
import type { Peer } from './failure.js';
import { readAddress, readTimeout } from './inputs.js';
import { type Io, ioOf, print } from './io.js';

export const CONTROLLER_FLAGS = {
  addr: string({ summary: 'The controller.', helpValue: 'HOST:PORT', env: 'RANGERCTL_ADDR', default: 'localhost:5000' }),
};

export const COMMON_FLAGS = {
  timeout: string({ summary: 'How long to wait for the answer.', helpValue: 'DURATION' }),
  json: boolean({ summary: 'Print JSON; the default when the output is no terminal.', allowNo: true }),
  request: boolean({ summary: 'Print the gRPC request instead of sending it.' }),
};

/** What every command has in common: whom it talks to, how long it waits, how it prints. */
export abstract class BaseCommand extends Command {
  /** What the shell is told when all went well; `status` says with it how the cluster is. */
  exitCode = 0;
  /** What it is called in messages, where that is more than its name. */
  called: string | undefined;
  /** Set as soon as it is known, for messages about failures. */
  peer: Peer | undefined;
  /** As given or by default, for messages. */
  timeoutText: string | undefined;

  protected get io(): Io {
    return ioOf(this.config);
  }

  /** oclif's own way in reads the configuration again for each command. */
  execute(): Promise<unknown> {
    return this._run();
  }

  protected wantsJson(flags: { readonly json?: boolean | undefined }): boolean {
    return flags.json ?? this.io.stdout.isTTY !== true;
  }

  protected get colours(): boolean {
    const { env, stdout } = this.io;
    return stdout.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
  }

  protected async printJson(json: unknown): Promise<void> {
    await print(this.io.stdout, `${JSON.stringify(json, null, 2)}\n`);
  }

  protected async printText(text: string): Promise<void> {
    await print(this.io.stdout, text.endsWith('\n') ? text : `${text}\n`);
  }

  protected timeoutMs(flags: { readonly timeout?: string | undefined }, defaultMs: number): number;
  protected timeoutMs(flags: { readonly timeout?: string | undefined }, defaultMs: undefined): number | undefined;
  protected timeoutMs(flags: { readonly timeout?: string | undefined }, defaultMs: number | undefined): number | undefined {
    const ms = flags.timeout === undefined ? defaultMs : readTimeout(flags.timeout);
    this.timeoutText = ms === undefined ? undefined : formatDuration(ms);
    return ms;
  }

  protected async printRequest(request: Query | Operation | Order): Promise<void> {
    const { requestJson } = await import('../client/admin.js');
    await this.printJson(await requestJson(request));
  }

  protected async withController<T>(flags: { readonly addr: string }, use: (admin: AdminClient) => Promise<T>): Promise<T> {
    const address = readAddress(flags.addr, '--addr', 'localhost:5000');
    this.peer = { role: 'controller', address, flag: '--addr' };
    const { AdminClient } = await import('../client/admin.js');
    const admin = new AdminClient({ address, clock: this.io.clock });
    try {
      return await use(admin);
    } finally {
      admin.close();
    }
  }
}

export type CommandClass = (new (argv: string[], config: Config) => BaseCommand) &
  Pick<typeof Command, 'id' | 'summary' | 'description' | 'examples' | 'flags' | 'args'>;

/** Questions are answered from memory: who does not answer soon will not. */
export const QUERY_TIMEOUT_MS = 10_000;
