/** What a detector is: one file in this folder and one line in registry.ts. */

import {
  defaultOf,
  type Finding,
  type FindingType,
  type Outcome,
  type Quantity,
  type ThresholdsInForce,
} from '../../model/finding.ts';
import { placeOf, type Run, type TimeSeries } from '../../model/run.ts';
import { stretchesOf } from '../../model/stretches.ts';
import type { JudgedRun } from '../incidents/verdict.ts';

/** What a detector gets with the run. */
export interface DetectorContext {
  /** The run's verdict and the incidents of its loss and its tasks, found once for all detectors. */
  readonly judged: JudgedRun;
  /** A threshold of this detector by name: the user's number or the default. */
  threshold(name: string): number;
  /** Clipping limits that the user named, to be judged against the logged gradient norms; none where they are not given. */
  readonly clipLimits: readonly number[];
}

export interface Detector extends FindingType {
  /** A series from a capture in the folder of the log, where the log has none. */
  readonly reads?: 'update_norm';
  /**
   * Looks at a run. Pure: same run and same thresholds, same outcome. Must be defined on 0, 1 and 2 points and on
   * series of NaN only.
   */
  detect(run: Run, context: DetectorContext): Outcome;
}

/** The context of one detector; without `thresholds` the run's settings and the defaults hold. */
export const contextFor = (
  detector: Detector,
  judged: JudgedRun,
  thresholds?: ThresholdsInForce,
  clipLimits: readonly number[] = [],
): DetectorContext => ({
  judged,
  clipLimits,
  threshold: (name) =>
    thresholds?.(detector.id, name) ??
    (judged.settings as Readonly<Record<string, number>>)[name] ??
    defaultOf(detector, name),
});

/** A finding about the points `from` to `to` (indices into the whole series) of a series; it points at the first. */
export function findingAt(
  run: Run,
  series: TimeSeries,
  from: number,
  to: number,
  finding: Pick<Finding, 'id' | 'severity' | 'message' | 'measured' | 'threshold' | 'advice'>,
): Finding {
  return {
    ...finding,
    steps: [series.step.at(from)!, series.step.at(to)!],
    series: series.name,
    attempt: series.attemptOffsets.findLastIndex((offset) => offset <= from),
    locations: [placeOf(run, series, from)],
  };
}

/** `fail` with the findings, `pass` where there are none. */
export const outcomeOf = (findings: readonly Finding[]): Outcome =>
  findings.length === 0 ? { kind: 'pass' } : { kind: 'fail', findings };

export const notApplicable = (reason: string): Outcome => ({ kind: 'not-applicable', reason });

export const quantity = (name: string, value: number, unit: string): Quantity => ({ name, value, unit });

/** Stretches of points at neighbouring positions: each from its first to its last, with the worst of them by a field. */
export const worstOfStretches = <
  Field extends string,
  Point extends { readonly index: number } & Record<Field, number>,
>(
  points: readonly Point[],
  field: Field,
): { readonly from: number; readonly to: number; readonly worst: Point }[] =>
  stretchesOf(points, ({ index }) => index).map((stretch) => ({
    from: stretch[0].index,
    to: stretch.at(-1)!.index,
    worst: stretch.reduce((worst, point) => (point[field] > worst[field] ? point : worst)),
  }));

/** Series of a run by role. */
export const seriesOf = (run: Run, ...roles: readonly TimeSeries['role'][]): readonly TimeSeries[] =>
  run.series.filter(({ role }) => roles.includes(role));

/**
 * Findings that could repeat without limit: one for each of the first `limit` cases; the last one says how many more there
 * are. No finding is built for the others: a million points of garbage have a hundred thousand spikes.
 */
export function firstOf<Case>(
  cases: Iterable<Case>,
  finding: (one: Case) => Finding,
  limit = 10,
): readonly Finding[] {
  const kept: Finding[] = [];
  let more = 0;
  for (const one of cases)
    if (kept.length < limit) kept.push(finding(one));
    else more++;
  const last = kept.at(-1);
  if (last !== undefined && more > 0)
    kept[limit - 1] = { ...last, message: `${last.message} ${more} more like these follow.`, more };
  return kept;
}
