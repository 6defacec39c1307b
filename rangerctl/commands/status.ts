import { BaseCommand, COMMON_FLAGS, CONTROLLER_FLAGS, QUERY_TIMEOUT_MS } from '../base.js';
import { EXIT } from '../failure.js';

export default class Status extends BaseCommand {
  static override summary = 'Say whether all is well, and if not, what waits for what, since when, and what to do.';
  static override description = 'Exit status: 0 all is well, 5 every key is served and something is being worked on, 1 keys or an operator wait.';
  static override examples = ['<%= config.bin %> status', '<%= config.bin %> status >/dev/null || echo look at it'];
  static override flags = { ...CONTROLLER_FLAGS, ...COMMON_FLAGS };

  async run(): Promise<void> {
    const { flags } = await this.parse(Status);
    const query = { kind: 'status' } as const;
    const timeoutMs = this.timeoutMs(flags, QUERY_TIMEOUT_MS);
    if (flags.request) return this.printRequest(query);
    await this.withController(flags, async (admin) => {
      if (this.wantsJson(flags)) {
        const json = await admin.json(query, { timeoutMs });
        this.exitCode = exitCodeOf((json as { readonly health?: unknown }).health);
        return this.printJson(json);
      }
      const [status, { healthOf, statusText }] = await Promise.all([admin.status({ timeoutMs }), import('../status-text.js')]);
      this.exitCode = exitCodeOf(healthOf(status).toUpperCase());
      return this.printText(statusText(status, this.colours));
    });
  }
}

function exitCodeOf(health: unknown): number {
  if (health === 'HEALTHY') return EXIT.ok;
  return health === 'BUSY' ? EXIT.busy : EXIT.degraded;
}
