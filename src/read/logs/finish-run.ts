/** Makes a Run of what a format read: roles, attempts and notes over all series of the run. */
import { blocksOf, type Column, joinedOf } from '../../model/column.ts';
import type { Attempt, Role, Run, TimeSeries } from '../../model/run.ts';
import { findRestarts, type Restart } from './attempts.ts';
import { type BatchAxis, batchAxisOf, countedOn } from './batch-axis.ts';
import type { LogFormat, LoggedRun, LoggedSeries } from './format.ts';
import { assignRoles, isLossName, namesLossValue } from './metric-roles.ts';
import { LOG_FORMATS } from './registry.ts';
import { rowsApart } from './rows-apart.ts';

/** A file's part of a run. */
export interface RunPart {
  readonly path: string;
  readonly run: LoggedRun;
  /** Put before the names of its series (`validation/` for the events of a sibling folder); as logged where empty. */
  readonly prefix?: string;
  /** Its series are parallel to those of the part before and do not follow them (one file per metric). */
  readonly parallel?: boolean;
}

interface Joined extends LoggedSeries {
  readonly pathOffsets: readonly number[];
}

const FORMATS: Readonly<Record<string, LogFormat>> = LOG_FORMATS;

/** The series of several files under one name, one after the other; no copy where there is one file. */
function join(parts: readonly RunPart[]): Joined[] {
  const pieces = new Map<string, { part: number; series: LoggedSeries }[]>();
  parts.forEach(({ run, prefix }, part) => {
    for (const series of run.series) {
      const name = (prefix ?? '') + series.name;
      const list = pieces.get(name);
      if (list === undefined) pieces.set(name, [{ part, series }]);
      else list.push({ part, series });
    }
  });
  return [...pieces].map(([name, list]): Joined => {
    const pathOffsets = parts.map((_, part) =>
      list.reduce((sum, one) => (one.part < part ? sum + one.series.step.length : sum), 0),
    );
    const all = list.map(({ part, series }) => placed(series, parts[part]!.path));
    if (all.length === 1) return { ...all[0]!, name, pathOffsets };
    const length = all.reduce((sum, one) => sum + one.step.length, 0);
    const concat = (of: (one: LoggedSeries) => Column): Column => joinedOf(all.map(of));
    const firstRefused = all.find((one) => one.firstRefused !== undefined)?.firstRefused;
    return {
      name,
      pathOffsets,
      missing: all.reduce((sum, one) => sum + one.missing, 0),
      refused: all.reduce((sum, one) => sum + one.refused, 0),
      ...(all[0]!.quantity === undefined ? {} : { quantity: all[0]!.quantity }),
      ...(firstRefused === undefined ? {} : { firstRefused }),
      ...joinRefused(all),
      ...(all.some((one) => one.gaps) ? { gaps: joinGaps(all, length) } : {}),
      step: concat((one) => one.step),
      value: concat((one) => one.value),
      ...(all.every((one) => one.wallTime) ? { wallTime: concat((one) => one.wallTime!) } : {}),
      ...(all.every((one) => one.line) ? { line: concat((one) => one.line!) } : {}),
      ...(all.every((one) => one.byteOffset) ? { byteOffset: concat((one) => one.byteOffset!) } : {}),
    };
  });
}

const placed = (series: LoggedSeries, path: string): LoggedSeries =>
  series.firstRefused === undefined ? series : { ...series, firstRefused: { ...series.firstRefused, path } };

/** The places of the refused cells of several files, if they are known for all of them. */
function joinRefused(all: readonly LoggedSeries[]): Pick<LoggedSeries, 'refusedAt'> {
  if (all.some(({ refused, refusedAt }) => refused > 0 && refusedAt === undefined)) return {};
  let before = 0;
  const places: number[] = [];
  for (const { refusedAt, step } of all) {
    for (const at of refusedAt ?? []) places.push(before + at);
    before += step.length;
  }
  return places.length === 0 ? {} : { refusedAt: Uint32Array.from(places) };
}

/** The gaps of several files: those at the end of one precede the first point of the next. */
function joinGaps(all: readonly LoggedSeries[], points: number): Uint32Array {
  const gaps = new Uint32Array(points + 1);
  let at = 0;
  for (const one of all) {
    one.gaps?.forEach((gap, k) => {
      gaps[at + k]! += gap;
    });
    at += one.step.length;
  }
  return gaps;
}

/** A series of training with less than this share of the points of the longest one is a setting, or began late. */
const FEW = 0.1;

