/**
 * Lines of a log that have no number in the place of its loss: `step 3 loss: overflow`, `loss=, lr=0.1`, `loss: 0.5.5`.
 * Their shape differs from that of the log's lines in this place alone. They are cells of the loss, not other text.
 */
import { varies } from '../../../model/column.ts';
import { endOfStamp } from '../line-prefix.ts';
import { isMissingText, numberOfText } from '../number-text.ts';
import type { Broken } from './cells.ts';
import type { Described } from './described.ts';
import { gapsOf, type Named } from './names.ts';
import type { Template } from './templates.ts';
import { SLOT } from './tokens.ts';

/** Characters of a cell; more are a sentence. */
const LONGEST_CELL = 40;

/** A curve that is drawn in a line, `▁▂▅█`: a summary of a log, and no record of it. */
const DRAWN_CURVE = /^[\u2581-\u2588\s]+$/;

/** The text around the loss of a table: from the slot before it, and up to the slot behind it. */
interface Place {
  readonly base: Template;
  readonly gaps: readonly string[];
  readonly at: number;
  readonly name: string;
}

/** The places of the losses of a table. */
function placesOf({ template, slots }: Described, isLoss: (name: string) => boolean): Place[] {
  const gaps = gapsOf(template);
  return slots.flatMap(({ name, use, column: at }) => {
    // Between numbers that only blanks separate a word may be anything.
    if (use !== 'value' || !isLoss(name) || gaps[at]!.trim() === '') return [];
    return [{ base: template, gaps, at, name }];
  });
}

/** Text between numbers without blanks and drawn bars, which are as long as the numbers make them. */
const bare = (text: string): string => text.replace(/[\s\u2500-\u25bf]+/g, '');

/** Where one line has a number another may say that there is none. */
const kindOf = ({ kind }: Template, at: number): number =>
  kind[at] === SLOT.missing ? SLOT.number : kind[at]!;

/** What a line has in the place of the loss; undefined where the rest of it is not that of the log. */
function cellOf(place: Place, other: Template): string | undefined {
  const { base, gaps, at } = place;
  const behind = base.kind.length - at - 1;
  const count = other.kind.length;
  if (count < at + behind) return undefined;
  const here = gapsOf(other);
  const isSame = (k: number, i: number): boolean =>
    bare(here[k]!) === bare(gaps[i]!) && kindOf(other, k) === kindOf(base, i);
  for (let k = 0; k < at; k++) if (!isSame(k, k)) return undefined;
  for (let k = 1; k <= behind; k++)
    if (kindOf(other, count - k) !== kindOf(base, base.kind.length - k)) return undefined;
  for (let k = 0; k < behind; k++)
    if (bare(here[count - k]!) !== bare(gaps[base.kind.length - k]!)) return undefined;
  const start = Math.max(endOfStamp(other.sample), other.to[at - 1] ?? 0);
  const end = behind === 0 ? other.sample.length : other.from[count - behind]!;
  const text = other.sample.toString('utf8', start, end).trimEnd();
  const head = gaps[at]!.trimEnd();
  const tail = gaps[at + 1]!.trim();
  if (!text.startsWith(head) || !text.slice(head.length).endsWith(tail)) return undefined;
  const cell = text.slice(head.length, text.length - tail.length).trim();
  if (cell.length > LONGEST_CELL) return undefined;
  const told = isTold(place, other, cell === '');
  return told === true || (told === undefined && cell === '' && tail === '') ? undefined : cell;
}

/** The places before which lines have whole numbers that change: their counters. */
const countersOf = ({ values }: Template, at: number): number[] =>
  [...values.keys()].slice(0, at).filter((k) => {
    const cells = values[k]?.finish();
    return cells?.every(Number.isInteger) === true && varies(cells);
  });

/** The numbers of some places in each row, as one text. */
function numbersAt({ values, order }: Template, places: readonly number[]): string[] {
  const columns = places.map((k) => values[k]?.finish());
  return Array.from({ length: order.length }, (_, row) => columns.map((one) => one?.at(row)).join(' '));
}

/**
 * Whether most lines without a loss tell the place of the line with one behind them (`Train loss @epoch 3:` is its heading) or
 * before them (`epoch 3: loss improved` is a remark): what is missing is missing somewhere. Undefined where they tell no place.
 */
function isTold({ base, at }: Place, other: Template, isHeading: boolean): boolean | undefined {
  const counters = countersOf(base, at);
  const [own, told] = [numbersAt(other, counters), numbersAt(base, counters)];
  if (counters.length === 0 || told.some((one, row) => row > 0 && one === told[row - 1])) return undefined;
  const [order, places] = [base.order.finish(), other.order.finish()];
  let k = 0;
  const isSame = own.filter((one, row) => {
    while (k < order.length && order.at(k)! < places.at(row)!) k++;
    return told[isHeading ? k : k - 1] === one;
  });
  return isSame.length * 2 >= own.length;
}

/** The slots of a line without a loss, as those of the whole lines. */
function slotsOf({ slots, template }: Described, at: number, other: Described): Named[] {
  const shift = template.kind.length - other.template.kind.length;
  return slots.map((slot): Named => {
    if (slot.column === at) return { ...slot, use: 'none', column: -1 };
    if (slot.column < at) return slot;
    return { ...slot, column: slot.column - shift, ofColumn: slot.ofColumn < 0 ? -1 : slot.ofColumn - shift };
  });
}

/**
 * Those of some tables whose lines are lines of a log with something else in the place of a loss.
 *
 * @param members the tables of the log
 * @param others tables that may be of it: of another loss that they tell, some may be among its members
 * @param isLoss whether the name of a series is that of a loss
 * @returns each of them as it is, and as a table of the log
 */
export function brokenLines(
  members: readonly Described[],
  others: readonly Described[],
  isLoss: (name: string) => boolean,
): Map<Described, Described & { readonly broken: Broken }> {
  const found = new Map<Described, Described & { readonly broken: Broken }>();
  const places = members.flatMap((whole) => placesOf(whole, isLoss).map((place) => ({ whole, place })));
  for (const other of others)
    for (const { whole, place } of places) {
      // A number with letters behind it (`0.5abc`) next to lines that have none.
      if (whole === other || found.has(whole) || whole.rows.count < other.rows.count) continue;
      const text = cellOf(place, other.template);
      // `0.4 *`, `0.4 (best)`: a number with a remark.
      if (text === undefined || numberOfText(text.split(/[\s,;]/, 1)[0]!) !== undefined) continue;
      if (DRAWN_CURVE.test(text)) continue;
      const broken = { name: place.name, missing: text === '' || isMissingText(text), text };
      found.set(other, { ...other, slots: slotsOf(whole, place.at, other), broken });
      break;
    }
  return found;
}
