/**
 * Where on the axis of training the rows of printed lines lie: the counter that they print, a batch counter that starts
 * again in every epoch joined with the epoch, what was announced in a line before, or the row where nothing is printed.
 */
import { arrayOf, copyOf, readerOf } from '../../model/column.ts';
import { counted, formatCount } from '../../model/format-number.ts';
import type { StepUnit } from '../../model/run.ts';
import type { LoggedSeries } from './format.ts';
import { isLossName, roleByName } from './metric-roles.ts';
import type { Skeleton } from './printed-lines.ts';
import { ranksAmong } from './ranks-among.ts';
import { undoRunningMeans } from './running-means.ts';
import { firstAfter, lastBefore, repeats, rowAxis, withPlaces } from './text/axis.ts';

/** A counter that never moves in so many lines is a size, where the lines have another. */
const LEAST_OF_SIZE = 3;
/** A log without an axis has at least so many rows. */
const LEAST_WITHOUT_AXIS = 5;
/** Names of counters, best first: what counts the steps of the whole run before what counts a part of it. */
const PREFERRED = [
  /global[_ ]?step$/i,
  /(?:^|\/)total_timesteps$/i,
  /^(?:num_)?updates?$/i,
  /step$/i,
  /iter(?:ation)?s?$|^it$/i,
  /./,
];

export interface Placed {
  readonly series: LoggedSeries[];
  readonly rows: number;
  readonly stepUnit: StepUnit;
  /** As it is printed; empty where rows are counted. */
  readonly axisName: string;
  /** Lines before them tell where they are. */
  readonly announced: boolean;
  readonly notes: string[];
  /** The place of each row among all lines, ascending, and its step. */
  readonly order: Float64Array;
  readonly step: Float64Array;
}

/** The cells of one kind of axis or series in the rows of a group; NaN where a row has none. */
type Cells = Float64Array;

/** A column of a table as one cell a row, NaN where there is none. */
function dense({ table }: Skeleton, column: number): Cells {
  const from = table.columns[column]!;
  const value = copyOf(from.value.finish());
  if (from.row === undefined && value.length === table.rows()) return value;
  const cells = new Float64Array(table.rows()).fill(Number.NaN);
  const row = from.row && arrayOf(from.row.finish());
  for (let k = 0; k < value.length; k++) cells[row === undefined ? k : row[k]!] = value[k]!;
  return cells;
}

/** The cells of several skeletons, one after the other, as `sorted` orders them. */
function gather(
  members: readonly Skeleton[],
  of: (member: Skeleton) => { column: number } | undefined,
  sorted: Uint32Array | undefined,
): Cells {
  const [only] = members as [Skeleton];
  const single = members.length === 1 ? of(only) : undefined;
  if (single !== undefined) return dense(only, single.column);
  const rows = members.reduce((sum, { table }) => sum + table.rows(), 0);
  const all = new Float64Array(rows).fill(Number.NaN);
  let at = 0;
  for (const member of members) {
    const found = of(member);
    if (found !== undefined) all.set(dense(member, found.column), at);
    at += member.table.rows();
  }
  if (sorted === undefined) return all;
  const inOrder = new Float64Array(rows);
  for (let k = 0; k < rows; k++) inOrder[k] = all[sorted[k]!]!;
  return inOrder;
}

/** The rank that printed each row, NaN where it is not known; undefined where no row has one. */
function ranksOf(members: readonly Skeleton[], sorted: Uint32Array | undefined): Cells | undefined {
  if (members.some((one) => rankColumn(one) !== undefined)) {
    const printed = gather(members, (one) => rankColumn(one), sorted);
    if (printed.some((one) => !Number.isNaN(one))) return printed;
  }
  return ranksAmong(gather(members, stepSlot, sorted), gather(members, epochSlot, sorted));
}

