/**
 * Whether every loss record of a log was judged. The records come from a second reader that knows no layout
 * (read/seen); here they are compared with the points that were judged. A record that was not judged has to be explained
 * by what can be seen without knowing the layout: it is an evaluation, a bar that was drawn again, or it comes in a steady
 * rhythm between judged points and agrees with them.
 */
import { arrayOf, readerOf } from '../../model/column.ts';
import { counted, formatCount } from '../../model/format-number.ts';
import { type LossRecords, RECORD_FLAG, TAG_FLAGS } from '../../model/loss-records.ts';
import type { Coverage, Proof } from '../../model/proofs.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import { type PlacedPoints, placeOfPoints } from './placed-points.ts';

/** Consecutive unexplained records that fail the proof, at any place in the log. */
const RUN_THAT_FAILS = 3;
/** Share of all records that may be unexplained one by one. */
const LONE_SHARE = 0.01;
/** Lines between a record and the point that was read from it: a table of a step has a line for each of its numbers. */
const NEAR_LINES = 200;
/** Judged points on each side of a record that it has to agree with. */
const WINDOW = 16;
/** Evaluations of which each prints as many records as the others. */
const EVALUATIONS = 3;
/** Records between two judged points that are no rhythm: the mean of an epoch, a summary. */
const LONE = 2;

export interface CoverageProof {
  readonly coverage: Coverage;
  readonly proof: Proof;
}

/** Records in plain arrays. */
interface Records {
  readonly line: Float64Array;
  readonly value: Float64Array;
  readonly flag: Uint8Array;
  readonly name: Float64Array;
}

const plain = ({ line, value, tag }: LossRecords): Records => ({
  line: arrayOf(line),
  value: arrayOf(value),
  flag: Uint8Array.from(tag, (one) => one % TAG_FLAGS),
  name: Float64Array.from(tag, (one) => Math.floor(one / TAG_FLAGS)),
});

/** Whether each record has a line of its own from which a point of the series was read: most logs, in little memory. */
function isAllJudged(
  { line }: LossRecords,
  { line: judged, pathOffsets, value }: TimeSeries,
  file: number,
): boolean {
  if (judged === undefined) return false;
  const [seenAt, judgedAt] = [readerOf(line), readerOf(judged)];
  const to = pathOffsets[file + 1] ?? value.length;
  let at = pathOffsets[file] ?? 0;
  for (let k = 0; k < line.length; k++) {
    const here = seenAt(k);
    if (k > 0 && here === seenAt(k - 1)) return false;
    while (at < to && judgedAt(at) < here) at++;
    if (at >= to || judgedAt(at) !== here) return false;
  }
  return true;
}

const STATE = { open: 0, judged: 1, evaluation: 2, copy: 3, rank: 4, mean: 5, column: 6 } as const;

/**
 * @param run with the records of the second reader; without them nothing can be proven
 * @param judged the series behind the verdict
 * @returns null where no loss was judged, or the log was not read as records
 */
export function coverageOf(run: Run, judged: readonly TimeSeries[]): CoverageProof | null {
  const seen = run.lossRecords ?? [];
  if (seen.length === 0 || judged.every(({ line }) => line === undefined)) return null;
  const sum = { judged: 0, copies: 0, ranks: 0, runningMeans: 0, evaluations: 0, unexplained: 0 };
  let first: Coverage['firstUnexplained'] = null;
  let fails = false;
  for (const file of seen) {
    const found = coverageOfFile(run, judged, file);
    if (found === null) continue;
    for (const kind of KINDS) sum[kind] += found.counts[kind];
    first ??= found.first;
    fails ||= found.fails;
  }
  const { judged: points, unexplained, ...explained } = sum;
  const all = KINDS.reduce((total, kind) => total + sum[kind], 0);
  if (unexplained > Math.max(LONE, LONE_SHARE * all)) fails = true;
  const coverage: Coverage = { seen: all, judged: points, explained, unexplained, firstUnexplained: first };
  return { coverage, proof: { holds: !fails, statement: statementOf(coverage) } };
}

const KINDS = ['judged', 'copies', 'ranks', 'runningMeans', 'evaluations', 'unexplained'] as const;
type Counts = Record<(typeof KINDS)[number], number>;

