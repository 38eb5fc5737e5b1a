/** Lines of the layouts that are known by their words (stdout-patterns.ts), and those that differ from one of them in their numbers alone. */
import { LineShapes } from './line-shapes.ts';
import { isLossName } from './metric-roles.ts';
import { numberOfText } from './number-text.ts';
import { isAxisName, type RowTable } from './row-table.ts';
import { DIALECTS, type Pair } from './stdout-patterns.ts';

/** The row of a line: into which table, at which axis value, with which pairs. */
export interface Match {
  readonly table: string;
  readonly axis: 'step' | 'epoch';
  readonly at: number | undefined;
  readonly pairs: readonly Pair[];
  /** What is put before the names in the table, and is not in the line. */
  readonly prefix?: string;
}

/** @param isKnown whether a table has had lines: one of them may be without any number */
export function matchLine(text: string, isKnown: (table: string) => boolean): Match | undefined {
  for (const dialect of DIALECTS) {
    if (!text.includes(dialect.marker)) continue;
    const groups = dialect.line.exec(text)?.groups;
    if (groups === undefined) continue;
    const pairs = dialect.pairs(groups.body!);
    // A line that says its step and nothing else is not one of training.
    if (!pairs.some(([name]) => !isAxisName(name)) && !isKnown(dialect.id)) continue;
    const number = (group: string | undefined): number => numberOfText(group ?? '') ?? Number.NaN;
    return {
      table: dialect.id,
      axis: dialect.axis ?? 'step',
      at: dialect.atLastStep
        ? undefined
        : groups.of === undefined
          ? number(groups.step)
          : number(groups.epoch) * number(groups.of) + number(groups.step),
      ...(dialect.prefix === undefined
        ? { pairs }
        : {
            prefix: dialect.prefix,
            pairs: pairs.map(([name, value]) => [dialect.prefix + name, value] as const),
          }),
    };
  }
  return undefined;
}

/** The numbers of a line as its layout finds them, the axis last; NaN for text. */
const numbersOf = ({ pairs, at }: Match): number[] => [
  ...pairs.map(([, text]) => numberOfText(text) ?? Number.NaN),
  ...(at === undefined ? [] : [at]),
];

/** Where the numbers of a line go. */
interface Row {
  readonly table: RowTable;
  /** How many columns the table had: a line may have a cell of one that was made later. */
  readonly columns: number;
  readonly isStep: boolean;
  readonly hasAxis: boolean;
  readonly at: Int32Array;
  readonly axis: number;
}

/** Rows of the known layouts that differ from one before in their numbers alone: no expression looks at them again. */
export class RepeatedRows {
  private readonly shapes = new LineShapes<Row>();

  /**
   * Adds the row of a line, where one like it is remembered.
   *
   * @param last where lines without an axis of their own belong; moved on to the step of the line
   * @returns whether one is
   */
  take(bytes: Buffer, start: number, end: number, line: number, last: { step: number }): boolean {
    const row = this.shapes.find(bytes, start, end);
    if (row === undefined || row.table.columns.length !== row.columns) return false;
    const { table, at, isStep, hasAxis, axis } = row;
    const { values } = this.shapes;
    for (let k = 0; k < at.length; k++) table.set(at[k]!, values[k]!);
    const step = hasAxis ? values[at.length]! : last.step;
    table.set(axis, step);
    table.endRow(line);
    if (isStep) last.step = step;
    return true;
  }

  /** Remembers the line of a match, where it has each loss of the table and nothing but numbers. */
  remember(
    match: Match | undefined,
    tableOf: (id: string) => RowTable,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (match === undefined) return;
    const { pairs, at, axis } = match;
    const table = tableOf(match.table);
    const names = pairs.map(([name]) => name);
    const numbers = numbersOf(match);
    const isWhole = table.columns.every(({ name }) => !isLossName(name) || names.includes(name));
    if (!isWhole || !numbers.every(Number.isFinite)) return;
    const read = (text: string): number[] | undefined => {
      const other = matchLine(text, () => true);
      const isSame =
        other?.table === match.table &&
        other.pairs.length === names.length &&
        other.pairs.every(([name], k) => name === names[k]);
      return isSame ? numbersOf(other) : undefined;
    };
    this.shapes.learnFrom(bytes, start, end, numbers, read, {
      table,
      columns: table.columns.length,
      isStep: axis === 'step',
      hasAxis: at !== undefined,
      at: Int32Array.from(names, (name) => table.column(name)),
      axis: table.column(axis),
    });
  }
}
