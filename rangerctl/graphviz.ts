import type { PlacementView, RangeView } from '../client/admin.js';
import { formatInterval } from '../model/interval.js';
import type { PlacementState, RangeState } from '../model/states.js';

const RANGE_COLOUR: Readonly<Record<RangeState | 'Unknown', string>> = {
  Active: '#c8e6c9',
  Subsuming: '#ffe0b2',
  Obsolete: '#eeeeee',
  Unknown: '#ffffff',
};

const PLACEMENT_COLOUR: Readonly<Record<PlacementState | 'Unknown', string>> = {
  Pending: '#fff9c4',
  Inactive: '#bbdefb',
  Active: '#81c784',
  Missing: '#ef9a9a',
  Dropped: '#e0e0e0',
  Unknown: '#ffffff',
};

/** The ranges, what became of which, and where each is: for `dot -Tsvg`. */
export function renderGraph(ranges: readonly RangeView[]): string {
  const known = new Set(ranges.map((range) => range.meta.id));
  const edges = ranges.flatMap((range) => range.children.filter((child) => known.has(child)).map((child) => `  R${range.meta.id} -> R${child};`));
  return [
    'digraph ranges {',
    '  rankdir=LR;',
    '  node [shape=plain, fontname="Helvetica"];',
    '  edge [color="#757575"];',
    ...ranges.map(rangeNode),
    ...edges,
    '}',
    '',
  ].join('\n');
}

function rangeNode(range: RangeView): string {
  const rows = [
    row(`<b>R${range.meta.id}</b> ${escape(formatInterval(range.meta))}`, RANGE_COLOUR[range.state]),
    row(escape(range.waiting === '' ? range.state : `${range.state}: ${range.waiting}`), RANGE_COLOUR[range.state]),
    ...range.placements.map((placement) => row(escape(placementLabel(placement)), PLACEMENT_COLOUR[placement.state])),
  ];
  return `  R${range.meta.id} [label=<<table border="0" cellborder="1" cellspacing="0" cellpadding="4">${rows.join('')}</table>>];`;
}

function placementLabel(placement: PlacementView): string {
  return `P${placement.index}@${placement.node} ${placement.state}`;
}

function row(html: string, colour: string): string {
  return `<tr><td bgcolor="${colour}">${html}</td></tr>`;
}

function escape(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
