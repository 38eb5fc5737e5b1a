/**
 * Where on the axis of training rows lie: by a counter that they print, by a batch counter joined with its epoch, by what
 * lines before or after them announce, or by their order. Two records are never made one: where a printed step is
 * rounded, the rows lie evenly between the steps that differ.
 */
import { formatCount } from '../../../model/format-number.ts';
import type { StepUnit } from '../../../model/run.ts';
import { wordsOf } from '../../../model/words.ts';
import { cellsOf, type Described, type Rows, rowsOf, type SlotOf } from './cells.ts';
import type { Use } from './names.ts';
import { SLOT } from './tokens.ts';
import { means } from './words.ts';

export interface Axis {
  /** One a row. */
  readonly step: Float64Array;
  readonly unit: StepUnit;
  /** The name of the counter; empty where rows are counted. */
  readonly name: string;
  readonly notes: readonly string[];
  /** Lines next to the rows tell where they are. */
  readonly announced?: true;
}

/** Names of counters, best first. */
const PREFERRED = [/global[\s_]?step$/i, /total[\s_]timesteps$/i, /steps?$/i, /iter(?:ation)?s?$|^it$/i, /./];

/** The slot of a use, the best name first; a counter that never moves does not count where another one does. */
export function slotOfUse(use: Use): SlotOf {
  return ({ named, template }) => {
    const slots = named.filter((one) => one.use === use);
    if (slots.length < 2) return slots[0]?.slot;
    const moving = slots.filter(({ slot }) => {
      const cells = template.values[slot]!.finish();
      const first = cells.at(0);
      return cells.some((cell) => cell !== first);
    });
    const among = moving.length > 0 ? moving : slots;
    for (const pattern of PREFERRED) {
      const found = among.find(({ name }) => pattern.test(name));
      if (found !== undefined) return found.slot;
    }
    return among[0]?.slot;
  };
}

const stepSlot: SlotOf = (one) => slotOfUse('step')(one) ?? slotOfUse('batch')(one);
const epochSlot = slotOfUse('epoch');

const isWhole = (cells: Float64Array): boolean => cells.every((cell) => Number.isFinite(cell));

/** How many cells are the same as the one before. */
export function repeats(cells: Float64Array): number {
  let count = 0;
  for (let k = 1; k < cells.length; k++) if (cells[k] === cells[k - 1]) count++;
  return count;
}

/** Cells of lines outside of some rows, in the order of the lines. */
interface Told {
  readonly order: Float64Array;
  readonly value: Float64Array;
}

function toldOutside(all: readonly Described[], rows: Rows, slot: SlotOf): Told {
  const inside = new Set(rows.members);
  const others = all.filter((one) => !inside.has(one) && slot(one) !== undefined);
  if (others.length === 0) return { order: new Float64Array(), value: new Float64Array() };
  const outside = rowsOf(others);
  const value = cellsOf(outside, slot);
  const keep = Uint32Array.from(value.keys()).filter((k) => Number.isFinite(value[k]!));
  return {
    order: Float64Array.from(keep, (k) => outside.order[k]!),
    value: Float64Array.from(keep, (k) => value[k]!),
  };
}

/** For each place the last value before it, NaN before the first; places ascend. */
export function lastBefore(at: Float64Array, { order, value }: Told): Float64Array {
  let k = 0;
  return at.map((here) => {
    while (k < order.length && order[k]! <= here) k++;
    return k === 0 ? Number.NaN : value[k - 1]!;
  });
}

/** For each place the first value behind it, NaN behind the last. */
export function firstAfter(at: Float64Array, { order, value }: Told): Float64Array {
  let k = 0;
  return at.map((here) => {
    while (k < order.length && order[k]! <= here) k++;
    return value[k] ?? Number.NaN;
  });
}

/** The epochs that lines before the rows announce, or, where rows come before their line, lines behind them. */
function announced(all: readonly Described[], rows: Rows, slot: SlotOf): Float64Array | undefined {
  const told = toldOutside(all, rows, slot);
  if (told.order.length === 0) return undefined;
  const before = lastBefore(rows.order, told);
  const after = firstAfter(rows.order, told);
  const [early, late] = [isWhole(before), isWhole(after)];
  // `Epoch 1 start`, then records each with its epoch behind it: what changes with every row is its own.
  if (late && (!early || repeats(before) > repeats(after))) return after;
  if (early) return before;
  // A log that was cut before the last line that names an epoch.
  if (rows.count > 2 && after.subarray(0, -1).every(Number.isFinite) && repeats(after) === 0) {
    after[rows.count - 1] = 2 * after[rows.count - 2]! - after[rows.count - 3]!;
    return after;
  }
  return undefined;
}

