/**
 * Where on the axis of training rows lie: by a counter that they print, by a batch counter joined with its epoch, by what
 * lines before or behind them announce, or by their order.
 */
import { varies } from '../../../model/column.ts';
import { smallest } from '../../../model/order-statistics.ts';
import type { StepUnit } from '../../../model/run.ts';
import { findRestarts } from '../attempts.ts';
import { isCounter, isMeasured, stepRank } from '../axis-words.ts';
import { joinEpochs } from '../epochs-joined.ts';
import {
  cellsOf,
  type Kind,
  picked,
  placesWhere,
  type Rows,
  rowsOf,
  type Slot,
  type SlotOf,
  subset,
} from './cells.ts';

export interface Axis {
  /** One a row. */
  readonly step: Float64Array;
  readonly unit: StepUnit;
  /** The name of the counter; empty where rows are counted. */
  readonly name: string;
  readonly notes: readonly string[];
  /** Lines next to the rows tell where they are. */
  readonly announced?: true;
  /** Where rows are counted though their lines print an epoch: several tell the same one. */
  readonly epochs?: Float64Array;
  /** Rows at which training begins again though no step of the axis goes back. */
  readonly restarts?: readonly number[];
  /** Where the rows lie in their epochs. */
  readonly within?: { readonly batch: Float64Array; readonly epoch: Float64Array };
  /** The column that counts though no word says so: it is no series. */
  readonly counter?: SlotOf;
  /** The step at which training is to end, as the last row prints it. */
  readonly planned?: number;
}

/** A counter that never moves in so many lines is a size, where the lines have another. */
const LEAST_OF_SIZE = 3;
/** Whether the cells of a counter differ, or are too few to tell. */
const moves = ({ rows }: Kind, { column }: Slot): boolean => {
  const cells = rows.cells(column);
  const first = cells.find((cell) => !Number.isNaN(cell));
  return cells.length < LEAST_OF_SIZE || cells.some((cell) => !Number.isNaN(cell) && cell !== first);
};

/** Whether the cells of a counter differ. */
const hasMoved = ({ rows }: Kind, { column }: Slot): boolean => varies(rows.cells(column));

/** Whether a counter says where training is. `Batch (t): 0.312` is a time, and `batch 16` in every line a size. */
function counts(kind: Kind, slot: Slot): boolean {
  if (slot.use !== 'step') return false;
  if (slot.ofColumn >= 0) return true;
  const first = kind.rows.cells(slot.column).find((cell) => !Number.isNaN(cell));
  return first === undefined || (Number.isInteger(first) && moves(kind, slot));
}

/** The counter of a kind of lines that says most of where training is. */
export function stepSlot(kind: Kind): Slot | undefined {
  const { slots } = kind;
  const counters = slots.filter((slot) => counts(kind, slot));
  // Of several, one that never moves (`[Step 3/3]` of a build) does not count.
  const moving = counters.length > 1 ? counters.filter((slot) => moves(kind, slot)) : counters;
  const steps = moving.length > 0 ? moving : counters;
  // `[10/500] … batch 16`: of a counter with its total the other one is the size.
  const count = slots.find(({ use, ofColumn }) => use === 'count' && ofColumn >= 0);
  const areSizes = steps.every(({ name, ofColumn }) => ofColumn < 0 && /^batch$/i.test(name));
  if (count !== undefined && areSizes && hasMoved(kind, count)) return count;
  if (steps.length > 0)
    return steps.reduce((best, one) => (stepRank(one.name) < stepRank(best.name) ? one : best));
  return slots.find(({ use }) => use === 'count') ?? slots.find(({ use }) => use === 'index');
}

const namedStep: SlotOf = (one) => {
  const slot = stepSlot(one);
  return slot?.use === 'step' ? slot : undefined;
};
const epochSlot: SlotOf = ({ slots }) => slots.find(({ use }) => use === 'epoch');
const countSlot: SlotOf = ({ slots }) => slots.find(({ use }) => use === 'count');

const cellsIn = (rows: Rows, slot: SlotOf): Float64Array => cellsOf(rows, (one) => slot(one)?.column);
/** Whether every cell has a number; a loop, as calls for each of millions of cells take long. */
function isWhole(cells: Float64Array): boolean {
  for (let k = 0; k < cells.length; k++) if (Number.isNaN(cells[k]!)) return false;
  return true;
}

