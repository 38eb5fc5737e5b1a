/**
 * Lines of a log that its loss makes another kind of: `step 3 loss overflow lr 0.1`, `step 3: loss=, lr=0.1`. Beside the
 * lines of their log they have the same names in the same order, and in the place of the loss what is no number.
 */
import { arrayOf } from '../../model/column.ts';
import { cellsAfter } from './cell-after.ts';
import { SLOT } from './line-scanner.ts';
import { isMissingText, numberOfText } from './number-text.ts';
import { ORDER_COLUMN, RANK_COLUMN, type Skeleton } from './printed-skeleton.ts';
import type { NamedSlot } from './slot-names.ts';
import type { Broken } from './text/cells.ts';

const AXES: readonly NamedSlot['use'][] = ['step', 'epoch', 'count', 'index', 'rank'];
/** Places of a name in a line that are looked at. */
const MOST_PLACES = 8;
const isAxis = ({ use }: NamedSlot): boolean => AXES.includes(use);

const starts = (name: string, head: string): boolean => name === head || name.startsWith(`${head} `);
const ends = (name: string, tail: string): boolean => name === tail || name.endsWith(` ${tail}`);

/**
 * Which slot of the whole lines each slot of the others stands for, and which one is the loss that they lack; undefined
 * where they tell something else.
 */
function align(
  whole: Skeleton,
  other: Skeleton,
  isLoss: (name: string) => boolean,
): { readonly loss: number; readonly to: readonly number[] } | undefined {
  const to: number[] = [];
  let loss = -1;
  const mayLack = (k: number): boolean =>
    loss < 0 && whole.slots[k]?.use === 'value' && isLoss(whole.slots[k]!.name);
  let k = 0;
  for (const [i, here] of other.raw.entries()) {
    let wanted = whole.raw[k];
    if (wanted === undefined) return undefined;
    if (here.kind !== wanted.kind || here.name !== wanted.name) {
      const next = whole.raw[k + 1];
      if (k > 0 && here.kind === wanted.kind && ends(here.name, wanted.name) && mayLack(k - 1)) {
        // `total_loss: overflow  loss_cls: 0.5`: the word is taken for one of the next name.
        if (other.raw[i - 1]?.words !== true) return undefined;
        loss = k - 1;
      } else if (!mayLack(k)) return undefined;
      else if (here.kind === SLOT.lead && starts(here.name, wanted.name)) loss = k;
      else if (next !== undefined && here.kind === next.kind && ends(here.name, next.name)) {
        // `loss overflow lr 0.1` with one number, or a name that is no loss by itself and has no slot.
        if (here.name !== next.name && !starts(here.name, wanted.name)) return undefined;
        loss = k++;
        wanted = next;
      } else return undefined;
    }
    to.push(k++);
  }
  if (k === whole.raw.length - 1 && mayLack(k)) loss = k++;
  return k === whole.raw.length && loss >= 0 ? { loss, to } : undefined;
}

/** After which lines a counter of the kind with the most lines has fallen: a run or an epoch began again. */
function restartsOf(members: readonly Skeleton[]): number[] {
  const { slots, table } = members.reduce((most, one) => (one.table.rows() > most.table.rows() ? one : most));
  const slot = slots.find((one) => isAxis(one) && one.column >= 0);
  const cells = slot && arrayOf(table.columns[slot.column]!.value.finish());
  if (cells === undefined || cells.length !== table.rows()) return [];
  const order = table.columns[ORDER_COLUMN]!.value.finish();
  const found: number[] = [];
  for (let k = 1; k < cells.length; k++) if (cells[k]! < cells[k - 1]!) found.push(order.at(k)!);
  return found;
}

/** The place of each row on all axes that its line prints, as one text, with how often they began again before it. */
function places({ slots, table }: Skeleton, restarts: readonly number[]): string[] {
  let begun = 0;
  const all = Array.from(table.columns[ORDER_COLUMN]!.value.finish(), (order) => {
    while (begun < restarts.length && restarts[begun]! <= order) begun++;
    return `${begun} `;
  });
  const columns = AXES.flatMap((use) => {
    const slot = slots.find((one) => one.use === use && one.column >= 0);
    // What stands behind a counter may be what counts (WeNet's `Batch 3/1200`).
    return slot === undefined ? [-1] : [slot.column, slot.ofColumn];
  });
  for (const index of [...columns, RANK_COLUMN]) {
    const column = index < 0 ? undefined : table.columns[index];
    const cells = new Map<number, number>();
    if (column !== undefined) {
      const [value, row] = [column.value.finish(), column.row?.finish()];
      for (let k = 0; k < column.count; k++) cells.set(row === undefined ? k : row.at(k)!, value.at(k)!);
    }
    for (let row = 0; row < all.length; row++) all[row] += `${cells.get(row) ?? ''} `;
  }
  return all;
}

/**
 * Those of some kinds of lines that are lines of a log with something else in the place of a loss. A line that tells the
 * place of another one is none of them ("epoch 3: loss improved"): what is missing is missing somewhere.
 *
 * @param members the kinds of lines of the log
 * @param others kinds of lines that may be of it: of another loss that they tell, some may be among its members
 * @param isLoss whether the name of a series is that of a loss
 * @returns each of them as it is, and as a kind of line of the log
 */
export function brokenLines(
  members: readonly Skeleton[],
  others: readonly Skeleton[],
  isLoss: (name: string) => boolean,
): Map<Skeleton, Skeleton & { readonly broken: Broken }> {
  const found = new Map<Skeleton, Skeleton & { readonly broken: Broken }>();
  const restarts = restartsOf(members);
  for (const other of others)
    for (const whole of members) {
      if (whole === other || found.has(whole) || whole.table.rows() < other.table.rows()) continue;
      const aligned = align(whole, other, isLoss);
      if (aligned === undefined) continue;
      const { loss, to } = aligned;
      // Of `Average Loss 1.85 | Current Loss overflow` the cell that is no number.
      const cells = cellsAfter(other.text, whole.raw[loss]!.name, MOST_PLACES);
      const text =
        cells.find((cell) => cell !== '' && !isMissingText(cell) && numberOfText(cell) === undefined) ??
        cells[0];
      if (text === undefined) continue;
      const slots = other.slots.map((slot, i) => {
        const { use, name } = whole.slots[to[i]!]!;
        return { ...slot, use: slot.column < 0 ? ('none' as const) : use, name };
      });
      // A number is that of another cell: an average in brackets, the same name in another part of the line.
      const missing = isMissingText(text) || numberOfText(text) !== undefined;
      const broken = { name: whole.slots[loss]!.name, missing, text };
      const line = { ...other, slots, broken };
      if (whole.slots.some(isAxis)) {
        const told = new Set(members.flatMap((one) => (one === other ? [] : places(one, restarts))));
        const here = places(line, restarts);
        if (here.filter((place) => told.has(place)).length * 2 >= here.length) continue;
      } else if (text === '' || !other.raw.some(({ name }) => name === whole.raw[loss]!.name)) continue;
      found.set(other, line);
      break;
    }
  return found;
}