interface FileCoverage {
  readonly counts: Counts;
  readonly first: Coverage['firstUnexplained'];
  readonly fails: boolean;
}

/** What became of the records of one file; null for a file that is not of this run. */
function coverageOfFile(run: Run, judged: readonly TimeSeries[], file: LossRecords): FileCoverage | null {
  const index = run.paths.indexOf(file.path);
  if (index < 0) return null;
  const nothing: Counts = { judged: 0, copies: 0, ranks: 0, runningMeans: 0, evaluations: 0, unexplained: 0 };
  const whole = judged.find((one) => isAllJudged(file, one, index));
  if (whole !== undefined) {
    const { pathOffsets, value } = whole;
    const points = (pathOffsets[index + 1] ?? value.length) - (pathOffsets[index] ?? 0);
    return { counts: { ...nothing, judged: points }, first: null, fails: false };
  }
  const records = plain(file);
  const others = run.series.filter((one) => !judged.includes(one));
  const points = placeOfPoints(judged, index);
  const evaluated = placeOfPoints(
    others.filter(({ role }) => role === 'eval_loss'),
    index,
  );
  const states = statesOf(records, points, evaluated, placeOfPoints(others, index));
  const of = (state: number): number => states.reduce((count, one) => count + (one === state ? 1 : 0), 0);
  const open = states.indexOf(STATE.open);
  return {
    counts: {
      // Points without a loss-like word in their line (a table without names) are seen by the first reader alone.
      judged: Math.max(of(STATE.judged), points.lines),
      copies: of(STATE.copy),
      ranks: of(STATE.rank),
      runningMeans: of(STATE.mean),
      evaluations: of(STATE.evaluation),
      unexplained: of(STATE.open),
    },
    first: open < 0 ? null : { path: file.path, line: records.line[open]! },
    fails: failsByPlace(records, states, points),
  };
}

/** `600 of 600 loss records judged`, then what the others are. */
export function statementOf({ judged, explained, unexplained, firstUnexplained }: Coverage): string {
  const { copies, ranks, runningMeans, evaluations } = explained;
  const parts = [
    ...(evaluations > 0 ? [counted(evaluations, 'evaluation', 'evaluations')] : []),
    ...(copies > 0 ? [counted(copies, 'copy', 'copies')] : []),
    ...(ranks > 0 ? [`${counted(ranks, 'record', 'records')} of other ranks`] : []),
    ...(runningMeans > 0 ? [counted(runningMeans, 'running mean', 'running means')] : []),
  ];
  const told = judged + unexplained;
  const rest = parts.length === 0 ? '' : `; besides ${parts.join(', ')}`;
  const missed =
    firstUnexplained === null
      ? ''
      : `; ${counted(unexplained, 'was', 'were')} not, the first at line ${firstUnexplained.line} of ${firstUnexplained.path}`;
  return `${formatCount(judged)} of ${counted(told, 'loss record', 'loss records')} judged${missed}${rest}`;
}

const isClose = (a: number, b: number): boolean =>
  a === b ||
  (Number.isNaN(a) && Number.isNaN(b)) ||
  Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));

/** What became of each record. */
function statesOf(
  records: Records,
  points: PlacedPoints,
  evaluated: PlacedPoints,
  others: PlacedPoints,
): Uint8Array {
  const { line, value, flag, name } = records;
  const states = new Uint8Array(line.length);
  const taken = new Uint8Array(points.line.length);
  for (let k = 0; k < line.length; k++) {
    // Bars share a line: each of its points is one of them.
    const isAlone = line[k - 1] !== line[k] && line[k + 1] !== line[k];
    for (let at = points.indexOfLine(line[k]!); at >= 0 && points.line[at] === line[k]; at++)
      if (isAlone || (taken[at] === 0 && isClose(points.value[at]!, value[k]!))) {
        states[k] = STATE.judged;
        taken[at] = 1;
        if (!isAlone) break;
      }
  }
  matchByValue(records, points, taken, states);
  for (let k = 0; k < line.length; k++)
    if (states[k] === STATE.open)
      if ((flag[k]! & RECORD_FLAG.evaluation) !== 0 || evaluated.indexOfLine(line[k]!) >= 0)
        states[k] = STATE.evaluation;
  explainSettings(records, points, states);
  const judgedNames = new Set<number>();
  for (let k = 0; k < line.length; k++) if (states[k] === STATE.judged) judgedNames.add(name[k]!);
  for (const own of new Set(name)) explainRhythm(own, records, points, others, states, judgedNames);
  explainRedrawn(records, points, states);
  explainEvaluations(records, points, states);
  return states;
}