/** The counter of a skeleton that says most of where training is. */
function stepSlot({ slots, table }: Skeleton): Skeleton['slots'][number] | undefined {
  // `Batch (t): 0.312` is a time, and `batch 16` in every line a size.
  const counts = ({ use, column, ofColumn }: Skeleton['slots'][number]): boolean => {
    const { count, value } = table.columns[column] ?? { count: 0 };
    if (use !== 'step' || count === 0 || ofColumn >= 0) return use === 'step';
    const cells = value!.finish();
    const first = cells.at(0)!;
    return Number.isInteger(first) && (count < LEAST_OF_SIZE || cells.some((cell) => cell !== first));
  };
  const counters = slots.filter(counts);
  // Of several, one that stands still (`[Step 3/3]` of a build) is none.
  const moves = ({ column }: Skeleton['slots'][number]): boolean => {
    const { count, value } = table.columns[column]!;
    const cells = value.finish();
    return count < LEAST_OF_SIZE || cells.some((cell) => cell !== cells.at(0));
  };
  const moving = counters.length > 1 ? counters.filter(moves) : counters;
  const steps = moving.length > 0 ? moving : counters;
  for (const pattern of PREFERRED) {
    const found = steps.find(({ name }) => pattern.test(name));
    if (found !== undefined) return found;
  }
  return slots.find(({ use }) => use === 'count') ?? slots.find(({ use }) => use === 'index');
}

const epochSlot = ({ slots }: Skeleton): { column: number; name: string } | undefined =>
  slots.find(({ use }) => use === 'epoch');

/** What lines outside of the group say of an axis: where, and the number, in the order of the lines. */
function announced(
  all: readonly Skeleton[],
  members: readonly Skeleton[],
  of: (one: Skeleton) => { column: number } | undefined,
): { order: Float64Array; value: Float64Array } {
  const inside = new Set(members);
  const points: [number, number][] = [];
  for (const one of all) {
    const slot = inside.has(one) ? undefined : of(one);
    if (slot === undefined) continue;
    const order = dense(one, 0);
    dense(one, slot.column).forEach((value, k) => {
      if (!Number.isNaN(value)) points.push([order[k]!, value]);
    });
  }
  points.sort((a, b) => a[0] - b[0]);
  return {
    order: Float64Array.from(points, ([order]) => order),
    value: Float64Array.from(points, ([, value]) => value),
  };
}

const namedStep = (one: Skeleton): Skeleton['slots'][number] | undefined => {
  const slot = stepSlot(one);
  return slot?.use === 'step' ? slot : undefined;
};

const isWhole = (cells: Cells): boolean => cells.every((cell) => !Number.isNaN(cell));

interface Axis {
  readonly step: Cells;
  readonly unit: StepUnit;
  readonly name: string;
  readonly announced?: boolean;
  /** Where rows are counted though their lines print an epoch: several tell the same one. */
  readonly epochs?: Cells;
  /** Of a counter that starts again in every epoch: what is printed, and the epoch. */
  readonly within?: { readonly batch: Cells; readonly epoch: Cells };
  readonly notes: readonly string[];
}

/**
 * Lightning draws a bar empty before it names the next epoch, with the values of the end: `Epoch 0: … 12/12`, then
 * `Epoch 0: … 0/12`. Such a row stands where the one before it stood.
 */
function withoutEmptied(batch: Cells, of: Cells, epoch: Cells | undefined): Cells {
  if (epoch === undefined) return batch;
  const out = batch.slice();
  for (let k = 1; k < out.length; k++)
    if (out[k] === 0 && epoch[k] === epoch[k - 1] && batch[k - 1] === of[k - 1]) out[k] = batch[k - 1]!;
  return out;
}

/** Batch counters that start again, joined with the epoch; undefined where they do not start again. */
function joinEpochs(printed: Cells, of: Cells, epoch: Cells | undefined, name: string): Axis | undefined {
  const batch = withoutEmptied(printed, of, epoch);
  let falls = 0;
  let explained = 0;
  let changes = 0;
  const wraps = new Float64Array(batch.length);
  let wrap = 0;
  for (let k = 1; k < batch.length; k++) {
    const next = epoch === undefined ? false : epoch[k]! > epoch[k - 1]!;
    if (next) changes++;
    const ran = batch[k - 1]! >= 0.9 * of[k - 1]! && batch[k]! < 0.5 * of[k - 1]!;
    if (batch[k]! < batch[k - 1]! || (next && batch[k]! === batch[k - 1]!)) {
      falls++;
      if (next || (epoch === undefined && ran)) {
        explained++;
        wrap++;
      }
    }
    wraps[k] = wrap;
  }
  // A step that counts on through the epochs falls where a run begins again, and there alone.
  if (falls === 0 || explained * 2 <= falls || falls * 2 < changes) return undefined;
  const epochs = epoch ?? wraps;
  if (!epochs.every((one) => Number.isInteger(one))) return undefined;
  const most = batch.reduce((a, b) => Math.max(a, b), 0);
  const least = batch.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const first = epochs.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const told = of.find((one) => one >= most);
  // What counts from 0 to its end and begins again is a run: batches of an epoch are counted from 0 or from 1.
  if (epoch === undefined && least === 0 && most === told) return undefined;
  const size = told ?? most + (least === 0 ? 1 : 0);
  if (!(size > 0)) return undefined;
  const base = first === 0 ? 0 : 1;
  return {
    step: batch.map((one, k) => (epochs[k]! - base) * size + one),
    unit: 'step',
    name,
    within: { batch, epoch: epochs },
    notes: [
      `${name} starts again in every epoch: the step is ${base === 0 ? 'epoch' : '(epoch − 1)'} × ${formatCount(size)} + ${name}${told === undefined ? ' (the largest one that is printed)' : ''}`,
    ],
  };
}

