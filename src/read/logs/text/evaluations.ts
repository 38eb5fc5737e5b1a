/** Lines of an evaluation that look as those of training do, and only a heading before them says what they are. */
import { copyOf } from '../../../model/column.ts';
import { wordsOf } from '../../../model/words.ts';
import { roleByName } from '../metric-roles.ts';
import type { KindRows } from './cells.ts';
import type { Described } from './described.ts';
import { lossOf, type Named } from './names.ts';
import { means } from './words.ts';

/** What says that an evaluation begins: `Cross validation...`, `Eval begin...`, `Now we are doing evaluation on dev`. */
const EVALUATION_BEGINS = /\b(?:validat|evaluat|test)(?:ion|ing)\b|\beval(?:uate)? (?:begin|start)/i;
/** A heading is short, and does not name a training. */
const LONGEST_HEADING = 120;
const OF_TRAINING = /\btrain/i;

const isHeading = ({ text, slots }: Described): boolean =>
  text.length <= LONGEST_HEADING &&
  EVALUATION_BEGINS.test(text) &&
  !OF_TRAINING.test(text) &&
  slots.every(({ use, name }) => use !== 'value' || roleByName(name) === 'other');

/** Some rows of a table. */
function picked(rows: KindRows, which: readonly number[]): KindRows {
  const lines = new Set(which.map((row) => rows.line().at(row)!));
  return {
    count: which.length,
    order: () => Float64Array.from(which, (row) => rows.order().at(row)!),
    line: () => Float64Array.from(lines),
    cells(column) {
      const cells = rows.cells(column);
      return Float64Array.from(which, (row) => cells.at(row)!);
    },
    has(column) {
      const has = rows.has(column);
      return has && Uint8Array.from(which, (row) => has[row]!);
    },
    lost(column) {
      const { missing, ...rest } = rows.lost(column);
      return { ...rest, missing: missing.filter((line) => lines.has(line)) };
    },
  };
}

const asEvaluated = (slot: Named): Named => {
  if (slot.use !== 'value' || wordsOf(slot.name).some((word) => means(word, 'eval'))) return slot;
  const name = `eval ${slot.name}`;
  return { ...slot, name, loss: slot.loss && lossOf(name) };
};

/** A table of training with its counters, as its rows are gone through. */
interface Counted {
  readonly table: Described;
  readonly order: Float64Array;
  readonly epoch: Float64Array | undefined;
  readonly counter: Float64Array | undefined;
  readonly total: Float64Array | undefined;
  /** The rows of training so far, and those of evaluations. */
  readonly trained: number[];
  readonly evaluated: number[];
}

function countedIn(table: Described): Counted {
  const { rows, slots } = table;
  const cells = (column: number | undefined): Float64Array | undefined =>
    column === undefined || column < 0 ? undefined : copyOf(rows.cells(column));
  const slot = slots.find(({ use }) => use === 'step') ?? slots.find(({ use }) => use === 'count');
  return {
    table,
    order: copyOf(rows.order()),
    epoch: cells(slots.find(({ use }) => use === 'epoch')?.column),
    counter: cells(slot?.column),
    total: cells(slot?.ofColumn),
    trained: [],
    evaluated: [],
  };
}

const trains = ({ slots }: Described): boolean => slots.some(({ loss }) => loss === 'train');

/** Goes through the lines of a text in their order. */
class Sweep {
  private heading = 0;
  private evaluated = 0;
  private epochAt = 0;
  /** The total of the counter of the last line of training. */
  private total = 0;
  /** The losses of lines with an epoch. */
  private readonly losses = new Set<string>();

  begins(order: number): void {
    this.heading = order;
  }

  take(one: Counted, row: number): void {
    const order = one.order[row]!;
    if (this.isOne(one, row, order)) {
      this.evaluated = order;
      one.evaluated.push(row);
      return;
    }
    one.trained.push(row);
    if (one.total !== undefined && trains(one.table)) this.total = one.total[row]!;
    if (one.epoch === undefined) return;
    this.epochAt = order;
    for (const { loss, name } of one.table.slots) if (loss === 'train') this.losses.add(name);
  }