/**
 * What is still open between two judged points, from an evaluation on, is of that evaluation where it comes again: its batches, and
 * the parts of their loss. Of one evaluation alone it may be training that was not read.
 */
function explainEvaluations({ line, value }: Records, points: PlacedPoints, states: Uint8Array): void {
  const passes = new Map<number, number[]>();
  for (let k = 0; k < line.length; k++) {
    const gap = points.firstFrom(line[k]! + 1);
    const pass = passes.get(gap);
    if (pass !== undefined) {
      if (states[k] === STATE.open && Number.isFinite(value[k]!)) pass.push(k);
    } else if (states[k] === STATE.evaluation) passes.set(gap, []);
  }
  const counts = [...passes.values()].map(({ length }) => length).sort((a, b) => a - b);
  const usual = counts[counts.length >> 1] ?? 0;
  const alike = [...passes.values()].filter(({ length }) => length > 0 && length <= 1.5 * usual + 1);
  if (alike.length < EVALUATIONS) return;
  for (const pass of alike) for (const k of pass) states[k] = STATE.evaluation;
}

/** A name that the whole log prints once, before any judged point, is a setting: `"monitor": "{'logloss': -1}"`. */
function explainSettings({ line, name }: Records, points: PlacedPoints, states: Uint8Array): void {
  const times = new Map<number, number>();
  for (const one of name) times.set(one, (times.get(one) ?? 0) + 1);
  const first = points.line[0] ?? 0;
  for (let k = 0; k < line.length && line[k]! < first; k++)
    if (states[k] === STATE.open && times.get(name[k]!) === 1) states[k] = STATE.column;
}

/** A point that was read from another line of its record has the value of one near it. */
function matchByValue(records: Records, points: PlacedPoints, taken: Uint8Array, states: Uint8Array): void {
  const { line, value } = records;
  for (let k = 0; k < line.length; k++) {
    if (states[k] !== STATE.open) continue;
    let best = -1;
    for (let at = points.firstFrom(line[k]! - NEAR_LINES); at < points.line.length; at++) {
      const there = points.line[at]!;
      if (there > line[k]! + NEAR_LINES) break;
      if (taken[at] === 1 || !isClose(points.value[at]!, value[k]!)) continue;
      if (best < 0 || Math.abs(there - line[k]!) < Math.abs(points.line[best]! - line[k]!)) best = at;
    }
    if (best < 0) continue;
    taken[best] = 1;
    states[k] = STATE.judged;
  }
}

/** How many such records nine of ten gaps between two judged points have at most. */
function usualCount(gaps: ReadonlyMap<number, readonly number[]>, inner: number): number {
  const counts = [...gaps].flatMap(([gap, list]) => (gap > 0 && gap <= inner ? [list.length] : []));
  counts.sort((a, b) => a - b);
  // One gap among a few makes no rhythm.
  return inner < 2 ? 0 : (counts[Math.floor(0.9 * (inner - 1)) - (inner - counts.length)] ?? 0);
}