/** Which series shows the restarts: the loss, else the longest of training, else the longest. */
function axisSeries<One extends Joined & { role: Role }>(series: readonly One[]): One | undefined {
  const longest = (among: readonly One[]): One | undefined =>
    among.reduce<One | undefined>(
      (best, one) => (best === undefined || one.step.length > best.step.length ? one : best),
      undefined,
    );
  const training: readonly Role[] = ['task_loss', 'grad_norm', 'learning_rate', 'param_norm', 'update_norm'];
  const most = longest(series)?.step.length ?? 0;
  return (
    longest(series.filter((one) => one.role === 'loss')) ??
    longest(series.filter((one) => training.includes(one.role) && one.step.length >= FEW * most)) ??
    longest(series.filter((one) => one.role === 'eval_loss')) ??
    longest(series)
  );
}

/** The position of a point within its file, ascending there. */
const positionOf = (series: Joined, index: number): number =>
  series.line?.at(index) ?? series.byteOffset?.at(index) ?? index;

const fileOf = (series: Joined, index: number): number => {
  let file = 0;
  for (let k = 1; k < series.pathOffsets.length; k++) if (series.pathOffsets[k]! <= index) file = k;
  return file;
};

/**
 * Finds a restart of one series in another one. The candidates were logged between the last point of the attempt
 * that ended and the restart; the first that is not beyond the step of the restart, or is in a later file, counts.
 */
function restartIn(series: Joined, axis: Joined, index: number, parallel: boolean): number {
  if (series === axis) return index;
  const key = (of: Joined, k: number): number =>
    parallel && of.wallTime !== undefined ? of.wallTime.at(k)! : positionOf(of, k);
  const file = (of: Joined, k: number): number => (parallel ? 0 : fileOf(of, k));
  const isBefore = (k: number, at: number): boolean => {
    const difference = file(series, k) - file(axis, at);
    return difference === 0 ? key(series, k) < key(axis, at) : difference < 0;
  };
  const bound = (at: number): number => {
    let low = 0;
    let high = series.step.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(middle, at)) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  let from = bound(index - 1);
  const to = bound(index);
  // The row of the last point of the attempt that ended belongs to it.
  while (from < to && !isBefore(from, index - 1) && key(series, from) === key(axis, index - 1)) from++;
  for (let k = from; k < to; k++)
    if (series.step.at(k)! <= axis.step.at(index)! || file(series, k) > file(axis, index - 1)) return k;
  return to;
}

/**
 * @param id see {@link Run.id}
 * @param parts the files of the run in the order of their time
 * @param hyperparameters from sidecars; the log's own come first
 */
export function finishRun(
  id: string,
  parts: readonly RunPart[],
  format: string,
  forced: ReadonlyMap<string, Role>,
  hyperparameters: Run['hyperparameters'] = new Map(),
  sidecarNotes: readonly string[] = [],
): Run {
  const joins = join(parts);
  const convention = FORMATS[format]?.convention?.(joins);
  const joined = convention?.series ?? joins;
  const named = (one: Joined): Joined => {
    const quantity = convention?.quantities.get(one.name);
    return quantity === undefined ? one : { ...one, quantity };
  };
  // Drop text columns before choosing the loss: one named like a loss would be a candidate.
  const measured = joined.filter(
    (one) => isMeasured(one) || namesLossValue(one.name) || forced.has(one.name),
  );
  const apart = rowsApart(joined, parts[0]?.run.stepUnit ?? 'row');
  const losses =
    apart === undefined || forced.size > 0 ? [] : measured.filter(({ name }) => isLossName(name));
  const { roles, notes, guess } = assignRoles(
    measured.map(named),
    new Map([
      ...losses.map(({ name }): [string, Role] => [name, 'other']),
      ...(convention?.roles ?? []),
      ...forced,
    ]),
  );
  if (losses.length > 0)
    notes.push(
      `each row is an item of its own by "${apart}", so that ${losses.map(({ name }) => `"${name}"`).join(', ')} ${losses.length === 1 ? 'is not a loss' : 'are not losses'} of one training (--map loss=NAME judges one all the same)`,
    );
  const all = measured.map((one, k) => ({ ...one, ...roles[k]! }));
  const withRoles = all.filter((one) => isMeasured(one) || isAwaited(one));
  const shown = new Set(withRoles.map(({ name }) => name));
  const left = joined.filter(({ name }) => !shown.has(name));
  const axis = axisSeries(withRoles);
  const parallel = parts.some((part) => part.parallel === true);
  const found =
    axis === undefined
      ? []
      : findRestarts(axis.step, parallel ? [] : axis.pathOffsets.slice(1), markedIndices(axis, parts));
  const batches = axis?.role === 'loss' && !parallel ? batchAxisOf(axis, found) : null;
  const restarts = batches === null ? found : [];
  const series = withRoles.map((one): TimeSeries => {
    const offsets = [0];
    for (const restart of found) {
      const index = axis === undefined ? 0 : restartIn(one, axis, restart.index, parallel);
      offsets.push(Math.max(index, offsets.at(-1)!));
    }
    return batches === null
      ? { ...one, attemptOffsets: offsets }
      : { ...one, step: countedOn(one.step, offsets, batches), attemptOffsets: [0] };
  });
  if (batches !== null)
    notes.push(
      `the steps begin again ${batches.epochs - 1} times at ${batches.first} while the loss goes on: they count the batches of an epoch, so step ${batches.period + batches.first} is here the first of the second epoch`,
    );
  return {
    id,
    paths: parts.map((part) => part.path),
    format,
    stepUnit: convention?.stepUnit ?? parts[0]?.run.stepUnit ?? 'row',
    ...epochsOf(convention?.epochs, batches),
    ...plannedOf(parts, found.length),
    ...(guess === undefined ? {} : { guess }),
    series,
    attempts: attemptsOf(series, restarts),
    hyperparameters: new Map([
      ...hyperparameters,
      ...parts.flatMap((part) => [...(part.run.hyperparameters ?? [])]),
    ]),
    notes: [
      ...new Set([
        ...parts.flatMap((part) => part.run.notes ?? []),
        ...(convention?.notes ?? []),
        ...sidecarNotes,
        ...notes,
        ...(guess === undefined ? [] : [guess]),
        ...leftNote(
          'columns of text, which are no series',
          left.filter(({ refused }) => refused > 0),
        ),
        ...leftNote(
          'columns without a value, which are no series',
          left.filter(({ refused }) => refused === 0),
        ),
      ]),
    ],
  };
}

