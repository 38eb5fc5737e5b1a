/**
 * What evaluations say of a rise of the training loss: each is of many rows that stay the same, so that what they do not show is of the
 * rows that were trained on, and what they do show is of the network, however noisy the training loss is.
 */
import type { Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { attemptOf, type Run } from '../../model/run.ts';
import { type AttemptJudgement, type SeriesIncident, worstOf } from './judge.ts';
import { type Asked, judgeAttempt } from './judge-attempt.ts';
import { COMPARED, WITNESSED } from './numbers.ts';
import type { Points } from './schedule-restart.ts';
import type { VerdictSettings } from './settings.ts';

/** The finite evaluations of the longest evaluation loss in an attempt, in the order of their steps, with its name. */
interface Evaluations {
  readonly unit: string;
  readonly name: string;
  readonly at: readonly { readonly step: number; readonly value: number }[];
}

/** The evaluations of an attempt; null where they are too few to say anything, or of both signs. */
export function evaluationsOf(run: Run, attempt: number): Evaluations | null {
  let most: Evaluations | null = null;
  for (const series of run.series) {
    if (series.role !== 'eval_loss' || series.lossLike !== undefined) continue;
    const { step, value } = attemptOf(series, attempt);
    const at: { step: number; value: number }[] = [];
    for (let i = 0; i < value.length; i++)
      if (Number.isFinite(value.at(i)!)) at.push({ step: step.at(i)!, value: value.at(i)! });
    if (at.length > (most?.at.length ?? WITNESSED.evaluations - 1) && at.every((one) => one.value > 0))
      most = { unit: run.stepUnit, name: series.name, at };
  }
  return most;
}

/** Evaluations from a step to before another, and the lowest of those before them; Infinity where fewer than two came before. */
function around({ at }: Evaluations, from: number, to: number) {
  const before = at.filter(({ step }) => step < from);
  const best = before.length < 2 ? Number.POSITIVE_INFINITY : Math.min(...before.map(({ value }) => value));
  return { best, within: at.filter(({ step }) => step >= from && step < to) };
}

const levelUpTo = (values: Column, end: number): number =>
  medianOf(values.subarray(Math.max(0, end - COMPARED.levelPoints), end).filter(Number.isFinite));

/** Why a rise of the training loss is not of the network; null where evaluations do not say so. */
function ofRows(one: SeriesIncident, { step, value }: Points, evaluations: Evaluations): string | null {
  if (one.class === 'non-finite' || !(one.before > 0)) return null;
  const { unit } = evaluations;
  // One that settled high is as high as it was to the end.
  const end = one.recovered ?? step.length;
  const [from, to] = [step.at(one.onset)!, step.at(end) ?? Number.POSITIVE_INFINITY];
  const { best, within } = around(evaluations, from, to);
  const high = medianOf(value.subarray(one.onset, end).filter(Number.isFinite));
  const untrained = medianOf(value.subarray(0, Math.min(one.onset, COMPARED.levelPoints)));
  // A rise that evaluations would not show says nothing, and no rows are harder than all are to a net that has learnt nothing.
  if (!(high - one.before >= COMPARED.shown * best && high <= COMPARED.untrainedRatio * untrained))
    return null;
  // Nor do evaluations that had not fallen: a network that has learnt nothing does not become worse.
  if (!(COMPARED.usualRatio * best < evaluations.at[0]!.value)) return null;
  // Those made while the training loss was high.
  const then = within.filter((each) => {
    const until = step.findLastIndex((at) => at <= each.step) + 1;
    return until - one.onset >= COMPARED.levelPoints && levelUpTo(value, until) >= (one.before + high) / 2;
  });
  const last = then.at(-1);
  if (last === undefined || (one.recovered === null && last !== evaluations.at.at(-1))) return null;
  const level = medianOf(then.slice(-COMPARED.lastEvaluations).map((each) => each.value));
  if (!(level <= COMPARED.usualRatio * best)) return null;
  return `rises at ${unit} ${from}, while "${evaluations.name}" goes from ${formatNumber(best, 'brief')} to ${formatNumber(level, 'brief')} by ${unit} ${last.step}: the rows became harder, and the network did not become worse`;
}

/** An attempt without the rises that evaluations show to be of its rows. */
function withoutRows(
  judged: AttemptJudgement,
  points: Points,
  evaluations: Evaluations,
  { minimumPoints }: VerdictSettings,
): AttemptJudgement {
  let rows: string | undefined;
  const incidents = judged.incidents.filter((one) => {
    const why = ofRows(one, points, evaluations);
    rows ??= why ?? undefined;
    return why === null;
  });
  if (rows === undefined) return judged;
  const enough = judged.points - judged.nonFinite >= minimumPoints;
  return {
    ...judged,
    incidents,
    rows,
    class: worstOf(incidents)?.class ?? (enough ? 'healthy' : 'inconclusive'),
  };
}

/** Whether evaluations in an incident are as far above those before as an incident has to. */
function isWitnessed(
  { onset, end }: SeriesIncident,
  { step }: Points,
  evaluations: Evaluations,
  ratio: number,
): boolean {
  const { best, within } = around(evaluations, step.at(onset)!, step.at(end) ?? Number.POSITIVE_INFINITY);
  const values = within.map(({ value }) => value);
  return medianOf(values) > ratio * best && values.every((value) => value > COMPARED.usualRatio * best);
}

/**
 * An attempt whose training loss alone shows no incident, judged again where evaluations are far above their best: then less is asked
 * of the training loss, for two measures that rise together are not noise.
 */
function withWitness(
  judged: AttemptJudgement,
  points: Points,
  evaluations: Evaluations,
  settings: VerdictSettings,
  asked: Asked,
): AttemptJudgement {
  const { incidentRatio } = settings;
  const { step, value } = points;
  if (judged.incidents.length > 0) {
    const incidents = judged.incidents.map((one) =>
      one.class === 'inconclusive' && isWitnessed(one, points, evaluations, incidentRatio)
        ? { ...one, class: 'drift' as const }
        : one,
    );
    return { ...judged, incidents, class: worstOf(incidents)!.class };
  }
  let best = Number.POSITIVE_INFINITY;
  const isRaised = evaluations.at.some((one) => {
    const raised = one.value > incidentRatio * best && one.step <= step.at(-1)!;
    best = Math.min(best, one.value);
    return raised;
  });
  if (!isRaised) return judged;
  const again = judgeAttempt(
    value,
    { ...settings, incidentRatio: WITNESSED.ratio, driftRatio: WITNESSED.ratio },
    { ...asked, errors: WITNESSED.errors },
  );
  const incidents = again.incidents.filter(
    (one) =>
      // A little that comes back is how losses move.
      (one.recovered === null || one.size >= settings.driftRatio) &&
      isWitnessed(one, points, evaluations, incidentRatio),
  );
  const worst = worstOf(incidents);
  return worst === undefined ? judged : { ...judged, incidents, class: worst.class };
}

/**
 * An attempt as its evaluations show it: without rises of the training loss that are of its rows, and with those that the training loss
 * alone is too noisy for.
 *
 * @param points of the training loss, in the order of their steps
 */
export function asEvaluated(
  judged: AttemptJudgement,
  points: Points,
  evaluations: Evaluations | null,
  settings: VerdictSettings,
  asked: Asked,
): AttemptJudgement {
  if (evaluations === null || points.step.length === 0) return judged;
  const own = withoutRows(judged, points, evaluations, settings);
  return own.rows === undefined ? withWitness(own, points, evaluations, settings, asked) : own;
}