  /** In its epoch its counter has started again, or it has no epoch where lines of training have one. */
  private isOne(
    { table, order: orders, epoch, counter, total, trained }: Counted,
    row: number,
    order: number,
  ): boolean {
    const { heading } = this;
    const last = trained.at(-1);
    if (heading === 0 || (last !== undefined && orders[last]! > heading)) return false;
    const goesOn = this.evaluated > heading;
    if (!goesOn && order !== heading + 1) return false;
    // The epoch that was trained last, once more, or what was evaluated before the first.
    const isSameEpoch = last !== undefined && epoch?.[row] === epoch?.[last];
    if (counter === undefined) return epoch !== undefined && !goesOn && (last === undefined || isSameEpoch);
    if (epoch === undefined && (this.epochAt === 0 || this.epochAt > heading)) return false;
    const hasOther = (of: number | undefined): boolean => total !== undefined && total[row] !== of;
    if (last === undefined)
      // A kind of line that training did not have: with a loss of training, or with another total.
      return (
        epoch === undefined &&
        (table.slots.some(({ name }) => this.losses.has(name)) || (this.total > 0 && hasOther(this.total)))
      );
    const isAgain = epoch === undefined ? hasOther(total?.[last]) : isSameEpoch;
    return isAgain && counter[row]! * (goesOn ? 1 : 2) <= counter[last]!;
  }
}

const most = (cells: Float64Array | undefined, rows: readonly number[]): number =>
  rows.reduce((best, row) => Math.max(best, cells?.[row] ?? 0), 0);

/** `valid auc=0.5 logloss=0.7`: a word of its own before the first value says what the whole line is of. */
function isLineOfEvaluation({ slots }: Described): boolean {
  const [first, ...others] = slots.filter(({ use }) => use === 'value').map(({ name }) => name.split(' '));
  const says = (word: string, what: 'eval' | 'train'): boolean => means(word.toLowerCase(), what);
  return (
    first !== undefined &&
    first.length > 1 &&
    says(first[0]!, 'eval') &&
    !others.some(([word]) => says(word!, 'eval') || says(word!, 'train'))
  );
}

/** Lines that say first that they are of an evaluation, next to lines of training with a loss. */
function withLinesOfEvaluation(all: readonly Described[]): readonly Described[] {
  const which = new Set(all.filter(isLineOfEvaluation));
  if (!all.some((table) => trains(table) && !which.has(table))) return all;
  // Measures keep their names: those of an evaluation are known by what they measure.
  const ofLine = (slot: Named): Named => (slot.loss === 'train' ? asEvaluated(slot) : slot);
  return all.map((table) => (which.has(table) ? { ...table, slots: table.slots.map(ofLine) } : table));
}

/** The tables of a text, with the lines of evaluations apart from those of training. */
export function withEvaluations(described: readonly Described[]): Described[] {
  const all = withLinesOfEvaluation(described);
  const begins = all.filter(isHeading).flatMap(({ rows }) => [...rows.order()]);
  if (begins.length === 0) return [...all];
  const counted = all.filter(({ slots }) => slots.length > 0).map(countedIn);
  const sweep = new Sweep();
  const lines = counted.flatMap((one) => Array.from(one.order, (at, row) => ({ at, row, one })));
  const starts = begins.map((at) => ({ at, row: -1, one: undefined }));
  for (const { at, row, one } of [...lines, ...starts].sort((a, b) => a.at - b.at || b.row - a.row)) {
    if (one === undefined) sweep.begins(at);
    else sweep.take(one, row);
  }
  const others = all.filter(({ slots }) => slots.length === 0);
  const apart = counted.flatMap(({ table, counter, trained, evaluated }) => {
    // Lines that go as far as those of training are those of another run.
    const isRun =
      counter === undefined
        ? evaluated.length > 1 && trained.length === 0
        : most(counter, evaluated) >= most(counter, trained);
    if (evaluated.length === 0 || (trained.length > 0 && isRun)) return [table];
    const evaluation = {
      ...table,
      slots: table.slots.map(asEvaluated),
      rows: picked(table.rows, evaluated),
      evaluation: true,
    };
    return trained.length === 0
      ? [evaluation]
      : [{ ...table, rows: picked(table.rows, trained) }, evaluation];
  });
  return [...others, ...apart];
}
