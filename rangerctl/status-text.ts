import { type StatusItem, type StatusResponse, StatusResponse_Health } from '../client/admin.js';
import { ageText } from './ages.js';

export function healthOf({ health }: { readonly health: StatusResponse_Health }): 'healthy' | 'busy' | 'degraded' {
  if (health === StatusResponse_Health.HEALTHY) return 'healthy';
  return health === StatusResponse_Health.BUSY ? 'busy' : 'degraded';
}

const VERDICTS = {
  healthy: 'all is well',
  busy: 'every key is served; something is being worked on',
  degraded: 'something needs attention',
} as const;
const COLOURS = { healthy: 32, busy: 33, degraded: 31 } as const;

/** One screen: the verdict, the counts, then each thing that is not as it should be with what to do. */
export function statusText(status: StatusResponse, colours: boolean): string {
  const health = healthOf(status);
  const verdict = paint(`${health}: ${VERDICTS[health]}`, COLOURS[health], colours);
  const unavailable = status.rangesUnavailable > 0n ? `, ${status.rangesUnavailable} unavailable` : '';
  const facts = `${status.nodesReachable} of ${status.nodes} nodes reachable; ${status.ranges} ${status.ranges === 1n ? 'range' : 'ranges'}${unavailable}; the controller ${status.controller}`;
  const items = status.items.flatMap((item) => ['', ...itemLines(item, colours)]);
  const more = status.itemsLeftOut > 0n ? ['', `… and ${status.itemsLeftOut} more; \`rangerctl ranges\` and \`rangerctl nodes\` show all`] : [];
  return [verdict, facts, ...items, ...more].join('\n');
}

function itemLines(item: StatusItem, colours: boolean): string[] {
  const since = item.forMs > 0n ? ` (for ${ageText(Number(item.forMs))})` : '';
  const lines = [`${paint(item.subject, COLOURS[healthOf(item)], colours)}${since}`, `  ${item.waiting}`];
  return item.todo === '' ? lines : [...lines, `  to do: ${item.todo}`];
}

function paint(text: string, colour: number, colours: boolean): string {
  return colours ? `\x1b[${colour}m${text}\x1b[39m` : text;
}
