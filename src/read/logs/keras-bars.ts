/**
 * What Keras prints: a line that names the epoch, and bars with the values behind them.
 *
 * Lines come from strangers: none of the expressions costs more than a few times the length of a line
 * (test/regular-expressions.test.ts).
 */

import { cellAfter, goesOn } from './cell-after.ts';
import { isLossName } from './metric-roles.ts';
import { isMissingText, numberOfText } from './number-text.ts';
import { type RowTable, rowTable } from './row-table.ts';

/** A number or one of the words for what is not finite. */
const NUMBER = String.raw`[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|[nN][aA][nN]|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)`;

/** Name and number as text, in the order of the line. */
type Pair = readonly [name: string, value: string];

/** ` - loss: 0.69 - accuracy: 0.5` */
const DASH_PAIRS = new RegExp(String.raw`(?:^|\s-\s)\s*([A-Za-z_][\w/.-]*):\s*(${NUMBER})(?!\w)`, 'g');

/** Keras: `Epoch 3/10`, then `313/313 [====] - 1s 3ms/step - loss: 0.2 - accuracy: 0.9 - val_loss: 0.3`, often twice. */
const KERAS_EPOCH = /^Epoch (\d+)\/(\d+)\s*$/;
export const KERAS_BAR = /^\s*(\d+)\/\1\s.*?\s-\s(?=[\w/]+: )/;
/** A bar that is not full has the mean so far: a mean that is not finite stays so. */
const KERAS_LOST = /^\s*\d+\/\d+ \[=*>?\.*\] - (?=[^\n]* loss: -?(?:nan|inf)\b)/i;
export const KERAS_PART = /^\s{0,20}\d{1,12}\/\d{1,12} \[=*>\.*\] - /;
/** Whether the line of a full bar draws it. */
const KERAS_DRAWN = /^\s*\d+\/\d+ \[=+\]/;
/** A line for each epoch, without a bar (`verbose=2`): `144/144 - 45s - loss: 49.2`. */
const KERAS_TERSE = /^\s*(\d+)\/\1 - \d+m?s\b/;
/** A bar whose values follow in the next line, as where its carriage returns became the ends of lines. */
const KERAS_BARE_BAR = /^\s*\d+\/\d+\s+\[[=>.]+\]\s*$/;
const KERAS_REST = /^\s{0,4}-\s.*:/;
/** What a full bar says. */
interface KerasBar {
  /** Its epoch. */
  readonly at: number;
  readonly pairs: readonly Pair[];
  readonly line: number;
  readonly text: string;
}

/** How many batches a full bar is of. */
const batchesOf = (bar: string): number => Number.parseInt(bar, 10);

/** Whether a bar says again what one before it said, and perhaps more: it is drawn again with the evaluation. */
const saysAgain = (before: KerasBar, pairs: readonly Pair[]): boolean =>
  before.pairs.every(([name, value], k) => pairs[k]?.[0] === name && pairs[k][1] === value);

/** The bar of an epoch with the values of one of another number of batches behind it: `evaluate`, or a loop of its own, prints those. */
const withEvaluation = (before: KerasBar, pairs: readonly Pair[], text: string): KerasBar | undefined =>
  batchesOf(before.text) === batchesOf(text)
    ? undefined
    : { ...before, pairs: [...before.pairs, ...pairs.map(([name, value]): Pair => [`test ${name}`, value])] };

/** The values of a bar, without the time that is left. */
function kerasPairs(text: string): Pair[] {
  // Not matchAll: it makes a new expression each time, which takes longer than the search.
  const pairs: Pair[] = [];
  DASH_PAIRS.lastIndex = 0;
  for (let found = DASH_PAIRS.exec(text); found !== null; found = DASH_PAIRS.exec(text))
    if (found[1] !== 'ETA') pairs.push([found[1]!, found[2]!]);
  return pairs;
}

/**
 * The whole cell of a name of which a pattern took the first digits only: `1.#INF`, `1,234.5`, `0.4nats`. Undefined where
 * the number ends as numbers do.
 */
function gluedCell(line: string, name: string, taken: string): string | undefined {
  const cell = cellAfter(line, name);
  if (cell === undefined || !cell.startsWith(taken)) return undefined;
  return goesOn(cell.slice(taken.length)) ? cell : undefined;
}

