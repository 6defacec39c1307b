import Table from 'cli-table3';
import type { NodeRangeView, NodeView, PlacementView, RangeView } from '../client/admin.js';
import { formatInterval } from '../model/interval.js';
import { formatKey } from '../model/key.js';
import type { RangeInfo } from '../model/report.js';
import { formatBytes } from '../runtime/units.js';
import { ageText } from './ages.js';

/*
 * What a terminal shows: columns, no lines, in the notation of logs and documents.
 */

interface Column<T> {
  readonly head: string;
  readonly of: (row: T) => string;
  readonly right?: boolean;
  /** Holds states, which a terminal shows in colour. */
  readonly states?: boolean;
}

const RANGE_COLUMNS: readonly Column<RangeView>[] = [
  { head: 'RANGE', of: (range) => `R${range.meta.id}` },
  { head: 'KEYS', of: (range) => formatInterval(range.meta) },
  { head: 'STATE', of: (range) => range.state, states: true },
  { head: 'PLACEMENTS', of: (range) => range.placements.map((placement) => placementText(placement, range)).join(', ') || '-', states: true },
  { head: 'COPIES', of: copiesText },
  { head: 'COUNT', of: (range) => amount(busiest(range)?.load.keys), right: true },
  { head: 'SIZE', of: (range) => size(busiest(range)), right: true },
  { head: 'READS/S', of: (range) => rate(busiest(range)?.load.readsPerSecond), right: true },
  { head: 'WRITES/S', of: (range) => rate(busiest(range)?.load.writesPerSecond), right: true },
  { head: 'UNAVAILABLE', of: (range) => (range.unavailableMs === undefined ? '' : `for ${ageText(range.unavailableMs)}`) },
  { head: 'WAITING FOR', of: (range) => range.waiting },
];

const NODE_COLUMNS: readonly Column<NodeView>[] = [
  { head: 'NODE', of: (node) => node.ident },
  { head: 'ADDRESS', of: (node) => node.address },
  { head: 'ZONE', of: (node) => node.zone },
  { head: 'STATUS', of: nodeStatus, states: true },
  { head: 'WHY', of: (node) => node.trouble },
  { head: 'RANGES', of: (node) => String(node.ranges.length), right: true },
  { head: 'ACTIVE', of: (node) => String(node.ranges.filter((range) => range.state === 'Active').length), right: true },
  { head: 'COUNT', of: (node) => amount(sum(node, (info) => info.load.keys)), right: true },
  { head: 'SIZE', of: (node) => formatBytes(Math.round(sum(node, (info) => info.load.bytes))), right: true },
  { head: 'READS/S', of: (node) => rate(sum(node, (info) => info.load.readsPerSecond)), right: true },
  { head: 'WRITES/S', of: (node) => rate(sum(node, (info) => info.load.writesPerSecond)), right: true },
];

const PLACEMENT_COLUMNS: readonly Column<PlacementView>[] = [
  { head: 'PLACEMENT', of: (placement) => `P${placement.index}@${placement.node}` },
  { head: 'WANTED', of: (placement) => placement.state, states: true },
  ...reportColumns<PlacementView>((placement) => placement.report, (placement) => placement.state === 'Missing'),
];

/** Of a range with several copies. */
const COPY_COLUMNS: readonly Column<PlacementView>[] = [
  ...PLACEMENT_COLUMNS.slice(0, 2),
  { head: 'ROLE', of: roleText },
  { head: 'BEHIND', of: (placement) => (placement.lagBytes > 0 ? formatBytes(placement.lagBytes) : '') },
  ...PLACEMENT_COLUMNS.slice(2),
];

const NODE_RANGE_COLUMNS: readonly Column<NodeRangeView>[] = [
  { head: 'RANGE', of: (range) => `R${range.meta.id}` },
  { head: 'KEYS', of: (range) => formatInterval(range.meta) },
  { head: 'WANTED', of: (range) => range.state, states: true },
  ...reportColumns<NodeRangeView>((range) => range.report),
];

/** `isPast`: the node has not been heard since, or is another by now. */
function reportColumns<T>(reportOf: (row: T) => RangeInfo | undefined, isPast: (row: T) => boolean = () => false): Column<T>[] {
  const stateOf = (row: T): string => {
    const state = reportOf(row)?.state ?? '-';
    return isPast(row) && state !== '-' ? `was ${state}` : state;
  };
  return [
    { head: 'REPORTED', of: stateOf, states: true },
    { head: 'COUNT', of: (row) => amount(reportOf(row)?.load.keys), right: true },
    { head: 'SIZE', of: (row) => size(reportOf(row)), right: true },
    { head: 'READS/S', of: (row) => rate(reportOf(row)?.load.readsPerSecond), right: true },
    { head: 'WRITES/S', of: (row) => rate(reportOf(row)?.load.writesPerSecond), right: true },
    { head: 'LAST ERROR', of: (row) => reportOf(row)?.lastError ?? '' },
  ];
}

export function rangesTable(ranges: readonly RangeView[], colours: boolean): string {
  return ranges.length === 0 ? 'no ranges' : table(RANGE_COLUMNS, ranges, colours);
}

export function nodesTable(nodes: readonly NodeView[], colours: boolean): string {
  return nodes.length === 0 ? 'no nodes' : table(NODE_COLUMNS, nodes, colours);
}

