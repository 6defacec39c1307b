export type Unit = '' | 'ms' | 'µs' | '%' | 'MiB' | 'keys/s' | 'MiB/s' | 'requests/s' | 's';

/** One measured value and what it should be; without an aim it only explains the others. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: Unit;
  readonly aim?: { readonly is: 'at least' | 'under'; readonly value: number };
  readonly note?: string;
}

export function meetsAim({ value, aim }: Figure): boolean {
  if (!aim) return true;
  return aim.is === 'under' ? value < aim.value : value >= aim.value;
}

/** Aligned columns, for people; the same text goes into docs/performance.md. */
export function renderFigures(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.what,
    formatValue(figure.value, figure.unit),
    figure.aim ? `${figure.aim.is} ${formatValue(figure.aim.value, figure.unit)}` : '',
    verdict(figure),
    figure.note ?? '',
  ]);
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(([what = '', value = '', aim = '', met = '', note = '']) =>
      [what.padEnd(widths[0] ?? 0), value.padStart(widths[1] ?? 0), aim.padEnd(widths[2] ?? 0), met.padEnd(widths[3] ?? 0), note].join('  ').trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

function verdict(figure: Figure): string {
  if (!figure.aim) return '';
  return meetsAim(figure) ? 'met' : 'MISSED';
}

export function formatValue(value: number, unit: Unit): string {
  const text = formatNumber(value);
  if (unit === '') return text;
  return unit === '%' ? `${text} %` : `${text} ${unit}`;
}

function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1);
}
