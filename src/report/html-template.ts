/** The pieces that HTML reports are made of: escaped text, badges, tables, places. */
import type { Finding } from '../model/finding.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import { inert } from '../model/inert-text.ts';
import type { VerdictClass } from '../model/report.ts';
import type { SourceRef } from '../model/source-ref.ts';
import { CLASS_MOODS, type Mood } from './class-paint.ts';
import { pathToUri } from './path-uri.ts';

/** HTML that is safe to put together. */
export interface Html {
  readonly html: string;
}
export type Piece = Html | string | number | null | false | readonly Piece[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const put = (piece: Piece): string => {
  if (piece === null || piece === false) return '';
  if (typeof piece === 'number') return String(piece);
  if (typeof piece === 'string')
    return (
      inert(piece)
        .replace(/[&<>"']/g, (c) => ENTITIES[c]!)
        // `::name` and `##[name]` are commands to CI servers, also in a page that is printed.
        .replace(/:(?=:)|#(?=#)/g, (c) => `&#${c.charCodeAt(0)};`)
    );
  if ('html' in piece) return piece.html;
  return piece.map(put).join('');
};

/** Every value in the template is escaped, unless it is HTML itself. */
export const h = (strings: TemplateStringsArray, ...values: readonly Piece[]): Html => ({
  html: strings.map((text, i) => text + (i < values.length ? put(values[i]!) : '')).join(''),
});

export const steps = (value: number | null): string => (value === null ? '–' : formatCount(value));
export const number = (value: number | null): string => (value === null ? '–' : formatNumber(value));

export type Tone = 'good' | 'warn' | 'bad' | '';

const MOOD_TONE = { good: 'good', doubtful: 'warn', bad: 'bad' } as const;
export const moodTone = (mood: Mood): Tone => MOOD_TONE[mood];
export const classBadge = (name: VerdictClass, text: string = name): Html =>
  badge(text, moodTone(CLASS_MOODS[name]));
export const SEVERITY_TONE = { error: 'bad', warning: 'warn', note: '' } as const;

export const badge = (text: string, tone: Tone): Html => h`<span class="badge ${tone}">${text}</span>`;

/** A column of a table; `value` makes it a column of numbers, sorted as such. */
export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => Piece;
  readonly value?: (row: T) => number | null;
  readonly wide?: true;
}

/** Without the columns that say the same in every row, and what these say; the first column always stays. */
export function differing<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
): { readonly columns: readonly Column<T>[]; readonly same: readonly string[] } {
  const texts = columns.map(({ cell }) => new Set(rows.map((row) => put(cell(row)))));
  const isSame = columns.map((_, c) => c > 0 && rows.length > 1 && texts[c]!.size === 1);
  return {
    columns: columns.filter((_, c) => !isSame[c]),
    same: columns.flatMap(({ title }, c) => {
      const [text] = texts[c]!;
      const plain = text!.replace(/<[^<>]*>/g, '');
      return isSame[c] && plain !== '–' && plain !== '' ? [`${title}: ${unescaped(plain)}`] : [];
    }),
  };
}

const unescaped = (text: string): string =>
  text.replace(/&(?:amp|lt|gt|quot|#\d+);/g, (entity) => {
    const known = Object.entries(ENTITIES).find(([, one]) => one === entity)?.[0];
    return known ?? String.fromCharCode(Number(entity.slice(2, -1)));
  });

export const headOf = (columns: readonly Pick<Column<never>, 'title' | 'value'>[]): Html =>
  h`<thead><tr>${columns.map(({ title, value }) => h`<th scope="col"${value ? { html: ' class="num"' } : ''}>${title}</th>`)}</tr></thead>`;

export function table<T>(caption: string, columns: readonly Column<T>[], rows: readonly T[]): Html | false {
  if (rows.length === 0) return false;
  return h`<div class="scroll" tabindex="0" role="group" aria-label="${caption}"><table class="data sort">
${headOf(columns)}
<tbody>${rows.map((row) => h`<tr>${columns.map((column) => cellOf(row, column))}</tr>\n`)}</tbody>
</table></div>`;
}

export function cellOf<T>(row: T, { cell, value, wide }: Column<T>): Html {
  if (value === undefined) return h`<td${wide ? { html: ' class="wide"' } : ''}>${cell(row)}</td>`;
  const sorted = value(row);
  return h`<td class="num" data-value="${sorted === null ? 'NaN' : String(sorted)}">${cell(row)}</td>`;
}

export const place = (ref: SourceRef): Html =>
  h`<a href="${pathToUri(ref.path)}"><code>${ref.path}${ref.line === undefined ? '' : `:${ref.line}`}</code></a>${
    ref.byteOffset === undefined ? '' : ` byte ${steps(ref.byteOffset)}`
  }${ref.tensor === undefined ? '' : h` tensor <code>${ref.tensor}</code>`}`;

export const stepRange = (range: Finding['steps']): string =>
  range === null ? '–' : range[0] === range[1] ? steps(range[0]) : `${steps(range[0])} to ${steps(range[1])}`;