/** Records of one name that come in a steady rhythm between judged points, or alone, and agree with those. */
function explainRhythm(
  own: number,
  records: Records,
  points: PlacedPoints,
  others: PlacedPoints,
  states: Uint8Array,
  judgedNames: ReadonlySet<number>,
): void {
  const { line, value, flag, name } = records;
  const gaps = new Map<number, number[]>();
  for (let k = 0; k < line.length; k++) {
    if (name[k] !== own || states[k] !== STATE.open || (flag[k]! & RECORD_FLAG.redrawn) !== 0) continue;
    const gap = points.firstFrom(line[k]! + 1);
    const list = gaps.get(gap);
    if (list === undefined) gaps.set(gap, [k]);
    else list.push(k);
  }
  const usual = usualCount(gaps, points.line.length - 1);
  // Points that are means of ranks lie closer together than what the ranks print.
  const among = areMeans(records, points, states) ? usual + 1 : 1;
  const isColumn = !judgedNames.has(own);
  for (const [gap, list] of gaps) {
    if (list.length > LONE && list.length > 1.5 * usual + 1) continue;
    for (const k of list) {
      if (isColumn && others.hasNear(line[k]!, value[k]!)) states[k] = STATE.column;
      else if (agrees(value[k]!, gap, points, among))
        states[k] = isCopy(value[k]!, gap, points)
          ? STATE.copy
          : list.length <= usual
            ? betweenOf(line[k]!, value[k]!, others)
            : STATE.mean;
    }
  }
}

/** What a record between the judged ones is: a column where it was read under a name of its own (the mean of an epoch). */
const betweenOf = (line: number, value: number, others: PlacedPoints): number =>
  others.isAt(line, value) ? STATE.column : STATE.rank;

/** Whether most of the judged points have another value than their lines print. */
function areMeans({ line, value }: Records, points: PlacedPoints, states: Uint8Array): boolean {
  let [judged, printed] = [0, 0];
  for (let k = 0; k < line.length; k++) {
    if (states[k] !== STATE.judged) continue;
    judged++;
    const at = points.indexOfLine(line[k]!);
    if (at >= 0 && isClose(points.value[at]!, value[k]!)) printed++;
  }
  return 2 * printed < judged;
}

/** Whether a value lies where the judged points around it lie; each of them may be a mean of so many values. */
function agrees(value: number, gap: number, points: PlacedPoints, among = 1): boolean {
  if (!Number.isFinite(value))
    return [gap - 2, gap - 1, gap, gap + 1].some(
      (at) => at in points.value && !Number.isFinite(points.value[at]!),
    );
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let at = Math.max(0, gap - WINDOW); at < Math.min(points.value.length, gap + WINDOW); at++) {
    const one = points.value[at]!;
    if (!Number.isFinite(one)) continue;
    if (one < low) low = one;
    if (one > high) high = one;
  }
  const margin = Math.sqrt(among) * (0.5 * (high - low) + 0.25 * Math.max(Math.abs(low), Math.abs(high)));
  return value >= low - margin && value <= high + margin;
}

/** Whether it is the value of the judged point next to it, to three digits. */
const isCopy = (value: number, gap: number, points: PlacedPoints): boolean =>
  [gap - 1, gap].some((at) => {
    const one = points.value[at];
    return one !== undefined && Math.abs(one - value) <= 1e-3 * Math.abs(one);
  });

/** Bars that are drawn over are explained by the record that stays after them; the last ones have to agree with what was judged. */
function explainRedrawn({ flag, value, line }: Records, points: PlacedPoints, states: Uint8Array): void {
  let stays = -1;
  for (let k = flag.length - 1; k >= 0; k--) {
    if (states[k] !== STATE.open || (flag[k]! & RECORD_FLAG.redrawn) === 0) stays = k;
    else if (stays < 0) {
      if (agrees(value[k]!, points.firstFrom(line[k]!), points)) states[k] = STATE.mean;
    } else if (
      states[stays] !== STATE.open &&
      (Number.isFinite(value[k]!) || !Number.isFinite(value[stays]!))
    )
      states[k] = STATE.copy;
  }
}

/** Whether unexplained records fail the proof by their place: three in a row, after the last judged, or unlike what was judged. */
function failsByPlace(records: Records, states: Uint8Array, points: PlacedPoints): boolean {
  const { line, value } = records;
  let run = 0;
  const last = points.line.at(-1) ?? 0;
  for (let k = 0; k < states.length; k++) {
    if (states[k] === STATE.column || states[k] === STATE.evaluation) continue;
    if (states[k] !== STATE.open) run = 0;
    else if (
      ++run >= RUN_THAT_FAILS ||
      line[k]! > last ||
      !agrees(value[k]!, points.firstFrom(line[k]!), points)
    )
      return true;
  }
  return false;
}