/**
 * Where steps that count on through the epochs lie in them: of equal length, as the first step that is printed of each tells.
 * Undefined where they do not go on, or the log has no two epochs.
 */
function placesWithin(step: Cells, epoch: Cells): Axis['within'] {
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

/** WeNet prints `Batch 3/1200`, the epoch before the batch: what stands behind is no total, it goes on with every row. */
function countsBehind(epoch: Cells, batch: Cells): boolean {
  if (!isWhole(batch)) return false;
  const rows = batch.length;
  return rows > 2 && repeats(batch) === 0 && repeats(epoch) * 2 >= rows;
}

/** A bar that goes over epochs: by its rate (`1.62epoch/s`, `3.1s/epoch`), or by the name before its share (`Epoch: 10%|`). */
const BAR_OF_EPOCHS = /\d(?:epochs?\/s|s\/epoch)\b|^[^|%:]{0,40}\bepochs?:? {1,4}\d{1,3}%\|/i;
const countsEpochs = (one: Skeleton): boolean =>
  one.bar && stepSlot(one)?.use === 'count' && BAR_OF_EPOCHS.test(one.text);

type SlotOf = (one: Skeleton) => Skeleton['slots'][number] | undefined;

/**
 * A counter that rises in every row, where the one that would be taken tells several rows the same: the batches of one update
 * with accumulated gradients (`iter 78 step 39`).
 */
function finerCounter(members: readonly Skeleton[], of: (slot: SlotOf) => Cells): SlotOf | undefined {
  const coarse = members.map(stepSlot);
  const names = new Set(
    members.flatMap(({ slots }) => slots.flatMap(({ use, name }) => (use === 'step' ? [name] : []))),
  );
  if (coarse[0] === undefined || names.size < 2) return undefined;
  const taken = of(stepSlot);
  if (!isWhole(taken) || repeats(taken) === 0) return undefined;
  for (const name of names) {
    if (name === coarse[0].name) continue;
    const slotOf: SlotOf = ({ slots }) => slots.find((one) => one.use === 'step' && one.name === name);
    const cells = of(slotOf);
    if (isWhole(cells) && cells.every((cell, k) => k === 0 || cell > cells[k - 1]!)) return slotOf;
  }
  return undefined;
}

const countSlot: SlotOf = ({ slots }) => slots.find(({ use }) => use === 'count');

/** A count of batches beside a step that most lines tell alike: WaveRNN's `(312/1000) | … | Step: 12k`. */
function finerCount(of: (slot: SlotOf) => Cells): SlotOf | undefined {
  const [step, count] = [of(namedStep), of(countSlot)];
  if (!isWhole(step) || !isWhole(count) || repeats(step) * 2 < step.length) return undefined;
  return repeats(count) < repeats(step) ? countSlot : undefined;
}

/** The axis that the rows of a group print themselves, or that lines before them announce. */
function axisOf(
  members: readonly Skeleton[],
  all: readonly Skeleton[],
  order: Float64Array,
  sorted: Uint32Array | undefined,
  subset: Uint32Array | undefined,
): Axis {
  const of = (slot: (one: Skeleton) => { column: number } | undefined): Cells => {
    const cells = gather(members, slot, sorted);
    return subset === undefined ? cells : Float64Array.from(subset, (row) => cells[row]!);
  };
  const rows = order.length;
  const stepOf = finerCounter(members, of) ?? finerCount(of) ?? stepSlot;
  const step = of(stepOf);
  const ownEpoch = of(epochSlot);
  let epoch: Cells | undefined = isWhole(ownEpoch) ? ownEpoch : undefined;
  if (epoch === undefined) {
    const before = announced(all, members, epochSlot);
    const told = before.order.length === 0 ? undefined : lastBefore(order, before);
    if (told !== undefined && isWhole(told)) epoch = told;
  }
  if (isWhole(step)) {
    const name = stepOf(members[0]!)!.name;
    const ofCells = of((one) => {
      const slot = stepOf(one);
      return slot === undefined || slot.ofColumn < 0 ? undefined : { column: slot.ofColumn };
    });
    if (countsBehind(step, ofCells)) {
      const none = new Float64Array(rows).fill(Number.NaN);
      return joinEpochs(ofCells, none, step, name) ?? { step: ofCells, unit: 'step', name, notes: [] };
    }
    if (ownEpoch.every(Number.isNaN) && members.every(countsEpochs))
      return { step, unit: 'epoch', name: 'epoch', notes: [] };
    const joined = joinEpochs(step, ofCells, epoch, name);
    if (joined !== undefined) return joined;
    const within = epoch === undefined ? undefined : placesWithin(step, epoch);
    return { step, unit: 'step', name, ...(within === undefined ? {} : { within }), notes: [] };
  }
  if (isWhole(ownEpoch)) {
    if (repeats(ownEpoch) === 0) return { step: ownEpoch, unit: 'epoch', name: 'epoch', notes: [] };
    // Of loggers with several handlers, and of ranks, each line comes several times.
    if (isRetold(members, of, ownEpoch)) return { step: ownEpoch, unit: 'epoch', name: 'epoch', notes: [] };
    const counted = rowAxis(rows, ['several lines tell the same epoch; rows are counted instead']);
    return { ...counted, epochs: ownEpoch };
  }
  const before = announced(all, members, stepSlot);
  if (before.order.length > 0) {
    const earlier = lastBefore(order, before);
    const told = isWhole(earlier) ? earlier : firstAfter(order, announced(all, members, namedStep));
    if (isWhole(told) && repeats(told) * 2 < rows) {
      const none = new Float64Array(rows).fill(Number.NaN);
      const joined = epoch === undefined ? undefined : joinEpochs(told, none, epoch, 'step');
      return { ...(joined ?? { step: told, unit: 'step', name: 'step', notes: [] }), announced: true };
    }
  }
  if (epoch !== undefined && repeats(epoch) === 0)
    return { step: epoch, unit: 'epoch', name: 'epoch', announced: true, notes: [] };
  return rowAxis(rows);
}

/** Whether the rows of each epoch tell the same in every value, of at least two epochs. */
function isRetold(
  members: readonly Skeleton[],
  of: (slot: (one: Skeleton) => { column: number } | undefined) => Cells,
  epoch: Cells,
): boolean {
  if (epoch.at(-1) === epoch[0]) return false;
  const names = new Set(
    members.flatMap(({ slots }) => slots.flatMap(({ use, name }) => (use === 'value' ? [name] : []))),
  );
  return [...names].every((name) =>
    of(({ slots }) => slots.find((one) => one.use === 'value' && one.name === name)).every(
      (cell, k, cells) => k === 0 || epoch[k] !== epoch[k - 1] || Object.is(cell, cells[k - 1]),
    ),
  );
}

/**
 * The rows of some skeletons as series; undefined where they do not go on as a log does.
 *
 * @param members skeletons that tell the same
 * @param all every skeleton that was kept: lines that announce an epoch or a step are among them
 * @param lines how many lines there are at all
 * @param clock the log that is read: rows without a counter of their own are shown at its last step before them
 */
export function placeGroup(
  members: readonly Skeleton[],
  all: readonly Skeleton[],
  lines: number,
  clock?: Placed,
): Placed | undefined {
  let rows = 0;
  for (const { table } of members) rows += table.rows();
  if (rows === 0) return undefined;
  let sorted: Uint32Array | undefined;
  if (members.length > 1) {
    const unsorted = gather(members, () => ({ column: 0 }), undefined);
    sorted = Uint32Array.from({ length: rows }, (_, k) => k).sort((a, b) => unsorted[a]! - unsorted[b]!);
  }
  const order = gather(members, () => ({ column: 0 }), sorted);
  const line = gather(members, () => ({ column: 1 }), sorted);
  const rank = ranksOf(members, sorted);
  const notes: string[] = [];

  // The step of every row, by itself for each rank: their lines interleave.
  const ranks = rank === undefined ? [] : [...new Set(rank)].filter((one) => !Number.isNaN(one));
  const parallel = rank !== undefined && ranks.length > 1 && isWhole(rank);
  let axis: Axis;
  if (parallel) {
    const step = new Float64Array(rows);
    let one: Axis | undefined;
    for (const here of ranks) {
      const subset = Uint32Array.from(
        Array.from(rank, (value, row) => (value === here ? row : -1)).filter((row) => row >= 0),
      );
      one = axisOf(
        members,
        all,
        Float64Array.from(subset, (row) => order[row]!),
        sorted,
        subset,
      );
      subset.forEach((row, k) => {
        step[row] = one!.step[k]!;
      });
    }
    axis = { ...one!, step };
  } else axis = axisOf(members, all, order, sorted, undefined);
  if (clock === undefined) {
    if (!goesOn(axis, members, parallel, lines)) return undefined;
  } else axis = onClock(axis, members, order, clock);
  if (!parallel && clock === undefined && hasRoundedSteps(axis)) {
    const { step, unit, name } = axis;
    const spread = withPlaces({ step, unit, name, notes: axis.notes });
    axis = { ...axis, step: spread.step, notes: [...spread.notes] };
  }
  notes.push(...axis.notes);

  const merged = mergeRows(axis, line, {
    parallel,
    evaluation: clock !== undefined,
    bars: members.every(({ bar }) => bar),
  });
  if (merged.note !== undefined) notes.push(merged.note);
  const names = new Set(
    members.flatMap(({ slots }) => slots.flatMap((one) => (one.use === 'value' ? [one.name] : []))),
  );
  // Most logs print every number in every line: their series share one step and one line.
  const shared =
    merged.merged || merged.kept.length < rows ? undefined : { step: axis.step, line: new Uint32Array(line) };
  const means: UndoneCells[] = [];
  const within = clock === undefined && !parallel && !merged.merged ? axis.within : undefined;
  const series = [...names].map((name): LoggedSeries => {
    const cells = gather(
      members,
      ({ slots }) => slots.find((one) => one.use === 'value' && one.name === name),
      sorted,
    );
    const has = hasCell(members, name, sorted, rows);
    const undone = within === undefined ? null : undoneOf(name, cells, has, within);
    if (undone !== null) means.push(undone);
    const own = { cells: undone?.cells ?? cells, has: undone?.has ?? has };
    const found =
      shared !== undefined && own.has.every((one) => one === 1)
        ? { ...shared, name, value: own.cells, missing: 0, refused: 0 }
        : toSeries(name, own.cells, own.has, axis.step, line, merged, !parallel);
    return { ...found, ...emptyCells(members, name, found.line) };
  });
  if (means.length > 0) notes.push(meansNote(means));
  return {
    series: series.filter(({ value }) => value.length > 0),
    rows: merged.kept.length,
    stepUnit: axis.unit,
    axisName: axis.name,
    announced: axis.announced === true,
    notes,
    order,
    step: axis.step,
  };
}

interface UndoneCells {
  readonly name: string;
  readonly cells: Cells;
  readonly has: Uint8Array;
  readonly batches: number;
  readonly hidden: number;
}

/** A loss that is the mean since its epoch began, undone; null where it is none. */
function undoneOf(
  name: string,
  cells: Cells,
  has: Uint8Array,
  { batch, epoch }: { readonly batch: Cells; readonly epoch: Cells },
): UndoneCells | null {
  if (!isLossName(name) || !has.every((one) => one === 1)) return null;
  const undone = undoRunningMeans(cells, batch, epoch);
  if (undone === null) return null;
  const { value, hidden, batches } = undone;
  return {
    name,
    cells: value,
    has: has.map((one, k) => (hidden[k] === 1 ? 0 : one)),
    batches,
    hidden: hidden.reduce((sum, one) => sum + one, 0),
  };
}

function meansNote(means: readonly UndoneCells[]): string {
  const [{ batches, hidden }] = means as [UndoneCells];
  const names = means.slice(0, 3).map(({ name }) => `"${name}"`);
  const more = means.length > 3 ? ` and ${means.length - 3} more` : '';
  const single = hidden === 0 ? '' : `, without ${counted(hidden, 'point')} of fewer batches`;
  return `${names.join(', ')}${more} ${means.length === 1 ? 'is the mean' : 'are means'} since the epoch began, which hides a jump and seems to show one where an epoch begins; undone: each point is the mean of the ${formatCount(batches)} batches before it${single}`;
}

const rankColumn = ({ slots }: Skeleton): { column: number } =>
  slots.find(({ use }) => use === 'rank') ?? { column: 2 };

/** Which rows have a cell of a name: a NaN that was printed is one. */
function hasCell(
  members: readonly Skeleton[],
  name: string,
  sorted: Uint32Array | undefined,
  rows: number,
): Uint8Array {
  const has = new Uint8Array(rows);
  let at = 0;
  for (const { slots, table } of members) {
    const slot = slots.find((one) => one.use === 'value' && one.name === name);
    if (slot !== undefined) {
      const column = table.columns[slot.column]!;
      const count = column.count;
      const row = column.row && arrayOf(column.row.finish());
      if (row === undefined) has.fill(1, at, at + count);
      else for (let k = 0; k < count; k++) has[at + row[k]!] = 1;
    }
    at += table.rows();
  }
  return sorted === undefined ? has : has.map((_, k) => has[sorted[k]!]!);
}

/** Whether rows go on as a log does: at least two places, most of them after the one before. */
function goesOn(axis: Axis, members: readonly Skeleton[], parallel: boolean, lines: number): boolean {
  const { step, epochs } = axis;
  if (axis.unit === 'row') {
    // Without a counter only lines that are nothing but records, and most of the text.
    const begins = ({ use, name }: Skeleton['slots'][number]): boolean =>
      (use === 'value' && roleByName(name) !== 'other') ||
      (use === 'epoch' &&
        epochs !== undefined &&
        (rises(epochs) || epochs.every((one) => one === epochs[0])));
    const pure = members.every(
      ({ spare, slots }) =>
        spare === 0 && slots.every((slot, k) => slot.use !== 'none' && (k > 0 || begins(slot))),
    );
    return step.length >= LEAST_WITHOUT_AXIS && pure && step.length * 2 >= lines;
  }
  // A number that starts the line is a place in a list, a year, a time: the rounds of boosting start at 0 or 1. One in a bracket
  // counts (`[10]`, and `[10 | 34.42]` with the seconds).
  if (
    members.every((one) => stepSlot(one)?.use === 'index' && !/\[\d+(?:\]| \| )/.test(one.text)) &&
    !(step[0]! <= 1)
  )
    return false;
  if (step.length === 1) return members.every(({ spare, slots }) => spare === 0 && isAxis(slots[0]?.use));
  let ahead = 0;
  let changes = 0;
  for (let k = 1; k < step.length; k++) {
    if (step[k] !== step[k - 1]) changes++;
    if (step[k]! > step[k - 1]!) ahead++;
  }
  return changes > 0 && (parallel || ahead * 2 > changes);
}

/** Whether cells never fall, and rise at last. */
const rises = (cells: Cells): boolean =>
  cells.every((cell, k) => k === 0 || cell >= cells[k - 1]!) && cells.at(-1)! > cells[0]!;

const isAxis = (use: string | undefined): boolean => use === 'step' || use === 'epoch' || use === 'count';

/** Rows of another kind on the axis of the log: by the counter that both print, or that lines before both announce, else at the last step before them. */
function onClock(axis: Axis, members: readonly Skeleton[], order: Float64Array, clock: Placed): Axis {
  const own = axis.unit === clock.stepUnit && axis.unit !== 'row' && axis.notes.length === 0;
  const same =
    own &&
    !members.some(({ evaluation }) => evaluation === true) &&
    (axis.name.toLowerCase() === clock.axisName.toLowerCase() || liesWithin(axis.step, order, clock)) &&
    members.every(({ slots }) =>
      slots.some(({ use }) => use === 'step' || (use === 'epoch' && axis.unit === 'epoch')),
    );
  if (same || (axis.announced === true && clock.announced && axis.unit === clock.stepUnit))
    return { ...axis, notes: [] };
  const told = { order: clock.order, value: clock.step };
  const step = comesBefore(order, clock.order) ? firstAfter(order, told) : lastBefore(order, told);
  // An evaluation of what was not trained yet is before the first step.
  const isBefore = clock.step[0] === 1 && clock.stepUnit === 'step' && members.every(evaluates);
  const first = isBefore ? 0 : clock.step[0]!;
  return {
    step: step.map((one) => (Number.isNaN(one) ? first : one)),
    unit: clock.stepUnit,
    name: clock.axisName,
    notes: [],
  };
}

const evaluates = ({ slots }: Skeleton): boolean =>
  slots.some(({ use, name }) => use === 'value' && roleByName(name) === 'eval_loss');

/** Whether the steps of rows are those of the log under another name: each lies between the steps around its line. */
function liesWithin(step: Cells, order: Float64Array, clock: Placed): boolean {
  const told = { order: clock.order, value: clock.step };
  const before = lastBefore(order, told);
  const after = firstAfter(order, told);
  return step.every((one, k) => {
    const [least, most] = [before[k]!, after[k]!];
    // Where the log begins again, before or after that.
    return least > most ? one >= least || one <= most : !(one < least || one > most);
  });
}

/** Whether rows and those of the log take turns, a row first: each is of the line behind it (PySOT's rate, before the losses of its step). */
function comesBefore(order: Float64Array, clock: Float64Array): boolean {
  if (order.length !== clock.length || order.length < 2) return false;
  return order.every((at, k) => at < clock[k]! && (k === 0 || at > clock[k - 1]!));
}

/** So many printed steps stand for several records each where steps are rounded. */
const LEAST_ROUNDED = 3;
/** Digits of a rounded step that are not 0: `1.10e+04`. */
const SIGNIFICANT = 3;

/** Whether steps are printed with a few digits only, so that records one after the other print the same. */
function hasRoundedSteps({ step, unit }: Axis): boolean {
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

interface Merged {
  /** The point that each row goes to; -1 where a later drawing of the same line stands for it. */
  readonly target: Int32Array;
  /** The first row of each point. */
  readonly kept: Uint32Array;
  /** Whether any point is made of several rows. */
  readonly merged: boolean;
  readonly note: string | undefined;
}

/** Rows that are the same point: a bar that is drawn again (the last one counts), ranks in parallel (their mean). */
function mergeRows(
  axis: Axis,
  line: Cells,
  { parallel, evaluation, bars }: { parallel: boolean; evaluation: boolean; bars: boolean },
): Merged {
  const { step, unit } = axis;
  const rows = step.length;
  const target = new Int32Array(rows);
  const kept = new Uint32Array(rows);
  let points = 0;
  let several = 0;
  let most = 1;
  const counts = new Uint32Array(rows);
  const point = new Map<number, number>();
  let last = Number.NaN;
  for (let row = 0; row < rows; row++) {
    const here = step[row]!;
    let to = -1;
    if (unit !== 'row' && row > 0) {
      if (parallel) to = point.get(here) ?? -1;
      else if (here === last) {
        to = points - 1;
        if (bars || line[row] === line[kept[to]!]) {
          // Drawn again; in the same line, unless other bars were drawn in between.
          target.fill(-1, kept[to]!, row);
          kept[to] = row;
          target[row] = to;
          continue;
        }
      }
    }
    last = here;
    if (to < 0) {
      to = points++;
      kept[to] = row;
      if (parallel) point.set(here, to);
    }
    counts[to]!++;
    if (counts[to] === 2) several++;
    if (counts[to]! > most) most = counts[to]!;
    target[row] = to;
  }
  const note =
    several === 0
      ? undefined
      : evaluation
        ? `up to ${most} lines of an evaluation tell the same step; their mean is shown`
        : `up to ${most} lines tell the same step (ranks that print side by side, or lines written twice); their mean is taken`;
  return { target, kept: kept.subarray(0, points), merged: several > 0, note };
}

/** So many digits show that one number is another one rounded. */
const LEAST_DIGITS = 2;
const digitsOf = (number: number): number => number.toExponential().replace(/e.*|\D/g, '').length;
/** Whether two numbers are one, which a line says with fewer digits than another. */
function isSame(a: number, b: number): boolean {
  if (!Number.isFinite(a) || !Number.isFinite(b) || a === b) return false;
  const [digits, others] = [digitsOf(a), digitsOf(b)];
  const [short, exact] = digits < others ? [a, b] : [b, a];
  const least = Math.min(digits, others);
  return least >= LEAST_DIGITS && Number(exact.toPrecision(least)) === short;
}

function toSeries(
  name: string,
  cells: Cells,
  has: Uint8Array,
  step: Cells,
  line: Cells,
  { target, kept, merged }: Merged,
  isOnce: boolean,
): LoggedSeries & { readonly line: Uint32Array } {
  const points = kept.length;
  const value = new Float64Array(points);
  const steps = new Float64Array(points);
  const lines = new Uint32Array(points);
  const count = new Uint32Array(points);
  for (let row = 0; row < cells.length; row++) {
    const to = target[row]!;
    if (to < 0 || has[row] === 0) continue;
    const cell = cells[row]!;
    if (isOnce && count[to] === 1 && isSame(value[to]!, cell)) continue;
    if (count[to]!++ === 0) {
      value[to] = cell;
      steps[to] = step[row]!;
      lines[to] = line[row]!;
    } else value[to]! += cell;
  }
  if (merged) for (let k = 0; k < points; k++) if (count[k]! > 1) value[k]! /= count[k]!;
  const none = { missing: 0, refused: 0 };
  if (count.every((one) => one > 0)) return { name, step: steps, value, line: lines, ...none };
  const rows = Uint32Array.from(count.keys()).filter((k) => count[k]! > 0);
  return {
    name,
    step: Float64Array.from(rows, (k) => steps[k]!),
    value: Float64Array.from(rows, (k) => value[k]!),
    line: Uint32Array.from(rows, (k) => lines[k]!),
    ...none,
  };
}

/** The cells of a name that are no value; those that are missing stand in lines of its own kind. */
function emptyCells(
  members: readonly Skeleton[],
  name: string,
  lines: Uint32Array,
): Pick<LoggedSeries, 'missing' | 'refused' | 'refusedAt' | 'firstRefused' | 'gaps'> {
  const refusedAt: number[] = [];
  let missing = 0;
  let refused = 0;
  let first: LoggedSeries['firstRefused'];
  const missingBefore: number[] = [];
  for (const { slots, table, broken, line } of members) {
    if (broken?.name === name && !slots.some(({ use, name: own }) => use === 'value' && own === name)) {
      if (broken.missing) {
        missing += table.rows();
        for (const at of table.columns[LINE_COLUMN]!.value.finish().subarray(0, table.rows()))
          missingBefore.push(placeIn(lines, at));
      } else {
        refused += table.rows();
        first ??= { text: broken.text, line };
        for (const at of table.columns[LINE_COLUMN]!.value.finish().subarray(0, table.rows()))
          refusedAt.push(placeIn(lines, at));
      }
    }
    for (const slot of slots) {
      if (slot.use !== 'value' || slot.name !== name) continue;
      const column = table.columns[slot.column]!;
      const rows = column.row?.finish();
      const lineOf = readerOf(table.columns[LINE_COLUMN]!.value.finish());
      missing += column.missing;
      refused += column.refused;
      first ??= column.firstRefused;
      for (const before of column.refusedAt.subarray(0, column.refused)) {
        // After the last value of its own kind of lines.
        const row = before === 0 ? undefined : (rows?.at(before - 1) ?? before - 1);
        refusedAt.push(row === undefined ? 0 : placeIn(lines, lineOf(row) + 1));
      }
      for (let k = 0; k < column.missing; k++)
        missingBefore.push(placeIn(lines, lineOf(column.missingRows[k]!)));
    }
  }
  return {
    missing,
    refused,
    ...(refused === 0 ? {} : { refusedAt: Uint32Array.from(refusedAt).sort() }),
    ...(first === undefined ? {} : { firstRefused: first }),
    ...(missing === 0 ? {} : { gaps: countedIn(missingBefore, lines.length + 1) }),
  };
}

/** How often each number below `length` is among places. */
function countedIn(places: readonly number[], length: number): Uint32Array {
  const counts = new Uint32Array(length);
  for (const place of places) counts[place]!++;
  return counts;
}

/** The column of a skeleton's table that has the line of each row. */
const LINE_COLUMN = 1;

/** How many of ascending lines come before one. */
function placeIn(lines: Uint32Array, line: number): number {
  let [low, high] = [0, lines.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lines[middle]! < line) low = middle + 1;
    else high = middle;
  }
  return low;
}
