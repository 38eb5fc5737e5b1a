/** A table of lines of one shape with the names of its numbers. */
import type { Kind, KindRows } from './cells.ts';
import { type Named, nameSlots } from './names.ts';
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

/** A template with what its numbers are. Other words are not counted: any may be there. */
export const describe = (template: Template): Described => ({
  template,
  slots: nameSlots(template),
  rows: rowsOfTemplate(template),
  text: template.sample.toString('latin1', 0, 400),
  spare: 1,
  bar: false,
});