/** Where the training is to end. A counter that begins again counts to the end of an epoch, or of an attempt. */
function plannedOf(parts: readonly { readonly run: LoggedRun }[], restarts: number): Pick<Run, 'planned'> {
  const planned = parts.at(-1)?.run.planned;
  return planned === undefined || restarts > 0 ? {} : { planned };
}

/** How many batches an epoch has, where the log says it or its steps show it. */
function epochsOf(said: Run['epochs'], batches: BatchAxis | null): Pick<Run, 'epochs'> {
  if (said !== undefined) return { epochs: said };
  return batches === null ? {} : { epochs: { batches: batches.period, first: batches.first } };
}

/** Most cells that are not missing are numbers. */
const isMeasured = ({ value, refused }: LoggedSeries): boolean => value.length > refused;

/** A loss without numbers is kept, to report its cells. Other roles need a refused cell: an evaluation may be absent. */
const isAwaited = ({ role, refused }: LoggedSeries & { role: Role }): boolean =>
  role === 'loss' || role === 'task_loss' || (refused > 0 && role !== 'other');

const leftNote = (what: string, series: readonly LoggedSeries[]): string[] => {
  const names = series.map(({ name }) => name);
  const more = names.length > 10 ? `, and ${names.length - 10} more` : '';
  return names.length === 0 ? [] : [`${what}: ${names.slice(0, 10).join(', ')}${more}`];
};

/** The first points of the axis after the places at which the log says that it starts again. */
function markedIndices(axis: Joined, parts: readonly RunPart[]): number[] {
  const indices: number[] = [];
  parts.forEach(({ run }, part) => {
    const to = axis.pathOffsets[part + 1] ?? axis.step.length;
    let index = axis.pathOffsets[part]!;
    for (const position of run.restarts ?? []) {
      while (index < to && positionOf(axis, index) < position) index++;
      if (index < to) indices.push(index);
    }
  });
  return indices;
}

function attemptsOf(series: readonly TimeSeries[], restarts: readonly Restart[]): Attempt[] {
  return [undefined, ...restarts].map((restart, index): Attempt => {
    let firstStep = Number.POSITIVE_INFINITY;
    let lastStep = Number.NEGATIVE_INFINITY;
    let looked: { readonly step?: Column; readonly from: number; readonly to: number } = { from: 0, to: 0 };
    for (const one of series) {
      const to = one.attemptOffsets[index + 1] ?? one.step.length;
      // Columns of one table share their steps.
      if (one.step === looked.step && one.attemptOffsets[index] === looked.from && to === looked.to) continue;
      looked = { step: one.step, from: one.attemptOffsets[index]!, to };
      for (const block of blocksOf(one.step.subarray(looked.from, to)))
        for (let k = 0; k < block.length; k++) {
          if (block[k]! < firstStep) firstStep = block[k]!;
          if (block[k]! > lastStep) lastStep = block[k]!;
        }
    }
    if (firstStep > lastStep) firstStep = lastStep = Number.NaN;
    return { index, firstStep, lastStep, reason: restart?.reason ?? 'start' };
  });
}
