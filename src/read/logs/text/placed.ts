/** Rows that tell one loss as series: where each lies on the axis, which of them are one point, and what their cells hold. */
import { counted, formatCount } from '../../../model/format-number.ts';
import { digitsOf } from '../../../model/printed-digits.ts';
import type { StepUnit } from '../../../model/run.ts';
import type { LoggedSeries } from '../format.ts';
import { isLossName, roleByName } from '../metric-roles.ts';
import { ranksAmong } from '../ranks-among.ts';
import { undoRunningMeans } from '../running-means.ts';
import {
  type Axis,
  axisOf,
  firstAfter,
  type Lines,
  lastBefore,
  repeats,
  stepSlot,
  withPlaces,
} from './axis.ts';
import {
  cellsOf,
  type Kind,
  type LostCells,
  picked,
  placesWhere,
  presence,
  type Rows,
  rowsOf,
  type SlotOf,
} from './cells.ts';

/** Rows with their places. */
export interface Placed {
  readonly series: LoggedSeries[];
  /** Points of the rows. */
  readonly rows: number;
  readonly stepUnit: StepUnit;
  readonly planned?: number;
  /** As it is printed; empty where rows are counted. */
  readonly axisName: string;
  /** Lines before them tell where they are. */
  readonly announced: boolean;
  /** Each row says its epoch, and several say the same. */
  readonly ofEpochs: boolean;
  readonly notes: string[];
  /** Lines at which training begins again though no step goes back. */
  readonly restarts: readonly number[];
  /** The place of each row among all lines, ascending, and its step. */
  readonly order: Float64Array;
  readonly step: Float64Array;
}

/** Rows of a loss at its steps or epochs that rows which nothing counts do not outrank. */
const ENOUGH_COUNTED = 5;
/** So many rows for each of another loss are the batches of epochs that have it. */
const MANY_AN_EPOCH = 4;
/** Of two losses first the one with enough steps or epochs, where the other one's rows are merely counted; 0 where neither is so. */
export function byCounter(a: Placed, b: Placed): number {
  const outranks = (one: Placed, other: Placed): boolean =>
    one.stepUnit !== 'row' &&
    one.rows >= ENOUGH_COUNTED &&
    other.stepUnit === 'row' &&
    !(other.ofEpochs && other.rows >= MANY_AN_EPOCH * one.rows);
  return Number(outranks(b, a)) - Number(outranks(a, b));
}

/** The text that rows are of. */
export interface Around extends Lines {
  /** Whether rows are a log that no word says to be counted. */
  isLogOfRows(members: readonly Kind[], axis: Axis): boolean;
}

/** The rank that printed each row; undefined where one did, or lines do not say. */
function ranksOf(rows: Rows): Float64Array | undefined {
  const rankOf = ({ slots }: Kind): number | undefined => slots.find(({ use }) => use === 'rank')?.column;
  const printed = rows.members.some((one) => rankOf(one) !== undefined) ? cellsOf(rows, rankOf) : undefined;
  const rank = printed?.some((one) => !Number.isNaN(one))
    ? printed
    : ranksAmong(
        cellsOf(rows, (one) => stepSlot(one)?.column),
        cellsOf(rows, ({ slots }) => slots.find(({ use }) => use === 'epoch')?.column),
      );
  const isParallel = rank !== undefined && !rank.some(Number.isNaN) && new Set(rank).size > 1;
  return isParallel ? rank : undefined;
}

const isAxis = (use: string | undefined): boolean => use === 'step' || use === 'epoch' || use === 'count';

/** Whether rows go on as a log does: at least two places, most of them after the one before. */
function goesOn(axis: Axis, members: readonly Kind[], isParallel: boolean, around: Around): boolean {
  const { step } = axis;
  if (axis.unit === 'row' || axis.counter !== undefined) return around.isLogOfRows(members, axis);
  // A number that starts the line is a place in a list, a year, a time: the rounds of boosting start at 0 or 1. One in a bracket
  // counts (`[10]`, and `[10 | 34.42]` with the seconds).
  const isList = (one: Kind): boolean => stepSlot(one)?.use === 'index' && !/\[\d+(?:\]| \| )/.test(one.text);
  if (members.every(isList) && !(step[0]! <= 1)) return false;
  if (step.length === 1) return members.every(({ spare, slots }) => spare === 0 && isAxis(slots[0]?.use));
  let ahead = 0;
  let changes = 0;
  for (let k = 1; k < step.length; k++) {
    if (step[k] !== step[k - 1]) changes++;
    if (step[k]! > step[k - 1]!) ahead++;
  }
  return changes > 0 && (isParallel || ahead * 2 > changes);
}

