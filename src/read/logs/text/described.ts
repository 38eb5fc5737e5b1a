/** A table of lines of one shape with the names of its numbers. */
import { axisUseOf } from '../axis-words.ts';
import { withoutStamp } from '../line-prefix.ts';
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

/** Rows that show whether a total goes up. */
const LEAST_TOTALS = 3;
/** A total falls where training begins anew; how long each episode was goes up and down. */
const FEW_FALLS = 4;

/** Whether a total is that of so far: it goes up from line to line, as one of the whole run does not. */
function goesUp({ count, cells }: KindRows, column: number): boolean {
  if (count < LEAST_TOTALS || column < 0) return false;
  const totals = cells(column);
  let ahead = 0;
  let falls = 0;
  for (let k = 1; k < count; k++) {
    if (totals.at(k)! > totals.at(k - 1)!) ahead++;
    else if (totals.at(k)! < totals.at(k - 1)!) falls++;
  }
  return ahead * 2 > count && falls * FEW_FALLS <= count && totals.every(Number.isInteger);
}

/** Steps so far count where no other number of the line does: `(epoch 10, total_steps 2560)`. */
function withTotals(slots: readonly Named[], rows: KindRows): readonly Named[] {
  if (slots.some(({ use }) => use === 'step' || use === 'count')) return slots;
  const total = slots.find(
    ({ use, name, column }) => use === 'value' && axisUseOf(name) === 'step' && goesUp(rows, column),
  );
  if (total === undefined) return slots;
  return slots.map((slot) => (slot === total ? { ...slot, use: 'step' } : slot));
}

/** What draws how far a bar is: `10%|█  |`. */
const BAR = /\d%\s?[|\u2500-\u25bf]/;

/** A template with what its numbers are. */
export function describe(template: Template): Described {
  const rows = rowsOfTemplate(template);
  const slots = withTotals(nameSlots(template), rows);
  return {
    template,
    slots,
    rows,
    text: withoutStamp(template.sample.toString('latin1', 0, 400)),
    spare: spareWords(template, slots),
    bar: BAR.test(template.sample.toString('utf8', 0, 400)),
  };
}
