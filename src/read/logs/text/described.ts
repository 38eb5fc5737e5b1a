/** A table of lines of one shape with the names of its numbers. */
import type { Kind, KindRows } from './cells.ts';
import { type Named, nameSlots, spareWords } from './names.ts';
import type { Template } from './templates.ts';

/** A template with the names of its slots. */
export interface Described extends Kind {
  readonly template: Template;
  readonly slots: readonly Named[];
}

/** The rows of a template: each has a cell in each column. */
const rowsOfTemplate = ({ order, line, values, missing }: Template): KindRows => ({
  get count() {
    return order.length;
  },
  order: () => order.finish(),
  line: () => line.finish(),
  cells: (column) => values[column]!.finish(),
  has(column) {
    const rows = missing.get(column);
    if (rows === undefined) return undefined;
    const has = new Uint8Array(order.length).fill(1);
    for (const row of rows) has[row] = 0;
    return has;
  },
  lost(column) {
    const lines = line.finish();
    return { missing: (missing.get(column) ?? []).map((row) => lines.at(row)!), refused: [] };
  },
});

/** What draws how far a bar is: `10%|█  |`. */
const BAR = /\d%\s?[|\u2500-\u25bf]/;

/** A template with what its numbers are. */
export function describe(template: Template): Described {
  const slots = nameSlots(template);
  return {
    template,
    slots,
    rows: rowsOfTemplate(template),
    text: template.sample.toString('latin1', 0, 400),
    spare: spareWords(template, slots),
    bar: BAR.test(template.sample.toString('utf8', 0, 400)),
  };
}