/** How many cells are the same as the one before. */
export function repeats(cells: Float64Array): number {
  let count = 0;
  for (let k = 1; k < cells.length; k++) if (cells[k] === cells[k - 1]) count++;
  return count;
}

/** What lines say of an axis: where, and the number, in the order of the lines. */
export interface Told {
  readonly order: Float64Array;
  readonly value: Float64Array;
}

/** The lines around some rows. */
export interface Lines {
  /** Every kind of lines: those that announce an epoch or a step are among them. */
  readonly all: readonly Kind[];
  /** Whether the line that names an epoch may come behind the rows of it. */
  readonly mayFollow: boolean;
}

/** What lines outside of some rows say. */
function toldOutside(all: readonly Kind[], rows: Rows, slot: SlotOf): Told {
  const inside = new Set(rows.members);
  const others = all.filter((one) => !inside.has(one) && slot(one) !== undefined);
  if (others.length === 0) return { order: new Float64Array(), value: new Float64Array() };
  const outside = rowsOf(others);
  const value = cellsIn(outside, slot);
  const keep = placesWhere(value.length, (k) => !Number.isNaN(value[k]!));
  return { order: picked(outside.order, keep), value: picked(value, keep) };
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
function announcedEpochs({ all, mayFollow }: Lines, rows: Rows): Float64Array | undefined {
  const told = toldOutside(all, rows, epochSlot);
  if (told.order.length === 0) return undefined;
  const before = lastBefore(rows.order, told);
  const early = isWhole(before);
  if (!mayFollow) return early ? before : undefined;
  const after = firstAfter(rows.order, told);
  // A log that was cut, or stopped early, before the last line that names an epoch.
  if (rows.count > 2 && isWhole(after.subarray(0, -1)) && repeats(after) === 0 && !isWhole(after))
    after[rows.count - 1] = 2 * after[rows.count - 2]! - after[rows.count - 3]!;
  // `Epoch 1 start`, then records each with its epoch behind it: what changes with every row is its own.
  if (isWhole(after) && (!early || repeats(before) > repeats(after))) return after;
  return early ? before : undefined;
}

/** The steps that lines before the rows announce, or a counter that is named behind them; undefined where most are the same. */
function announcedSteps(all: readonly Kind[], rows: Rows): Float64Array | undefined {
  const before = toldOutside(all, rows, stepSlot);
  if (before.order.length === 0) return undefined;
  const earlier = lastBefore(rows.order, before);
  const told = isWhole(earlier) ? earlier : firstAfter(rows.order, toldOutside(all, rows, namedStep));
  return isWhole(told) && repeats(told) * 2 < rows.count ? told : undefined;
}
/**
 * Whether steps begin again as those of a text that a model writes do (`**Step 1: Understand**`), all the time and not where an
 * epoch ends.
 */
function isOfText(step: Float64Array, epoch: Float64Array | undefined): boolean {
  let falls = 0;
  for (let k = 1; k < step.length; k++)
    if (step[k]! < step[k - 1]! && !(epoch !== undefined && epoch[k]! > epoch[k - 1]!)) falls++;
  return falls * MANY_FALLS > step.length;
}
/** A run has more rows than this, on average. */
const MANY_FALLS = 4;

/**
 * Where steps that count on through the epochs lie in them: of equal length, as the first step that is printed of each shows.
 * Undefined where they do not go on, or the log has no two epochs.
 */
function placesWithin(step: Float64Array, epoch: Float64Array): Axis['within'] {
  const firsts: { epoch: number; step: number }[] = [];
  for (let k = 0; k < step.length; k++) {
    if (k > 0 && !(step[k]! > step[k - 1]! && epoch[k]! >= epoch[k - 1]!)) return undefined;
    if (k === 0 || epoch[k] !== epoch[k - 1]) firsts.push({ epoch: epoch[k]!, step: step[k]! });
  }
  const [first, last] = [firsts[0], firsts.at(-1)];
  if (first === undefined || last === undefined || first === last) return undefined;
  const batches = (last.step - first.step) / (last.epoch - first.epoch);
  return {
    batch: step.map((one, k) => Math.max(0, one - first.step - (epoch[k]! - first.epoch) * batches)),
    epoch,
  };
}

/** The rows by their order alone. */
const rowAxis = (count: number, notes: readonly string[] = []): Axis => ({
  step: new Float64Array(count).map((_, k) => k),
  unit: 'row',
  name: '',
  notes,
});

/** WeNet prints `Batch 3/1200`, the epoch before the batch: the number behind it is not a total, it goes on with every row. */
const countsBehind = (epoch: Float64Array, batch: Float64Array): boolean =>
  batch.length > 2 && isWhole(batch) && repeats(batch) === 0 && repeats(epoch) * 2 >= batch.length;

/** A bar that goes over epochs: by its rate (`1.62epoch/s`, `3.1s/epoch`), or by the name before its share (`Epoch: 10%|`). */
const BAR_OF_EPOCHS = /\d(?:epochs?\/s|s\/epoch)\b|^[^|%:]{0,40}\bepochs?:? {1,4}\d{1,3}%\|/i;
const countsEpochs = (one: Kind): boolean =>
  one.bar && stepSlot(one)?.use === 'count' && BAR_OF_EPOCHS.test(one.text);

/**
 * A counter that rises in every row, where several rows print the same of the one that would be taken: the batches of one update
 * with accumulated gradients (`iter 78 step 39`).
 */
function finerCounter(rows: Rows): SlotOf | undefined {
  const { members } = rows;
  const coarse = stepSlot(members[0]!);
  const names = new Set(
    members.flatMap(({ slots }) => slots.flatMap(({ use, name }) => (use === 'step' ? [name] : []))),
  );
  if (coarse === undefined || names.size < 2) return undefined;
  const taken = cellsIn(rows, stepSlot);
  if (!isWhole(taken) || repeats(taken) === 0) return undefined;
  for (const name of names) {
    if (name === coarse.name) continue;
    const slotOf: SlotOf = ({ slots }) => slots.find((one) => one.use === 'step' && one.name === name);
    const cells = cellsIn(rows, slotOf);
    if (isWhole(cells) && cells.every((cell, k) => k === 0 || cell > cells[k - 1]!)) return slotOf;
  }
  return undefined;
}

/** A count of batches next to a step that is the same in most lines: WaveRNN's `(312/1000) | … | Step: 12k`. */
function finerCount(rows: Rows): SlotOf | undefined {
  if (!rows.members.every((one) => namedStep(one) && countSlot(one))) return undefined;
  const [step, count] = [cellsIn(rows, namedStep), cellsIn(rows, countSlot)];
  if (!isWhole(step) || !isWhole(count) || repeats(step) * 2 < step.length) return undefined;
  return repeats(count) < repeats(step) ? countSlot : undefined;
}

/** The slot of each kind as far from its end as one of a first kind. */
export const fromEnd = <K extends Kind>({ slots }: K, at: number): SlotOf<K> => {
  const distance = slots.length - at;
  return (one) => one.slots.at(-distance);
};

/**
 * A column that counts the rows, though its name is not known as a counter's or it has none.
 *
 * @param loss the slot of the loss: it does not count, whatever its numbers are
 */
function counterSlot(rows: Rows, loss: SlotOf): SlotOf | undefined {
  const base = rows.members.reduce((most, one) => (one.rows.count > most.rows.count ? one : most));
  for (const [at, slot] of base.slots.entries()) {
    const { name, use, column } = slot;
    if (column < 0 || use !== 'value' || slot === loss(base) || isMeasured(name)) continue;
    if (!base.rows.cells(column).subarray(0, 16).every(Number.isInteger)) continue;
    const behind = fromEnd(base, at);
    const slotOf: SlotOf = (one) =>
      (name === '' ? undefined : one.slots.find((other) => other.name === name)) ?? behind(one);
    if (isCounter(cellsIn(rows, slotOf))) return slotOf;
  }
  return undefined;
}

/** Whether the rows of each epoch tell the same in every value, of at least two epochs. */
function isRetold(rows: Rows, epoch: Float64Array): boolean {
  if (epoch.at(-1) === epoch[0]) return false;
  const names = new Set(
    rows.members.flatMap(({ slots }) => slots.flatMap(({ use, name }) => (use === 'value' ? [name] : []))),
  );
  return [...names].every((name) =>
    cellsIn(rows, ({ slots }) => slots.find((one) => one.use === 'value' && one.name === name)).every(
      (cell, k, cells) => k === 0 || epoch[k] !== epoch[k - 1] || Object.is(cell, cells[k - 1]),
    ),
  );
}

/** One in so many rows, at most, may be of a training that began again right after its first epoch. */
const FEW_AGAIN = 4;

/** Rows that tell the first epoch once more: training began again. Undefined where another epoch comes twice, or many rows do. */
function begunAgain(epoch: Float64Array): number[] | undefined {
  const again = placesWhere(epoch.length, (k) => k > 0 && epoch[k] === epoch[k - 1]);
  const first = smallest(epoch);
  const isFew = again.length * FEW_AGAIN <= epoch.length;
  return isFew && again.every((k) => epoch[k] === first) ? [...again] : undefined;
}

/** The places of rows in their epochs, from 1 on, where every epoch has as many as the others; the last one may have fewer. */
function evenWithin(epoch: Float64Array): Axis['within'] {
  const batch = new Float64Array(epoch.length);
  for (let k = 0; k < epoch.length; k++) batch[k] = epoch[k] === epoch[k - 1] ? batch[k - 1]! + 1 : 1;
  const ends = placesWhere(epoch.length - 1, (k) => epoch[k + 1] !== epoch[k]);
  const most = batch[ends[0] ?? 0]!;
  const isEven = ends.every((k) => batch[k] === most) && batch.at(-1)! <= most;
  return isEven ? { batch, epoch } : undefined;
}

/** The axis of rows that tell their epoch and nothing else of where they are. */
function byEpoch(rows: Rows, epoch: Float64Array): Axis | undefined {
  const again = begunAgain(epoch);
  if (again === undefined && !isRetold(rows, epoch)) return undefined;
  const restarts = again === undefined || again.length === 0 ? {} : { restarts: again };
  return { step: epoch, unit: 'epoch', name: 'epoch', notes: [], ...restarts };
}

/** The axis of rows of which several tell the same epoch. */
function byRowOfEpochs(count: number, epochs: Float64Array): Axis {
  const within = evenWithin(epochs);
  const restarts = findRestarts(epochs, [], []).map(({ index }) => index);
  return {
    ...rowAxis(count, ['several lines tell the same epoch; rows are counted instead']),
    epochs,
    ...(restarts.length === 0 ? {} : { restarts }),
    ...(within === undefined ? {} : { within }),
  };
}

/** The axis by a counter that every row prints. */
function byCounter(rows: Rows, step: Float64Array, stepOf: SlotOf, epoch: Float64Array | undefined): Axis {
  const name = stepOf(rows.members[0]!)?.name || 'step';
  const of = totalsIn(rows, stepOf);
  if (countsBehind(step, of)) {
    return joinEpochs(of, undefined, step, name) ?? { step: of, unit: 'step', name, notes: [] };
  }
  if (rows.members.every(countsEpochs) && cellsIn(rows, epochSlot).every(Number.isNaN))
    return { step, unit: 'epoch', name: 'epoch', notes: [], ...plannedBy(of) };
  const joined = joinEpochs(step, of, epoch, name);
  // Of a log that begins in a later epoch nothing shows how many steps came before it.
  const isFromStart = epoch === undefined || smallest(epoch) <= 1;
  const isAlone = joined === undefined && epoch === undefined;
  const planned = isFromStart ? plannedBy(of, isAlone ? undefined : totalsIn(rows, epochSlot)) : {};
  if (joined !== undefined) return { ...joined, ...planned };
  const within = epoch === undefined ? undefined : placesWithin(step, epoch);
  return { step, unit: 'step', name, ...(within === undefined ? {} : { within }), notes: [], ...planned };
}

const totalsIn = (rows: Rows, slot: SlotOf): Float64Array => cellsOf(rows, (one) => slot(one)?.ofColumn);

/** Where training is to end: `180/600`, or so many batches in each of so many epochs. */
function plannedBy(total: Float64Array, epochs?: Float64Array): Pick<Axis, 'planned'> {
  const planned = total.at(-1)! * (epochs?.at(-1) ?? 1);
  return planned > 0 ? { planned } : {};
}

/** The axis of rows that one process printed. */
function axisOfOne(rows: Rows, lines: Lines, loss: SlotOf): Axis {
  const stepOf = finerCounter(rows) ?? finerCount(rows) ?? stepSlot;
  const step = cellsIn(rows, stepOf);
  const own = cellsIn(rows, epochSlot);
  const epoch = isWhole(own) ? own : announcedEpochs(lines, rows);
  const counted = isWhole(step) ? byCounter(rows, step, stepOf, epoch) : undefined;
  // A bar that is full in every line counts nothing: `64/64 [====] loss: 2.3`.
  if (
    counted !== undefined &&
    (rows.count < LEAST_OF_SIZE || counted.step.some((one, _, all) => one !== all[0]))
  )
    return counted;
  // Of loggers with several handlers, and of ranks, each line comes several times.
  const byOwn = isWhole(own) ? byEpoch(rows, own) : undefined;
  if (byOwn !== undefined) return { ...byOwn, ...plannedBy(totalsIn(rows, epochSlot)) };
  const counter = counterSlot(rows, loss);
  if (counter !== undefined) return { ...byCounter(rows, cellsIn(rows, counter), counter, epoch), counter };
  const told = announcedSteps(lines.all, rows);
  // `2%|▏ | 20/1200` before `{'loss': 2.3, 'epoch': 0.0}`: a bar may lag, and then its steps are uneven.
  if (isWhole(own) && told !== undefined && isCounter(told))
    return { step: told, unit: 'step', name: 'step', notes: [], announced: true };
  if (isWhole(own)) return byRowOfEpochs(rows.count, own);
  if (told !== undefined && !isOfText(told, epoch)) {
    const joined = epoch === undefined ? undefined : joinEpochs(told, undefined, epoch, 'step');
    return { ...(joined ?? { step: told, unit: 'step', name: 'step', notes: [] }), announced: true };
  }
  if (epoch !== undefined && repeats(epoch) === 0)
    return { step: epoch, unit: 'epoch', name: 'epoch', announced: true, notes: [] };
  return rowAxis(rows.count);
}

/**
 * The axis that rows print themselves, or that lines next to them announce.
 *
 * @param loss the slot that they tell
 * @param rank which process printed each row, where several did
 */
export function axisOf(rows: Rows, lines: Lines, loss: SlotOf, rank: Float64Array | undefined): Axis {
  if (rank === undefined) return axisOfOne(rows, lines, loss);
  const step = new Float64Array(rows.count);
  let axis: Axis | undefined;
  for (const one of new Set(rank)) {
    const which = placesWhere(rank.length, (row) => rank[row] === one);
    axis = axisOfOne(subset(rows, which), lines, loss);
    for (const [k, row] of which.entries()) step[row] = axis.step[k]!;
  }
  return { ...axis!, step };
}

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

/** So many printed steps are of several records each where steps are rounded. */
const LEAST_ROUNDED = 3;
/** Digits of a rounded step that are not 0: `1.10e+04`. */
const SIGNIFICANT = 3;

/** Whether steps are printed with a few digits only, so that records one after the other print the same. */
function isRounded({ step, unit }: Axis): boolean {
  if (unit === 'row') return false;
  let several = 0;
  for (let k = 1; k < step.length; k++) {
    if (step[k]! < step[k - 1]!) return false;
    if (step[k] !== step[k - 1]) continue;
    if (step[k]! < 10 ** SIGNIFICANT || Number(step[k]!.toPrecision(SIGNIFICANT)) !== step[k]) return false;
    if (k === 1 || step[k - 2] !== step[k]) several++;
  }
  return several >= LEAST_ROUNDED;
}

/** The axis with a place of its own for each row, where printed steps are rounded. */
export function withPlaces(axis: Axis): Axis {
  if (!isRounded(axis)) return axis;
  const { step, most } = unrounded(axis.step);
  const note = `up to ${most} records print the same ${axis.name || axis.unit}: it is rounded or they share it; each is kept, evenly spaced up to the next`;
  return { ...axis, step, notes: [...axis.notes, note] };
}