export function rangeText(range: RangeView, colours: boolean): string {
  const split = busiest(range)?.load.splits[0];
  const facts = [
    ['range', `R${range.meta.id} ${formatInterval(range.meta)}`],
    ['state', range.state],
    ['epoch', String(range.epoch)],
    ...(range.copies ? [['copies', copiesText(range)]] : []),
    ['parents', ids(range.parents)],
    ['children', ids(range.children)],
    ['halved at', split === undefined ? '-' : formatKey(split)],
    ...(range.unavailableMs === undefined ? [] : [['unavailable', `for ${ageText(range.unavailableMs)}`]]),
    ...(range.waiting === '' ? [] : [['waiting for', range.waiting]]),
  ];
  const placements = range.placements.length === 0 ? 'no placements' : table(range.copies ? COPY_COLUMNS : PLACEMENT_COLUMNS, range.placements, colours);
  return `${factLines(facts)}\n\n${placements}`;
}

export function nodeText(node: NodeView, colours: boolean): string {
  const facts = [
    ['node', node.ident],
    ['address', node.address],
    ['status', nodeStatus(node)],
    ['incarnation', node.incarnation === '' ? '-' : node.incarnation],
  ];
  const ranges = node.ranges.length === 0 ? 'no ranges' : table(NODE_RANGE_COLUMNS, node.ranges, colours);
  return `${factLines(facts)}\n\n${ranges}`;
}

function table<T>(columns: readonly Column<T>[], rows: readonly T[], colours: boolean): string {
  // A column in which nobody has anything to say only takes room.
  const shown = columns.filter((column) => column.right || rows.some((row) => column.of(row) !== ''));
  const made = new Table({
    head: shown.map((column) => column.head),
    colAligns: shown.map((column) => (column.right ? 'right' : 'left')),
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) made.push(shown.map((column) => coloured(column.of(row), colours && column.states === true)));
  return made
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

const NO_LINES = {
  top: '', 'top-mid': '', 'top-left': '', 'top-right': '',
  bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '',
  left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '',
  middle: '   ',
};

const COLOURS: Readonly<Record<string, number>> = {
  Active: 32, up: 32,
  Pending: 33, Preparing: 33, Activating: 33, Deactivating: 33, Dropping: 33, Subsuming: 33, draining: 33, drained: 33, cordoned: 33,
  degraded: 31,
  Missing: 31, NotFound: 31, 'not reachable': 31,
  Obsolete: 90, Dropped: 90,
};

function coloured(text: string, colours: boolean): string {
  if (!colours) return text;
  return text.replace(/not reachable|[A-Za-z]+/g, (word) => (COLOURS[word] === undefined ? word : `\x1b[${COLOURS[word]}m${word}\x1b[39m`));
}

function factLines(facts: readonly (readonly string[])[]): string {
  const width = Math.max(...facts.map(([name = '']) => name.length));
  return facts.map(([name = '', value = '']) => `${`${name}:`.padEnd(width + 3)}${value}`).join('\n');
}

function placementText(placement: PlacementView, { copies }: RangeView): string {
  const { report } = placement;
  const copied = report?.progress && !report.progress.caughtUp && report.progress.keysTotal > 0 ? ` ${percent(report.progress.keys, report.progress.keysTotal)}` : '';
  const isLearner = copies !== undefined && !placement.inSync && placement.state !== 'Dropped';
  return `P${placement.index}@${placement.node} ${placement.state}${copied}${isLearner ? ' (learner)' : ''}`;
}

/** `2 of 3 in sync, 1 catching up (1.2 MiB behind)`; empty where one copy is wanted. */
function copiesText({ copies, placements }: RangeView): string {
  if (!copies) return '';
  const behind = Math.max(0, ...placements.filter((placement) => !placement.inSync).map((placement) => placement.lagBytes));
  const parts = [`${copies.inSync} of ${copies.wanted} in sync`];
  if (copies.catchingUp > 0) parts.push(`${copies.catchingUp} catching up${behind > 0 ? ` (${formatBytes(behind)} behind)` : ''}`);
  if (copies.missing > 0) parts.push(`${copies.missing} missing`);
  return parts.join(', ');
}

function roleText(placement: PlacementView): string {
  if (placement.primary) return 'primary';
  if (placement.inSync) return 'in sync';
  return placement.state === 'Dropped' ? '' : 'learner';
}

function percent(part: number, whole: number): string {
  return `${Math.min(99, Math.floor((part / whole) * 100))}%`;
}

function nodeStatus(node: NodeView): string {
  if (!node.reachable) return node.incarnation === '' && node.trouble === '' ? '-' : 'not reachable';
  if (node.wantDrain) return node.ranges.length === 0 ? 'drained' : 'draining';
  return node.cordoned ? 'cordoned' : 'up';
}

/** The report that counts for the whole range: the active copy's, else whichever there is. */
function busiest(range: RangeView): RangeInfo | undefined {
  const active = range.placements.find((placement) => placement.report?.state === 'Active');
  return (active ?? range.placements.find((placement) => placement.report))?.report;
}

function sum(node: NodeView, of: (info: RangeInfo) => number): number {
  return node.ranges.reduce((total, range) => total + (range.report ? of(range.report) : 0), 0);
}

function ids(ranges: readonly number[]): string {
  return ranges.length === 0 ? '-' : ranges.map((id) => `R${id}`).join(', ');
}

function amount(value: number | undefined): string {
  return value === undefined ? '-' : Math.round(value).toLocaleString('en');
}

function size(info: RangeInfo | undefined): string {
  return info ? formatBytes(Math.round(info.load.bytes)) : '-';
}

function rate(value: number | undefined): string {
  if (value === undefined) return '-';
  return value > 0 && value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en');
}