/** A batch counter that starts again in every epoch, joined with it; undefined where it counts on. */
function joined(
  batch: Float64Array,
  total: Float64Array,
  epoch: Float64Array | undefined,
  name: string,
): Axis | undefined {
  let falls = 0;
  let explained = 0;
  let wrap = 0;
  const wraps = new Float64Array(batch.length);
  for (let k = 1; k < batch.length; k++) {
    const next = epoch !== undefined && epoch[k]! > epoch[k - 1]!;
    const ran = batch[k - 1]! >= 0.9 * total[k - 1]! && batch[k]! < 0.5 * total[k]!;
    if (batch[k]! < batch[k - 1]! || (next && batch[k] === batch[k - 1])) {
      falls++;
      if (next || (epoch === undefined && ran)) {
        explained++;
        wrap++;
      }
    }
    wraps[k] = wrap;
  }
  if (falls === 0 || explained * 2 <= falls) return undefined;
  const epochs = epoch ?? wraps;
  if (!epochs.every(Number.isInteger)) return undefined;
  let most = 0;
  let least = Number.POSITIVE_INFINITY;
  let first = Number.POSITIVE_INFINITY;
  for (let k = 0; k < batch.length; k++) {
    most = Math.max(most, batch[k]!);
    least = Math.min(least, batch[k]!);
    first = Math.min(first, epochs[k]!);
  }
  const told = total.find((one) => one >= most);
  const size = told ?? most + (least === 0 ? 1 : 0);
  if (!(size > 0)) return undefined;
  const base = first === 0 ? 0 : 1;
  return {
    step: batch.map((one, k) => (epochs[k]! - base) * size + one),
    unit: 'step',
    name,
    notes: [
      `${name} starts again in every epoch: the step is ${base === 0 ? 'epoch' : '(epoch − 1)'} × ${formatCount(size)} + ${name}${told === undefined ? ' (the largest one that is printed)' : ''}`,
    ],
  };
}

/** The name of the counter that a table has for a use. */
const nameOf = ({ named }: Described, slot: number | undefined, otherwise: string): string =>
  named.find((one) => one.slot === slot)?.name || otherwise;

/** The second number of a counter. */
const totalSlot: SlotOf = (one) => {
  const slot = stepSlot(one);
  return slot !== undefined && one.template.kind[slot + 1] === SLOT.total ? slot + 1 : undefined;
};

/** The rows by their order alone. */
export const rowAxis = (count: number, notes: readonly string[] = []): Axis => ({
  step: Float64Array.from({ length: count }, (_, k) => k),
  unit: 'row',
  name: '',
  notes,
});

/** Rows of one printed step, spread over the steps up to the next one: each record keeps a place of its own. */
function unrounded(step: Float64Array): { step: Float64Array; most: number } {
  const out = step.slice();
  let most = 1;
  let stride = 0;
  for (let k = 0; k < step.length; ) {
    let end = k + 1;
    while (end < step.length && step[end] === step[k]) end++;
    const many = end - k;
    if (end < step.length) stride = step[end]! - step[k]!;
    for (let one = 1; one < many; one++) out[k + one] = step[k]! + (stride * one) / many;
    most = Math.max(most, many);
    k = end;
  }
  return { step: out, most };
}

/** The axis with a place of its own for each row, where rows one after the other print the same. */
export function withPlaces(axis: Axis): Axis {
  const { step, unit } = axis;
  if (unit === 'row' || repeats(step) === 0) return axis;
  for (let k = 1; k < step.length; k++) if (step[k]! < step[k - 1]!) return axis;
  const spread = unrounded(step);
  return {
    ...axis,
    step: spread.step,
    notes: [
      ...axis.notes,
      `up to ${spread.most} records print the same ${axis.name || unit}: it is rounded or they share it; each is kept, evenly spaced up to the next`,
    ],
  };
}

/** Share of the strides of a counter without a known name that are the commonest one. */
const LEAST_EVEN = 0.8;

/** Whether cells are whole numbers that rise by one stride; those of restarts and of another stride are few. */
export function isCounter(cells: Float64Array): boolean {
  if (cells.length < 3 || !cells.every((one) => Number.isInteger(one) && one >= 0)) return false;
  const strides = new Map<number, number>();
  for (let k = 1; k < cells.length; k++) {
    const stride = cells[k]! - cells[k - 1]!;
    strides.set(stride, (strides.get(stride) ?? 0) + 1);
  }
  let most = 0;
  for (const [stride, count] of strides) if (stride > 0 && count > most) most = count;
  return most >= LEAST_EVEN * (cells.length - 1);
}

