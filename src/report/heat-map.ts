/** Values by row and step as shades, drawn without a script: what differs of two runs, what a rule does to each tensor. */
import { formatCount } from '../model/format-number.ts';
import { type Html, h } from './html-template.ts';

export interface HeatMap {
  /** What it shows, for who does not see it. */
  readonly label: string;
  /** One for each column, rising. */
  readonly steps: readonly number[];
  /** From the top; null where nothing is known. */
  readonly rows: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
  /** The class of a shade: `equal` or `h0` to `h8`, the last the strongest. */
  readonly shadeOf: (value: number) => string;
  readonly textOf: (value: number) => string;
}

const CELL = 14;
/** Characters of a name that fit before the cells, on a phone too. */
const NAME_LENGTH = 22;
/** Per cent of the width that names of a length take. */
const nameShare = (longest: number): number => Math.min(45, 8 + 2 * longest);

const shortName = (name: string): string =>
  name.length <= NAME_LENGTH ? name : `…${name.slice(1 - NAME_LENGTH)}`;

/** Cells of a row, neighbours of one shade joined; one step is one unit wide. */
function cellsOf({ values }: HeatMap['rows'][number], { steps, shadeOf, textOf }: HeatMap): readonly Html[] {
  const cells: Html[] = [];
  const shadeAt = (column: number): string | null => {
    const value = values[column] ?? null;
    return value === null ? null : shadeOf(value);
  };
  for (let from = 0; from < steps.length; ) {
    const shade = shadeAt(from);
    let to = from + 1;
    while (to < steps.length && shade !== null && shade === shadeAt(to)) to++;
    if (shade !== null) {
      const where =
        to - from === 1
          ? `step ${formatCount(steps[from]!)}`
          : `steps ${formatCount(steps[from]!)} to ${formatCount(steps[to - 1]!)}`;
      cells.push(
        h`<rect class="${shade}" x="${from}" width="${to - from}"><title>${where}: ${textOf(values[from]!)}</title></rect>`,
      );
    }
    from = to;
  }
  return cells;
}

/** @param map with a row and a step at least */
export function heatMap(map: HeatMap): Html {
  const { label, steps, rows } = map;
  const height = CELL * rows.length;
  const share = nameShare(Math.max(...rows.map(({ name }) => shortName(name).length)));
  const names = rows.map(
    ({ name }, row) =>
      h`<text class="end" x="${share}%" dx="-6" y="${CELL * row + 10}">${shortName(name)}</text>\n`,
  );
  return h`<svg class="heat-map" width="100%" height="${height + 18}" role="img" aria-label="${label}">
${names}<svg x="${share}%" width="${100 - share}%" height="${height}" viewBox="0 0 ${steps.length} ${height}" preserveAspectRatio="none">
${rows.map((row, k) => h`<g transform="translate(0 ${CELL * k})">${cellsOf(row, map)}</g>`)}
</svg>
<text x="${share}%" y="${height + 13}">step ${formatCount(steps[0]!)}</text>${steps.length > 1 && h`<text class="end" x="100%" y="${height + 13}">${formatCount(steps.at(-1)!)}</text>`}
</svg>`;
}

/** What the shades mean; an entry without a shade is a remark. */
export const shadesLegend = (entries: readonly { readonly shade?: string; readonly text: string }[]): Html =>
  h`<ul class="keys heat-keys">${entries.map(({ shade, text }) => h`<li>${shade !== undefined && h`<i class="${shade}"></i> `}${text}</li>`)}</ul>`;
