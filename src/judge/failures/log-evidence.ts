/** What the known failures look at: the loss up to the onset, and what was logged with it. */
import type { CauseEvidence } from '../../model/cause.ts';
import { arrayOf, type Column, joinedOf } from '../../model/column.ts';
import { MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { lossScaleOf } from '../incidents/scaler.ts';
import { isRaised, USUAL, usualRange } from '../incidents/unlike.ts';
import type { JudgedRun } from '../incidents/verdict.ts';

/** Share of its first value that a loss has to fall below to be better than that. */
export const BETTER = 0.95;

/** Points of one series in one attempt. */
export type Points = Pick<TimeSeries, 'name' | 'step' | 'value'>;

export interface LogEvidence {
  readonly run: Run;
  /** What the judge says of the run; null where only an onset is known. */
  readonly judged: JudgedRun | null;
  /** First loss out of its usual range; null without an incident. */
  readonly onsetStep: number | null;
  /** Index of the attempt that the leading incident lies in; the last one where there is no incident. */
  readonly attempt: number;
  /** The loss that decided, in that attempt; null where the log has none. */
  readonly loss: Points | null;
  /** Position of the onset in `loss`; -1 where there is no incident. */
  readonly onset: number;
  readonly norms: Points | null;
  readonly rates: Points | null;
  readonly scale: Points | null;
}

/**
 * Gathers what a log shows of a run.
 *
 * @param onsetStep of the leading incident; null without one
 * @param judged null where only the onset is known: the first loss is looked at then
 */
export function logEvidence(run: Run, onsetStep: number | null, judged: JudgedRun | null): LogEvidence {
  const ofRole = (role: TimeSeries['role']): TimeSeries | undefined =>
    run.series.find((one) => one.role === role);
  const attempt = attemptAt(run, onsetStep, judged);
  const pointsOf = (one: TimeSeries | undefined): Points | null =>
    one === undefined ? null : attemptOf(one, attempt);
  const loss = pointsOf(judged?.decides?.series ?? ofRole('loss'));
  return {
    run,
    judged,
    onsetStep,
    attempt,
    loss,
    onset: loss === null || onsetStep === null ? -1 : loss.step.findIndex((at) => at >= onsetStep),
    norms: pointsOf(ofRole('grad_norm')),
    rates: pointsOf(ofRole('learning_rate')),
    scale: pointsOf(lossScaleOf(run)),
  };
}

/** The attempt of an incident: of several that hold its step the one that the judge names, else the last. */
function attemptAt({ attempts }: Run, onsetStep: number | null, judged: JudgedRun | null): number {
  if (onsetStep === null) return Math.max(0, attempts.length - 1);
  const told = judged?.verdict.incidents.find((one) => one.onsetStep === onsetStep)?.attempt;
  const holds = attempts.findLastIndex(
    ({ firstStep, lastStep }) => firstStep <= onsetStep && lastStep >= onsetStep,
  );
  return told ?? Math.max(0, holds);
}

/** Points before a step, the last of which are looked at. */
const LAST = 3;

/** What {@link calmBefore} found. */
export interface Calm {
  readonly last: number;
  readonly usual: readonly [number, number];
}

/**
 * Whether the last three values before a position lie in the range of the twenty before them, widened by half of it.
 *
 * @param lone times the upper end of that range that one of the three may reach
 * @returns the last value and the range; null otherwise, or where fewer than four come before
 */
export function calmBefore(values: Column, index: number, lone = 1): Calm | null {
  const from = Math.max(0, index - LAST);
  const usual = usualRange(values.subarray(Math.max(0, from - USUAL), from));
  if (usual === null || index - from < LAST) return null;
  let raised = 0;
  for (let i = from; i < index; i++) {
    const value = values.at(i)!;
    if (!Number.isFinite(value)) return null;
    if (!isRaised(value, usual)) continue;
    raised++;
    if (raised > 1 || value > lone * usual[1]) return null;
  }
  return { last: values.at(index - 1)!, usual };
}

/** A learning rate at a step as the evidence of a cause. */
export const rateEvidence = (statement: string, value: number, step: number): CauseEvidence => ({
  id: 'learning-rate',
  statement,
  value,
  unit: 'learning rate',
  usual: null,
  at: { step, batchStep: null },
});

/** Position of the last point before a step; -1 without one. */
export const lastBefore = ({ step }: Pick<Points, 'step'>, at: number): number =>
  step.findLastIndex((one) => one < at);

/** Median of up to `count` finite values before a position; NaN without any. */
export const levelBefore = (values: Column, index: number, count = USUAL): number =>
  medianOf(values.subarray(Math.max(0, index - count), Math.max(0, index)));

/** Median of up to `count` finite values from a position on; NaN without any. */
export const levelFrom = (values: Column, index: number, count = USUAL): number =>
  medianOf(values.subarray(index, index + count));

/** Spread of values around their median, as a share of it. */
export function spreadOf(values: Column): number {
  const level = medianOf(values);
  return (MAD_TO_SIGMA * medianOf(arrayOf(values).map((one) => Math.abs(one - level)))) / level;
}

/** The rates of the attempt; those of the one that it goes on from, before its first step, come first. */
export function ratesWithHistory({ run, attempt, rates }: LogEvidence): Points | null {
  const series = run.series.find(({ role }) => role === 'learning_rate');
  if (series === undefined || rates === null) return null;
  const first = run.attempts[attempt]?.firstStep ?? 0;
  if (attempt === 0 || !(first > run.attempts[attempt - 1]!.firstStep)) return rates;
  const { step, value } = attemptOf(series, attempt - 1);
  let count = 0;
  while (count < step.length && step.at(count)! < first) count++;
  return {
    name: series.name,
    step: joinedOf([step.subarray(0, count), rates.step]),
    value: joinedOf([value.subarray(0, count), rates.value]),
  };
}

/** First step after the first epoch, which whole numbers count from 0 or 1; null where the log does not tell epochs. */
export function epochEnd(run: Run): number | null {
  if (run.epochs !== undefined) return run.epochs.first + run.epochs.batches;
  const epochs = run.series.find(({ name }) => /^(train[/_])?epochs?$/i.test(name));
  if (epochs === undefined) return null;
  const first = epochs.value.at(0) === 0 && epochs.value.every(Number.isInteger) ? 0 : 1;
  const at = epochs.value.findIndex((value) => value > first);
  return at < 0 ? Number.POSITIVE_INFINITY : epochs.step.at(at)!;
}