/** A bar as a row of its epoch. */
function addRow(table: RowTable, { at, pairs, line: lineNumber, text: line }: KerasBar): void {
  // Of a line that says a name twice (`time`, `time`) the table takes the first.
  for (const [name, text] of pairs) {
    const glued = isLossName(name) ? gluedCell(line, name, text) : undefined;
    const value = numberOfText(glued ?? text);
    if (value !== undefined) table.set(table.column(name), value);
    else if (glued !== undefined) table.refuse(table.column(name), glued, lineNumber);
  }
  // A loss whose name the line says, with what is not a number behind it.
  for (const [column, { name }] of table.columns.entries()) {
    if (!isLossName(name) || table.cell(column) !== undefined) continue;
    const cell = cellAfter(line, name);
    if (cell === undefined) continue;
    const value = numberOfText(cell);
    if (value !== undefined) table.set(column, value);
    else if (isMissingText(cell)) table.miss(column);
    else table.refuse(column, cell, lineNumber);
  }
  table.set(table.column('epoch'), at);
  table.endRow(lineNumber);
}

export interface KerasBars {
  /** Takes a line; false where it is no bar of an epoch. */
  take(text: string, line: number): boolean;
  /** The rows of a text that ends here: also of the last bar, to which an evaluation may still be added. Undefined where it has none. */
  whole(): RowTable | undefined;
  /** Whether a line has named an epoch. */
  hasBegun(): boolean;
  /** Whether the next line may hold the values of the last one. */
  waits(): boolean;
}

/**
 * The bars of a text, each epoch as a row.
 *
 * @param table where the rows go; asked for at the first of them
 */
export function kerasBars(table: () => RowTable): KerasBars {
  let epoch = 0;
  /** Bars of epochs that no line names. */
  let fits = 0;
  /** A bar whose values are to follow in the next line. */
  let bare = '';
  /** The last finished bar of an epoch; the evaluation is added to it by drawing it again. */
  let bar: KerasBar | undefined;
  const ended: KerasBar[] = [];
  const end = (): void => {
    if (bar === undefined) return;
    addRow(table(), bar);
    ended.push(bar);
    bar = undefined;
  };
  const takeBar = (text: string, isFull: boolean, line: number): void => {
    const pairs = kerasPairs(text);
    const isOther = bar === undefined || !saysAgain(bar, pairs);
    // Without a line that names the epoch each bar is one, unless it is drawn again with more behind it.
    if (epoch === 0 && isOther) {
      end();
      fits++;
    } else if (isFull && isOther && bar?.at === epoch && KERAS_BAR.test(bar.text)) {
      const evaluated = withEvaluation(bar, pairs, text);
      if (evaluated !== undefined) {
        bar = evaluated;
        return;
      }
      // The next `fit`, whose first heading is not in the file.
      if (KERAS_TERSE.test(text)) {
        end();
        epoch = 1;
      }
    }
    bar = { at: epoch === 0 ? fits : epoch, pairs, line, text };
  };
  return {
    take(text, line) {
      const whole = bare !== '' && KERAS_REST.test(text) ? `${bare} ${text.trim()}` : text;
      bare = epoch > 0 && KERAS_BARE_BAR.test(text) ? text.trimEnd() : '';
      const heading = KERAS_EPOCH.exec(text);
      if (heading !== null) {
        end();
        // `fit` for one epoch, again and again: each is one more.
        epoch = heading[2] === '1' ? epoch + 1 : Number(heading[1]);
      }
      const isFull = KERAS_BAR.test(whole);
      const isWhole = epoch > 0 || KERAS_DRAWN.test(whole) || KERAS_TERSE.test(whole);
      if (!(isFull && isWhole) && !(epoch > 0 && KERAS_LOST.test(whole))) return false;
      takeBar(whole, isFull, line);
      return true;
    },
    whole() {
      const bars = bar === undefined ? ended : [...ended, bar];
      const all = rowTable();
      for (const one of bars) addRow(all, one);
      return bars.length === 0 ? undefined : all;
    },
    hasBegun: () => epoch > 0,
    waits: () => bare !== '',
  };
}

/** Colours, and the backspaces of a bar that is drawn again. */
export const DRAWING = /\u001b\[[\d;]*[A-Za-z]|\u0008+/g;