/** Rows of another kind on the axis of the log: by the counter that both print, or that lines before both announce, else at the last step before them. */
function onClock(axis: Axis, { members, order }: Rows, clock: Placed): Axis {
  const own = axis.unit === clock.stepUnit && axis.unit !== 'row' && axis.notes.length === 0;
  const isSame =
    own &&
    !members.some(({ evaluation }) => evaluation === true) &&
    (axis.name.toLowerCase() === clock.axisName.toLowerCase() || liesWithin(axis.step, order, clock)) &&
    members.every(({ slots }) =>
      slots.some(({ use }) => use === 'step' || (use === 'epoch' && axis.unit === 'epoch')),
    );
  if (isSame || (axis.announced === true && clock.announced && axis.unit === clock.stepUnit))
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

const evaluates = ({ slots }: Kind): boolean =>
  slots.some(({ use, name }) => use === 'value' && roleByName(name) === 'eval_loss');

/** Whether the steps of rows are those of the log under another name: each lies between the steps around its line. */
function liesWithin(step: Float64Array, order: Float64Array, clock: Placed): boolean {
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

interface Merged {
  /** The point that each row goes to; -1 where the same line is drawn again later. */
  readonly target: Int32Array;
  /** The first row of each point. */
  readonly kept: Uint32Array;
  /** Most rows of one point. */
  readonly most: number;
}

/** Rows that are the same point: a bar that is drawn again (the last one counts), ranks in parallel (their mean). */
function mergeRows(
  { step, unit }: Axis,
  line: Float64Array,
  rank: Float64Array | undefined,
  { bars, isApart }: { bars: boolean; isApart: boolean },
): Merged {
  const rows = step.length;
  const target = new Int32Array(rows);
  const kept = new Uint32Array(rows);
  let points = 0;
  let most = 1;
  const counts = new Uint32Array(rows);
  /** Of ranks the points of their steps, anew for each time that a rank begins again. */
  const runs: Map<number, number>[] = [];
  const last = new Map<number, { run: number; step: number }>();
  const runOf = (row: number): Map<number, number> => {
    const before = last.get(rank![row]!);
    const run = before === undefined ? 0 : before.run + (step[row]! < before.step ? 1 : 0);
    last.set(rank![row]!, { run, step: step[row]! });
    runs[run] ??= new Map();
    return runs[run];
  };
  for (let row = 0; row < rows; row++) {
    const here = step[row]!;
    const run = rank === undefined || unit === 'row' ? undefined : runOf(row);
    let to = run?.get(here) ?? -1;
    if (rank === undefined && unit !== 'row' && row > 0 && here === step[row - 1]) to = points - 1;
    const isAgain = to >= 0 && rank === undefined && (bars || line[row] === line[kept[to]!]);
    if (isApart && !isAgain) to = -1;
    if (isAgain) {
      // Drawn again; in the same line, unless other bars were drawn in between.
      target.fill(-1, kept[to]!, row);
      kept[to] = row;
      target[row] = to;
      continue;
    }
    if (to < 0) {
      to = points++;
      kept[to] = row;
      run?.set(here, to);
    }
    most = Math.max(most, ++counts[to]!);
    target[row] = to;
  }
  return { target, kept: kept.subarray(0, points), most };
}

/** So many digits show that one number is another one rounded. */
const LEAST_DIGITS = 2;
/** Whether two numbers are one, which a line says with fewer digits than another. */
function isSame(a: number, b: number): boolean {
  if (!Number.isFinite(a) || !Number.isFinite(b) || a === b) return false;
  const [digits, others] = [digitsOf(a).digits, digitsOf(b).digits];
  const [short, exact] = digits < others ? [a, b] : [b, a];
  const least = Math.min(digits, others);
  return least >= LEAST_DIGITS && Number(exact.toPrecision(least)) === short;
}

/** Points of rows. */
interface Points {
  readonly step: Float64Array;
  readonly value: Float64Array;
  readonly line: Uint32Array;
}

/** The points of cells, where rows are merged or have none; `isOnce`: a number that is said twice is no mean of two. */
function pointsOf(
  cells: Float64Array,
  has: Uint8Array | undefined,
  { step, line }: { step: Float64Array; line: Float64Array },
  { target, kept, most }: Merged,
  isOnce: boolean,
): Points {
  const points = kept.length;
  const value = new Float64Array(points);
  const steps = new Float64Array(points);
  const lines = new Uint32Array(points);
  const count = new Uint32Array(points);
  for (let row = 0; row < cells.length; row++) {
    const to = target[row]!;
    if (to < 0 || has?.[row] === 0) continue;
    const cell = cells[row]!;
    if (isOnce && count[to] === 1 && isSame(value[to]!, cell)) continue;
    if (count[to]!++ === 0) {
      value[to] = cell;
      steps[to] = step[row]!;
      lines[to] = line[row]!;
    } else value[to]! += cell;
  }
  if (most > 1) for (let k = 0; k < points; k++) if (count[k]! > 1) value[k]! /= count[k]!;
  if (count.every((one) => one > 0)) return { step: steps, value, line: lines };
  const rows = placesWhere(points, (k) => count[k]! > 0);
  return { step: picked(steps, rows), value: picked(value, rows), line: picked(lines, rows) };
}

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

const columnOf =
  (name: string): ((one: Kind) => number | undefined) =>
  ({ slots }) =>
    slots.find((one) => one.use === 'value' && one.name === name)?.column;

/** The lines of a kind that is broken in the place of a name. */
function lostLines({ broken, rows }: Kind, name: string): LostCells {
  const lines = broken?.name === name ? [...rows.line()] : [];
  if (lines.length === 0 || broken!.missing) return { missing: lines, refused: [] };
  return { missing: [], refused: lines, firstRefused: { text: broken!.text, line: lines[0]! } };
}

/** The cells of a name without a value; those that are missing are in lines of their own kind. */
function emptyCells(
  members: readonly Kind[],
  name: string,
  lines: Uint32Array,
): Pick<LoggedSeries, 'missing' | 'refused' | 'refusedAt' | 'firstRefused' | 'gaps'> {
  const refusedAt: number[] = [];
  const gaps = new Uint32Array(lines.length + 1);
  let missing = 0;
  let first: LoggedSeries['firstRefused'];
  for (const one of members) {
    const column = columnOf(name)(one);
    const lost = column === undefined ? lostLines(one, name) : one.rows.lost(column);
    first ??= lost.firstRefused;
    for (const at of lost.refused) refusedAt.push(placeIn(lines, at));
    for (const at of lost.missing) gaps[placeIn(lines, at)]!++;
    missing += lost.missing.length;
  }
  return {
    missing,
    refused: refusedAt.length,
    ...(refusedAt.length === 0 ? {} : { refusedAt: Uint32Array.from(refusedAt).sort() }),
    ...(first === undefined ? {} : { firstRefused: first }),
    ...(missing === 0 ? {} : { gaps }),
  };
}

/** Of so many losses in a line one may look like a mean by chance. */
const MOST_CHANCE = 4;

interface UndoneCells {
  readonly name: string;
  readonly cells: Float64Array;
  readonly has: Uint8Array;
  readonly batches: number;
  readonly hidden: number;
}

/**
 * The losses that are means since their epoch began, undone. A trainer keeps means of all losses that it prints, so that few such
 * among many are chance.
 */
function meansOf(
  rows: Rows,
  names: ReadonlySet<string>,
  { batch, epoch }: NonNullable<Axis['within']>,
): UndoneCells[] {
  const losses = [...names].filter(
    (name) => isLossName(name) && presence(rows, columnOf(name)) === undefined,
  );
  const means = losses.flatMap((name): UndoneCells[] => {
    const undone = undoRunningMeans(cellsOf(rows, columnOf(name)), batch, epoch);
    if (undone === null) return [];
    const { value, hidden, batches } = undone;
    const has = hidden.map((one) => 1 - one);
    return [{ name, cells: value, has, batches, hidden: hidden.reduce((sum, one) => sum + one, 0) }];
  });
  return means.length * MOST_CHANCE > losses.length ? means : [];
}

function meansNote(means: readonly UndoneCells[]): string {
  const [{ batches, hidden }] = means as [UndoneCells];
  const names = means.slice(0, 3).map(({ name }) => `"${name}"`);
  const more = means.length > 3 ? ` and ${means.length - 3} more` : '';
  const single = hidden === 0 ? '' : `, without ${counted(hidden, 'point')} of fewer batches`;
  const of = batches === 1 ? 'what came since the line' : `the ${formatCount(batches)} batches`;
  return `${names.join(', ')}${more} ${means.length === 1 ? 'is the mean' : 'are means'} since the epoch began, which hides a jump and seems to show one where an epoch begins; undone: each point is the mean of ${of} before it${single}`;
}

/** Every value of rows as a series, with what is said of those that are means. */
function seriesOf(
  rows: Rows,
  axis: Axis,
  merged: Merged,
  { isParallel, isClock }: { isParallel: boolean; isClock: boolean },
): { series: LoggedSeries[]; notes: string[] } {
  const { members, line } = rows;
  const counter = members.map((one) => axis.counter?.(one));
  const names = new Set(
    members.flatMap(({ slots }, k) =>
      slots.flatMap((one) =>
        one.use === 'value' && one.name !== '' && one !== counter[k] ? [one.name] : [],
      ),
    ),
  );
  const isWhole = merged.kept.length === rows.count && merged.most === 1;
  // Most logs print every number in every line: their series share one step and one line.
  const shared = isWhole ? { step: axis.step, line: new Uint32Array(line) } : undefined;
  const within = isClock && !isParallel && merged.most === 1 ? axis.within : undefined;
  const means = within === undefined ? [] : meansOf(rows, names, within);
  const series = [...names].map((name): LoggedSeries => {
    const has = presence(rows, columnOf(name));
    const undone = means.find((one) => one.name === name);
    const { cells } = undone ?? { cells: cellsOf(rows, columnOf(name)) };
    const points =
      shared !== undefined && has === undefined && !undone?.hidden
        ? { ...shared, value: cells }
        : pointsOf(cells, undone?.has ?? has, { step: axis.step, line }, merged, !isParallel);
    return { name, ...points, ...emptyCells(members, name, points.line) };
  });
  return {
    series: series.filter(({ value }) => value.length > 0),
    notes: means.length > 0 ? [meansNote(means)] : [],
  };
}

/**
 * The rows of some kinds of lines as series; undefined where they do not go on as a log does.
 *
 * @param members kinds that tell the same
 * @param loss the slot of what they tell
 * @param clock the log that is read: rows without a counter of their own are shown at its last step before them
 */
export function placeGroup(
  members: readonly Kind[],
  around: Around,
  loss: SlotOf,
  clock?: Placed,
): Placed | undefined {
  const rows = rowsOf(members);
  if (rows.count === 0) return undefined;
  const rank = ranksOf(rows);
  const isParallel = rank !== undefined;
  const printed = axisOf(rows, around, loss, rank);
  const isClock = clock === undefined;
  if (isClock && !goesOn(printed, members, isParallel, around)) return undefined;
  const own = isClock ? printed : onClock(printed, rows, clock);
  const axis = isClock && !isParallel ? withPlaces(own) : own;
  const merged = mergeRows(axis, rows.line, rank, {
    bars: members.every(({ bar }) => bar),
    // An evaluation that is printed twice at the end alone, of another part of the data; a step of another attempt.
    isApart:
      (!isClock || axis.announced === true || axis.restarts !== undefined) &&
      !isParallel &&
      repeats(axis.step) * 2 < rows.count,
  });
  const { series, notes } = seriesOf(rows, axis, merged, { isParallel, isClock });
  return {
    series,
    rows: merged.kept.length,
    stepUnit: axis.unit,
    ...(axis.planned === undefined ? {} : { planned: axis.planned }),
    axisName: axis.name,
    announced: axis.announced === true,
    ofEpochs: axis.unit === 'row' && axis.epochs !== undefined && axis.epochs.at(-1)! > axis.epochs[0]!,
    notes: [
      ...axis.notes,
      ...(merged.most > 1 ? [mergedNote(merged.most, isClock)] : []),
      ...(rank === undefined ? [] : lostRanks(rows, axis, rank, loss)),
      ...notes,
    ],
    restarts: (axis.restarts ?? []).map((row) => rows.line[row]!),
    order: rows.order,
    step: axis.step,
  };
}

/** Which ranks tell a loss that is not finite where others of the same step tell a finite one: their mean does not say it. */
function lostRanks(rows: Rows, { step, unit }: Axis, rank: Float64Array, loss: SlotOf): string[] {
  const column = (one: Kind): number | undefined => loss(one)?.column;
  const cells = cellsOf(rows, column);
  const has = presence(rows, column);
  const isLost = (row: number): boolean => has?.[row] !== 0 && !Number.isFinite(cells[row]!);
  const first = cells.findIndex((_, row) => isLost(row));
  if (first < 0) return [];
  const beside = [...rank.keys()].filter((row) => step[row] === step[first]);
  const ranks = [...new Set(beside.filter(isLost).map((row) => rank[row]!))].sort((a, b) => a - b);
  const finite = new Set(beside.filter((row) => !isLost(row)).map((row) => rank[row])).size;
  if (finite === 0) return [];
  const named = `rank${ranks.length === 1 ? '' : 's'} ${ranks.slice(0, 8).join(', ')}`;
  const line = formatCount(rows.line[first]!);
  return [
    `at ${unit} ${formatCount(step[first]!)} the loss of ${named} is not finite (line ${line}); on ${counted(finite, 'other rank')} it is finite there`,
  ];
}

const mergedNote = (most: number, isClock: boolean): string =>
  isClock
    ? `up to ${most} lines tell the same step (ranks that print side by side, or lines written twice); their mean is taken`
    : `up to ${most} lines of an evaluation tell the same step; their mean is shown`;
