/**
 * How a series of several attempts is judged: a resume continues the points before it, a restart is judged alone, and an
 * attempt that was too short and repeated does not count.
 */
import { type Column, joinedOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { medianOf, usualDistance } from '../../model/order-statistics.ts';
import type { Incident, VerdictClass } from '../../model/report.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { asEvaluated, evaluationsOf } from './evaluations.ts';
import { type AttemptJudgement, badness, type SeriesIncident, worstOf } from './judge.ts';
import { type Asked, judgeAttempt } from './judge-attempt.ts';
import { COMPARED } from './numbers.ts';
import { rewardsOf } from './rewards.ts';
import { scalerSkips } from './scaler.ts';
import { type PlannedRise, type Points, plannedRise } from './schedule-restart.ts';
import type { VerdictSettings } from './settings.ts';
import { columnStop, deadStretch, goesOnAs } from './signs.ts';

/** A series with the judgement of each of its attempts. */
export interface JudgedSeries {
  readonly series: TimeSeries;
  readonly class: VerdictClass;
  /** Positions of incidents count from the first point of their attempt; a last good point below 0 is one of the history. */
  readonly attempts: readonly AttemptJudgement[];
  /** Of each attempt that resumes: the steps of the points before it that it was judged against; empty where it starts anew. */
  readonly histories: readonly Column[];
  /** Of each attempt: was it too short to judge, finite, and trained again by a later one? */
  readonly doneAgain: readonly boolean[];
  /**
   * The last attempt, if it is too short to judge and its points are in the band, or if it begins anew and is far above the
   * one before after as many points; null where it is not.
   */
  readonly shortEnd: number | null;
  /** The statement on it if it has incidents and none counts, because its level says little. */
  readonly instead?: string;
}

/** Points before a resume that it is judged against: ten times its own, so that the cost of a thousand resumes stays linear. */
const historyFor = (points: number): number => Math.min(2000, Math.max(100, 10 * points));

/** A stretch of points that training went on from. */
interface Stretch {
  readonly step: Column;
  readonly points: Column;
}

/** The points before a step, of what was trained so far: later ones were thrown away when training went back. */
function before(stretches: readonly Stretch[], step: number): Stretch[] {
  const kept: Stretch[] = [];
  for (const one of stretches) {
    let length = one.step.length;
    while (length > 0 && one.step.at(length - 1)! >= step) length--;
    if (length > 0) kept.push({ step: one.step.subarray(0, length), points: one.points.subarray(0, length) });
    if (length < one.step.length) break;
  }
  return kept;
}

/** The last points of stretches, `most` at most. */
function tailOf(stretches: readonly Stretch[], most: number): Stretch {
  const parts: Stretch[] = [];
  let left = most;
  for (let k = stretches.length - 1; k >= 0 && left > 0; k--) {
    const { step, points } = stretches[k]!;
    const from = Math.max(0, step.length - left);
    parts.unshift({ step: step.subarray(from), points: points.subarray(from) });
    left -= step.length - from;
  }
  return {
    step: joinedOf(parts.map(({ step }) => step)),
    points: joinedOf(parts.map(({ points }) => points)),
  };
}

/** Whether a loss stops while other columns go on, and continues under no other name. */
function endIsUnknown(run: Run, series: TimeSeries, settings: VerdictSettings): boolean {
  const stop = columnStop(run, series, settings);
  return stop !== null && goesOnAs(run, series, stop.lastStep) === undefined;
}

/** Whether an attempt begins anew: at the first step that was ever logged, or right after it. */
function beginsAnew(stretches: readonly Stretch[], step: number): boolean {
  const first = stretches[0];
  if (first === undefined || first.step.length < 2) return true;
  return step <= first.step.at(0)! + usualDistance(first.step);
}

/** First points of an attempt that show how it begins. */
const FIRST_POINTS = 5;

/**
 * Whether points begin where the run began and come down from there: the weights were not those of the checkpoint, and training began from scratch under
 * steps that count on. Not so where the first point is nearer to the level before, and what came after it is a jump from there; nor where the
 * loss rises above all that the run began with. Too few points to see whether they come down: null.
 *
 * @param first points that the run began with
 * @param before points that the attempt goes on from
 */
function fromScratch(
  points: Column,
  first: Column,
  before: Column,
  settings: VerdictSettings,
): boolean | null {
  const level = (values: Column, from: number): number =>
    medianOf(values.subarray(Math.max(0, from), from + FIRST_POINTS));
  const highest = (values: Column): number => Math.max(...values.subarray(0, FIRST_POINTS));
  const begin = level(points, 0);
  const initial = level(first, 0);
  const ratio = begin / initial;
  if (!(ratio < settings.incidentRatio && ratio > 1 / settings.fullRatio)) return false;
  const usual = level(before, before.length - FIRST_POINTS);
  const middle = usual > 0 && initial > 0 ? Math.sqrt(usual * initial) : (usual + initial) / 2;
  if (usual < initial && points.at(0)! < middle) return false;
  if (highest(points) > settings.fullRatio * highest(first)) return false;
  if (points.length < settings.minimumPoints) return null;
  return level(points, points.length - FIRST_POINTS) < begin / COMPARED.usualRatio;
}

/** Whether an attempt is far above the band before from its first point to its last, though it ends before that was a decision window. */
function isOut(incident: SeriesIncident, points: Column, settings: VerdictSettings): boolean {
  const { class: found, onset, before: median, peak, size } = incident;
  if (found !== 'inconclusive' || onset !== 0) return false;
  let lowest = Number.POSITIVE_INFINITY;
  for (const value of points) lowest = Math.min(lowest, value);
  // The ratio of the lowest to the median, where that of the peak is `size`: also on a scale of differences.
  const ratio = incident.byRatio
    ? lowest / median
    : 1 + ((size - 1) * (lowest - median)) / (points.at(peak)! - median);
  return ratio > settings.fullRatioAtEnd;
}

/**
 * Whether a beginning anew is far above where the attempt before was after as many points: by more than half of what that
 * one learnt in all. One of many points that stays there has learnt nothing (never-learned.ts).
 */
function isBehind(
  points: Column,
  earlier: Column,
  { learntPoints, incidentRatio }: VerdictSettings,
): boolean {
  const length = Math.min(points.length, earlier.length);
  if (points.length >= learntPoints || earlier.length < learntPoints) return false;
  const width = Math.max(FIRST_POINTS, Math.floor(length / 10));
  const levelAt = (values: Column, end: number): number =>
    medianOf(values.subarray(Math.max(0, end - width), end).filter(Number.isFinite));
  const end = levelAt(points, length);
  const then = levelAt(earlier, length);
  const learnt = levelAt(earlier, width) - levelAt(earlier, earlier.length);
  return learnt > 0 && end - then > learnt / 2 && !(then > 0 && end < incidentRatio * then);
}

/** An incident whose positions counted from the first point of the history. */
const shifted = (incident: SeriesIncident, by: number): SeriesIncident => ({
  ...incident,
  onset: incident.onset - by,
  lastGood: incident.lastGood === null ? null : incident.lastGood - by,
  recovered: incident.recovered === null ? null : incident.recovered - by,
  end: incident.end - by,
  peak: incident.peak - by,
});

/** Whether a loss of exactly zero was printed before the first batch: none after it is, and the second is at the level of the next. */
const printedTooEarly = (value: Column): boolean =>
  value.at(0) === 0 &&
  value.at(1)! >= medianOf(value.subarray(1, 1 + EARLY_POINTS)) / 2 &&
  value.every((one, i) => i === 0 || !(one <= 0));
const EARLY_POINTS = 10;

/** Points that a level is the median of, where a loss that begins at zero has come to it: our numbers. */
const SETTLED = { least: 20, share: 0.2 };

/**
 * Where a loss that begins at exactly zero has reached its level: the first point that is above zero and no lower than the
 * median of those from it on. Training does not minimise such a loss to zero; it measures the distance of the policy from its
 * start (GRPO).
 *
 * @returns 0 where the loss does not begin so, or comes to no level within its first half
 */
export function growsFromZero(value: Column): number {
  if (value.at(0) !== 0 || printedTooEarly(value)) return 0;
  const count = Math.max(SETTLED.least, Math.floor(SETTLED.share * value.length));
  for (let i = 1; 2 * i < value.length; i++)
    if (value.at(i)! > 0 && value.at(i)! >= medianOf(value.subarray(i, i + count))) return i;
  return 0;
}

/** Points at either end of a short series that give a level, where there are too few for a band. */
const END_POINTS = 3;

/** Whether a series too short for a band ends far above its start. */
export function risesInFew(points: Column, settings: VerdictSettings): boolean {
  const finite = points.filter(Number.isFinite);
  if (finite.length < settings.minimumPoints || finite.length >= 2 * settings.minimumPoints) return false;
  const begin = medianOf(finite.subarray(0, END_POINTS));
  return (
    finite.every((one) => one > 0) &&
    medianOf(finite.subarray(finite.length - END_POINTS)) > settings.fullRatio * begin
  );
}

/**
 * Judges the points of an attempt that begins anew. For a loss that grows from zero only jumps from its level count: a climb
 * is expected, and does not show whether more happened.
 */
function judgeAnew(points: Column, settings: VerdictSettings, asked: Asked): AttemptJudgement {
  const whole = judgeAttempt(points, settings, asked);
  if (whole.class === 'healthy' && risesInFew(points, settings)) return { ...whole, class: 'inconclusive' };
  const from = whole.incidents.length === 0 ? 0 : growsFromZero(points);
  if (from === 0) return whole;
  const after = judgeAttempt(points.subarray(from), settings, { levelSays: false, isWhole: false });
  const incidents = after.incidents
    .filter(
      (one) =>
        one.class === 'non-finite' ||
        // A little above its level is where it grows to.
        (one.form === 'jump' && (one.recovered !== null || badness(one.class) >= badness('drift'))),
    )
    .map((one) => shifted(one, -from));
  return {
    ...after,
    points: whole.points,
    incidents,
    spikes: after.spikes.map((one) => ({ ...one, index: one.index + from })),
    class: worstOf(incidents)?.class ?? 'inconclusive',
  };
}

/** Contrastive losses are of pairs in a batch, whose level says little of what is learnt. */
const CONTRASTIVE = /contrast|info_?nce|(^|[^a-z])nce([^a-z]|$)|triplet|simclr/i;

/** Whether a series is the loss of supervised training as a whole, whose first level is that of a net that has learnt nothing. */
export const isWholeLoss = (run: Run, { role, name }: TimeSeries): boolean =>
  role === 'loss' && !CONTRASTIVE.test(name) && rewardsOf(run).length === 0;

/**
 * Judges every attempt of a series. Zeros that mean NaN (see dead-run) are judged as NaN.
 *
 * An attempt that resumes is judged with the points before its first step in front, so it is compared with the level that it
 * continues. Only incidents that begin in it belong to it.
 *
 * @param levelSays whether a level that rises is worth a word
 */
export function judgeSeries(
  run: Run,
  series: TimeSeries,
  settings: VerdictSettings,
  levelSays = true,
): JudgedSeries {
  const asked = { levelSays, isWhole: levelSays && isWholeLoss(run, series) };
  const skipped = scalerSkips(run, series);
  const parts = series.attemptOffsets.map((offset, attempt): Stretch => {
    const { value, step } = attemptOf(series, attempt);
    const dead = deadStretch(run, series, attempt, settings);
    const early = printedTooEarly(value);
    let points = value;
    if (early) points = points.map((one, i) => (i === 0 ? value.at(1)! : one));
    if (dead !== null) points = points.map((one, i) => (i >= dead.from - offset ? Number.NaN : one));
    // A step that the loss scaler skipped trained nothing: it gets the loss of the point before, or, at the beginning, of the
    // first one that was not skipped.
    if (skipped.size > 0) {
      let before = points.find(Number.isFinite)!;
      points = points.map((one, i) => {
        if (!skipped.has(offset + i)) before = one;
        return before;
      });
    }
    return { step, points: isPerplexity(series.name) ? points.map(Math.log) : points };
  });
  const lastAttempt = parts.findLastIndex(({ step }) => step.length > 0);
  const doneAgain = doneAgainOf(parts, settings);
  let trained: Stretch[] = [];
  let shortEnd: number | null = null;
  const histories: Column[] = [];
  const judged = parts.map((part, attempt): AttemptJudgement => {
    const alone = judgeAnew(part.points, settings, asked);
    const none = new Float64Array(0);
    if (part.step.length === 0) {
      histories.push(none);
      return alone;
    }
    if (doneAgain[attempt]!) {
      histories.push(none);
      return { ...alone, incidents: [] };
    }
    const anew = beginsAnew(trained, part.step.at(0)!);
    const first = trained[0]?.points ?? none;
    trained = anew ? [part] : [...before(trained, part.step.at(0)!), part];
    if (anew && attempt < lastAttempt) {
      histories.push(none);
      return alone;
    }
    const history = anew
      ? { step: none, points: none }
      : tailOf(trained.slice(0, -1), historyFor(part.points.length));
    histories.push(history.step);
    const by = history.points.length;
    const scratch = anew ? true : fromScratch(part.points, first, history.points, settings);
    const joined =
      scratch !== false
        ? alone.incidents
        : judgeAttempt(joinedOf([history.points, part.points]), settings, asked)
            .incidents.filter(({ onset }) => onset >= by)
            .map((incident) => shifted(incident, by));
    const incidents = joined.map((one) =>
      isOut(one, part.points, settings) ? { ...one, class: 'full-divergence' as const } : one,
    );
    const isShort =
      part.points.length < settings.minimumPoints ||
      (anew && attempt > 0 && isBehind(part.points, parts[attempt - 1]!.points, settings));
    if (attempt === lastAttempt && incidents.length === 0 && isShort) shortEnd = attempt;
    return { ...alone, incidents, class: worstOf(incidents)?.class ?? alone.class };
  });
  const attempts = levelSays
    ? judged.map((one, attempt) => explained(one, attempt, run, series, parts[attempt]!, settings, asked))
    : judged;
  const isJudged = attempts.some(
    ({ incidents, class: verdict }) => incidents.length > 0 || verdict === 'healthy',
  );
  // The end is unknown if the loss stops while other columns go on, or if the run was resumed too recently to judge.
  const unknown = !isJudged || shortEnd !== null || endIsUnknown(run, series, settings);
  const instead = insteadOf(attempts, run.stepUnit);
  const found = classOfAttempts(attempts, unknown ? 'inconclusive' : 'healthy');
  return { series, class: found, attempts, histories, doneAgain, shortEnd, ...instead };
}

/** An attempt without the rises that its schedule or its evaluations explain, and with those that evaluations show. */
function explained(
  judged: AttemptJudgement,
  attempt: number,
  run: Run,
  { role }: TimeSeries,
  part: Stretch,
  settings: VerdictSettings,
  asked: Asked,
): AttemptJudgement {
  const rates = run.series.find((one) => one.role === 'learning_rate');
  const planned = rates === undefined ? judged : asPlanned(judged, part, attemptOf(rates, attempt), settings);
  if (role === 'eval_loss' || rewardsOf(run).length > 0) return planned;
  const points = { step: part.step, value: part.points };
  return asEvaluated(planned, points, evaluationsOf(run, attempt), settings, asked);
}

/** The statement on rises that do not count as incidents; of several reasons, the first. */
function insteadOf(attempts: readonly AttemptJudgement[], unit: string): Pick<JudgedSeries, 'instead'> {
  const rows = attempts.findLast((one) => one.rows !== undefined)?.rows;
  if (rows !== undefined) return { instead: rows };
  const [restart] = attempts.flatMap(({ planned }) => planned ?? []).slice(-1);
  if (restart !== undefined) return { instead: risesAsPlanned(restart, unit) };
  return attempts.some((one) => one.usual !== undefined) ? { instead: COMES_AGAIN } : {};
}

/** An attempt without the rises that its schedule explains. */
function asPlanned(
  judged: AttemptJudgement,
  { step, points }: Stretch,
  rates: Points,
  { incidentRatio, minimumPoints }: VerdictSettings,
): AttemptJudgement {
  const loss = { step, value: points };
  const planned: PlannedRise[] = [];
  const incidents = judged.incidents.filter(({ onset, end, recovered, byRatio, before }) => {
    // Only of a loss above zero is a multiple of a level one.
    if (!byRatio || !(before > 0)) return true;
    const rise = plannedRise(loss, rates, { onset, end, isBack: recovered !== null }, incidentRatio);
    if (rise !== null) planned.push(rise);
    return rise === null;
  });
  if (planned.length === 0) return judged;
  const enough = judged.points - judged.nonFinite >= minimumPoints;
  const found = worstOf(incidents)?.class ?? (enough ? 'healthy' : 'inconclusive');
  return { ...judged, incidents, planned, class: found };
}

const risesAsPlanned = ({ step, rate }: PlannedRise, unit: string): string =>
  `rises with the restart of the schedule at ${unit} ${step} to what it was at a rate of ${formatNumber(rate, 'brief')} before, and shows no other rise`;

const COMES_AGAIN = 'rises and comes back again and again, as this run does, and shows no other rise';

/** What a series is by the incidents of all its attempts, the one that decides it; `otherwise` where they have none. */
export const classOfAttempts = (
  attempts: readonly AttemptJudgement[],
  otherwise: VerdictClass,
): VerdictClass => worstOf(attempts.flatMap(({ incidents }) => incidents))?.class ?? otherwise;

/** Later attempts that are looked at for one that covers an attempt: a loop of crashes ends sooner. */
const LOOK_AHEAD = 1000;

/** Of each attempt: was it too short to judge, finite, and did a later one train its steps again? */
const doneAgainOf = (parts: readonly Stretch[], settings: VerdictSettings): readonly boolean[] =>
  parts.map(({ step, points }, attempt) => {
    if (step.length === 0 || step.length >= settings.minimumPoints || !points.every(Number.isFinite))
      return false;
    const last = step.at(-1)!;
    for (let k = attempt + 1; k < Math.min(parts.length, attempt + LOOK_AHEAD); k++) {
      const later = parts[k]!.step;
      if (later.length > 0 && later.at(0)! <= last && later.at(-1)! >= last) return true;
    }
    return false;
  });

const isPerplexity = (name: string): boolean => /(^|[^a-z])(ppl|perplexity)($|[^a-z])/i.test(name);

/** An incident in the words of the report. */
function describe({ series, histories }: JudgedSeries, attempt: number, incident: SeriesIncident): Incident {
  const offset = series.attemptOffsets[attempt] ?? 0;
  const step = (index: number | null): number | null =>
    index === null
      ? null
      : index < 0
        ? (histories[attempt]!.at(index) ?? null)
        : series.step.at(offset + index)!;
  return {
    class: incident.class,
    series: series.name,
    attempt,
    onsetStep: series.step.at(offset + incident.onset)!,
    lastGoodStep: step(incident.lastGood),
    recoveredStep: incident.backIn?.step ?? step(incident.recovered),
    ...(incident.backIn === undefined ? {} : { recoveredIn: incident.backIn.series }),
    peakStep: series.step.at(offset + incident.peak)!,
    peak: series.value.at(offset + incident.peak)!,
    before: Number.isNaN(incident.before) ? null : incident.before,
    after: Number.isNaN(incident.after) ? null : incident.after,
  };
}

/** Every incident of a series in file order, with what was found about it. */
export const incidentsOf = (judged: JudgedSeries) =>
  judged.attempts.flatMap(({ incidents }, attempt) =>
    incidents.map((found) => ({ found, attempt, incident: describe(judged, attempt, found) })),
  );

/** Of the worst incidents the largest: it decides class and onset. */
export const decisive = (judged: JudgedSeries) =>
  worstOf(incidentsOf(judged).map((one) => ({ ...one, class: one.incident.class, size: one.found.size })));

/**
 * Whether a is worse than b. Of two that are lost the earlier one leads: it may have caused the other. Of two that came back,
 * the one with the larger incident leads.
 */
export function comesFirst(a: JudgedSeries, b: JudgedSeries): boolean {
  if (a.class !== b.class) return badness(a.class) > badness(b.class);
  if (badness(a.class) < badness('full-divergence')) {
    const size = (judged: JudgedSeries): number => decisive(judged)?.found.size ?? 0;
    if (size(a) !== size(b)) return size(a) > size(b);
  }
  const onset = (judged: JudgedSeries): number => decisive(judged)?.incident.onsetStep ?? Infinity;
  return onset(a) < onset(b);
}
