/**
 * Logs of one training by two programs: a trainer's printed output, saved next to the log that it keeps itself. They
 * are recognised by their losses: all losses of one are in the other, to the printed digits.
 */
import { dirname, sep } from 'node:path';
import { upperBound } from '../../model/column.ts';
import { listed } from '../../model/listed.ts';
import type { LogInput } from '../../model/log.ts';
import { digitsOf, isSingle } from '../../model/printed-digits.ts';
import { isLossLike, type Role, type Run, type TimeSeries } from '../../model/run.ts';

/** How many different losses of so many digits have to agree; fewer may agree by chance. */
const LEAST_LOSSES = 5;
const LEAST_DIGITS = 3;
/** Losses that decide which of two logs has more digits. */
const LOOKED_AT = 1000;
/** Roles in which a cause is searched: a log that alone has one of these is not skipped. */
const NEEDED: readonly Role[] = ['learning_rate', 'grad_norm', 'update_norm', 'param_norm', 'clip'];

/** Whether two numbers are one that was printed with more and with fewer digits. */
function isPrintedAlike(a: number, b: number): boolean {
  if (a === b) return true;
  if ((isSingle(a) || isSingle(b)) && Math.fround(a) === Math.fround(b)) return true;
  if (!Number.isFinite(a) || !Number.isFinite(b)) return Object.is(a, b);
  const unit = 10 ** -Math.min(digitsOf(a).decimals, digitsOf(b).decimals);
  // Halves are rounded either way.
  return Math.abs(a - b) <= 0.500001 * unit;
}

/**
 * Ways to find each point of a series in another: in the same order from the first, or at the same or neighbouring
 * steps.
 */
function* places(one: TimeSeries, other: TimeSeries, sameUnit: boolean): Generator<(k: number) => number> {
  if (one.value.length <= other.value.length) yield (k) => k;
  if (!sameUnit || other.attemptOffsets.length > 1) return;
  // One series counts from 0, or logs before the step.
  for (const apart of [0, 1, -1])
    yield (k) => {
      const step = one.step.at(k)! + apart;
      const place = upperBound(other.step, step) - 1;
      return other.step.at(Math.max(place, 0)) === step ? place : -1;
    };
}

/** How many different losses, up to the number needed, show that two series are the same; null where they are not. */
function sameLosses(one: TimeSeries, other: TimeSeries, sameUnit: boolean): number | null {
  for (const placeOf of places(one, other, sameUnit)) {
    const told = new Set<number>();
    const isSame = one.value.every((value, k) => {
      const place = placeOf(k);
      const its = place < 0 ? undefined : other.value.at(place);
      if (its === undefined || !isPrintedAlike(value, its)) return false;
      if (told.size === LEAST_LOSSES) return true;
      const coarse = [value, its].sort((a, b) => digitsOf(a).digits - digitsOf(b).digits)[0]!;
      if (Number.isFinite(coarse) && digitsOf(coarse).digits >= LEAST_DIGITS) told.add(coarse);
      return true;
    });
    if (isSame) return told.size;
  }
  return null;
}

/** Whether two names are one, or one of them has a writer's prefix: `ray/tune/loss` in event files is `loss` in `result.json`. */
const isNamedAlike = (a: string, b: string): boolean => a === b || a.endsWith(`/${b}`) || b.endsWith(`/${a}`);

const lossesOf = (run: Run): readonly TimeSeries[] =>
  run.series.filter(({ role, value }) => isLossLike(role) && value.length > 0);
const pointsOf = (run: Run): number => lossesOf(run).reduce((sum, { value }) => sum + value.length, 0);

/** Whether every loss of a run is in another one. */
function standsIn(run: Run, other: Run): boolean {
  const losses = lossesOf(run);
  if (!losses.some(({ role }) => role === 'loss') || losses.some(({ refused }) => refused > 0)) return false;
  let told = 0;
  for (const one of losses) {
    const same = other.series.find(({ name, role }) => isNamedAlike(name, one.name) && role === one.role);
    const count = same === undefined ? null : sameLosses(one, same, run.stepUnit === other.stepUnit);
    if (count === null) return false;
    told += count;
  }
  return told >= LEAST_LOSSES;
}

/** What the first run has and the other one lacks, by role and by name. */
const addedBy = (run: Run, other: Run): readonly TimeSeries[] =>
  run.series.filter(
    ({ role, name }) =>
      role !== 'other' &&
      other.series.every((its) => !isNamedAlike(its.name, name) && (its.role !== role || role === 'metric')),
  );

/** Whether a run with the same points as another has more series with a role, or as many and more digits. */
function isFuller(run: Run, other: Run): boolean {
  const told = ({ series }: Run): number => series.filter(({ role }) => role !== 'other').length;
  const digits = (of: Run): number => {
    let sum = 0;
    for (const { value } of lossesOf(of))
      for (const one of value.subarray(0, LOOKED_AT)) sum += digitsOf(one).digits;
    return sum;
  };
  return told(run) === told(other) ? digits(run) > digits(other) : told(run) > told(other);
}

/** Whether one of two files is in the folder of the other, or below it. */
function isBeside(one: string, other: string): boolean {
  const [a, b] = [dirname(one), dirname(other)];
  return a === b || a === '.' || b === '.' || a.startsWith(b + sep) || b.startsWith(a + sep);
}

/** The log that has every loss of a skipped log, and why that one is skipped. */
export interface SameRun {
  readonly by: LogInput;
  readonly reason: string;
}

/**
 * The log of the same run that has more of it; undefined where there is no such log. Two logs of one format are two
 * trainings with one seed, and so are two in sibling folders.
 */
export function toldTwice(log: LogInput, others: readonly LogInput[]): SameRun | undefined {
  const [run] = log.runs;
  if (run === undefined || log.runs.length > 1 || log.errors.length + log.lost + log.unreadBytes > 0)
    return undefined;
  for (const by of others) {
    const [other] = by.runs;
    if (by === log || by.format === log.format || other === undefined || by.runs.length > 1) continue;
    if (!isBeside(log.path, by.path) || !standsIn(run, other)) continue;
    const added = addedBy(run, other);
    if (added.some(({ role }) => NEEDED.includes(role))) continue;
    // The other log may be contained in this one as well.
    const points = pointsOf(run) - pointsOf(other);
    if (points > 0 || (points === 0 && isFuller(run, other))) continue;
    const more = added.length === 0 ? '' : `; it adds ${listed(added.map(({ name }) => name))}`;
    return { by, reason: `the same run as ${by.path}, where each of its losses stands${more}` };
  }
  return undefined;
}