/** Names of what rises evenly and counts no steps. */
const isMeasured = (name: string): boolean =>
  wordsOf(name).some((word) =>
    (['resource', 'rate', 'metric', 'thing'] as const).some((meaning) => means(word, meaning)),
  );

/**
 * A column that counts the rows, though its name is not known as a counter's or it has none.
 *
 * @param anchor a slot that every table has: slots without a name are found by their distance to it
 */
function counterSlot(rows: Rows, anchor: SlotOf): SlotOf | undefined {
  const base = rows.members.reduce((most, one) => (one.rows > most.rows ? one : most));
  const home = base.named.findIndex(({ slot }) => slot === anchor(base));
  for (const [at, { name, use, slot, loss }] of base.named.entries()) {
    const head = base.template.values[slot]?.finish().subarray(0, 16);
    if ((use !== 'value' && use !== 'none') || loss !== undefined || slot === anchor(base)) continue;
    if (head === undefined || !head.every(Number.isInteger) || isMeasured(name)) continue;
    const distance = at - home;
    const slotOf: SlotOf = (one) =>
      (name === '' ? undefined : one.named.find((named) => named.name === name)?.slot) ??
      one.named[one.named.findIndex((named) => named.slot === anchor(one)) + distance]?.slot;
    if (isCounter(cellsOf(rows, slotOf))) return slotOf;
  }
  return undefined;
}

/** Rows with a counter that never moves, in so many of them, are counted by something else: `batch 64` is a size. */
const LEAST_OF_SIZE = 3;
const moves = (cells: Float64Array): boolean =>
  cells.length < LEAST_OF_SIZE || cells.some((cell) => cell !== cells[0]);

/** The axis of rows that one process printed. */
function axisOfOne(rows: Rows, all: readonly Described[], anchor: SlotOf): Axis {
  const own = cellsOf(rows, epochSlot);
  const named = cellsOf(rows, stepSlot);
  const hasStep = isWhole(named) && moves(named);
  const hasEpoch = isWhole(own) && repeats(own) * 2 < own.length;
  const counter = hasStep || hasEpoch ? undefined : counterSlot(rows, anchor);
  const stepOf = counter ?? stepSlot;
  const step = counter === undefined ? named : cellsOf(rows, counter);
  const epoch = isWhole(own) ? own : announced(all, rows, epochSlot);
  const [member] = rows.members as [Described];
  if (hasStep || counter !== undefined) {
    const name = nameOf(member, stepOf(member), 'step');
    return joined(step, cellsOf(rows, totalSlot), epoch, name) ?? { step, unit: 'step', name, notes: [] };
  }
  if (hasEpoch)
    return { step: own, unit: 'epoch', name: nameOf(member, epochSlot(member), 'epoch'), notes: [] };
  const told = announced(all, rows, stepSlot);
  if (told !== undefined && repeats(told) * 2 < told.length) {
    const none = new Float64Array(told.length).fill(Number.NaN);
    const join = epoch === undefined ? undefined : joined(told, none, epoch, 'step');
    return { ...(join ?? { step: told, unit: 'step', name: 'step', notes: [] }), announced: true };
  }
  if (epoch !== undefined && repeats(epoch) * 2 < epoch.length)
    return { step: epoch, unit: 'epoch', name: 'epoch', notes: [], announced: true };
  return rowAxis(
    rows.count,
    epoch === undefined ? [] : ['several lines tell the same epoch; rows are counted'],
  );
}

/** Some of the rows. */
export function subset(rows: Rows, which: Uint32Array): Rows {
  const { sorted } = rows;
  return {
    members: rows.members,
    count: which.length,
    sorted: Uint32Array.from(which, (row) => sorted?.[row] ?? row),
    order: Float64Array.from(which, (row) => rows.order[row]!),
    line: Float64Array.from(which, (row) => rows.line[row]!),
  };
}

/**
 * The axis of rows.
 *
 * @param all every table: lines outside of the rows may announce where they are
 * @param anchor a slot that each table of the rows has
 * @param rank which process printed each row, where several did
 */
export function axisOf(
  rows: Rows,
  all: readonly Described[],
  anchor: SlotOf,
  rank: Float64Array | undefined,
): Axis {
  if (rank === undefined) return axisOfOne(rows, all, anchor);
  const step = new Float64Array(rows.count);
  let axis: Axis | undefined;
  for (const one of new Set(rank)) {
    const which = Uint32Array.from(rank.keys()).filter((row) => rank[row] === one);
    const part = withPlaces(axisOfOne(subset(rows, which), all, anchor));
    axis ??= part;
    which.forEach((row, k) => {
      step[row] = part.step[k]!;
    });
  }
  return { ...axis!, step };
}
