/** What a verdict rests on: which loss records were judged, whether the run learnt, and what contradicts it. */

import { type CoverageProof, coverageOf } from '../../judge/coverage/coverage.ts';
import { CAPTURE_FINDINGS, CHECKPOINT_FINDINGS } from '../../judge/findings/registry.ts';
import type { JudgedSeries } from '../../judge/incidents/attempts.ts';
import { columnLeftOut } from '../../judge/incidents/columns-left-out.ts';
import { learntOfFew } from '../../judge/incidents/learnt-of-few.ts';
import { ERRORS } from '../../judge/incidents/level-error.ts';
import { begunAnew, isLostAgain, learntOf } from '../../judge/incidents/never-learned.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../judge/incidents/settings.ts';
import { type JudgedRun, levelSaysLittle } from '../../judge/incidents/verdict.ts';
import { arrayOf } from '../../model/column.ts';
import type { Finding } from '../../model/finding.ts';
import { counted, formatNumber } from '../../model/format-number.ts';
import { finiteOf } from '../../model/order-statistics.ts';
import type { Proof } from '../../model/proofs.ts';
import type { RunVerdict } from '../../model/report.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import { sampledKey } from '../../model/sampled.ts';

/** The series that a verdict was made from. */
function seriesJudged({ loss, decides, taskLosses }: JudgedRun): TimeSeries[] {
  const all = [loss, decides, ...taskLosses].flatMap((one) => (one === null ? [] : [one.series]));
  return [...new Set(all)];
}

/** What was judged of a run: the counts of the second reader, null where it cannot tell, and the proof. */
type Covered = Pick<CoverageProof, 'proof'> & { readonly coverage: CoverageProof['coverage'] | null };

/**
 * The counts of the second reader for a run that was judged, and whether a server kept a sample or a column of a loss was left
 * out; null where none of them says anything.
 */
export function coverageOfJudged(run: Run, judged: JudgedRun): Covered | null {
  const series = seriesJudged(judged);
  const covered = coverageOf(run, series);
  const sample = sampleAmong(run, series);
  if (sample !== null)
    return { coverage: covered?.coverage ?? null, proof: { holds: false, statement: sample } };
  const column = columnLeftOut(run, series);
  if (column === null || covered?.proof.holds === false) return covered;
  return { coverage: covered?.coverage ?? null, proof: { holds: false, statement: column } };
}

/** The first series of which a server kept a sample, in words; null where all points are there. */
function sampleAmong({ hyperparameters }: Run, judged: readonly TimeSeries[]): string | null {
  for (const { name } of judged) {
    const sample = hyperparameters.get(sampledKey(name));
    if (typeof sample === 'string')
      return `"${name}" was sampled by the server: ${sample}; its log files have all`;
  }
  return null;
}

const NOT_COUNTED: Proof = {
  holds: null,
  statement: 'the loss records of this log were not counted a second time',
};
const NOT_TESTED: Proof = { holds: null, statement: 'whether it learnt was not tested' };

/** Losses that end a run: where none of them is finite, its weights are not. */
const LAST = 5;

/** Share of its first level above which a loss ends no lower than it began. */
const AS_AT_FIRST = 0.98;

/** Whether a run of one attempt ends below the level that it began with, by the noise of both. */
export function learntProof(run: Run, judged: JudgedRun): Proof {
  const { loss } = judged;
  if (loss === null || run.attempts.length > 1 || levelSaysLittle(run, loss.series)) return NOT_TESTED;
  const proof = fallOf(run, loss, judged);
  // A part of the loss, or an evaluation, that falls shows it; one that does not fall shows nothing of the others.
  return loss.series.role === 'loss' || proof.holds === true ? proof : NOT_TESTED;
}

/** What the levels of a loss show. */
function fallOf(run: Run, loss: JudgedSeries, { settings, neverLearned }: JudgedRun): Proof {
  const values = arrayOf(loss.series.value);
  const onset = loss.attempts[0]?.incidents[0]?.onset ?? values.length;
  // More points are asked for before a run that goes on is said to have learnt nothing; that it learnt needs no more.
  const least = Math.min(settings.learntPoints, DEFAULT_VERDICT_SETTINGS.learntPoints);
  const many = neverLearned?.learnt ?? learntOf(values, onset, least);
  const isShort = many.holds === null;
  const learnt = isShort ? learntOfFew(values, onset, settings.minimumPoints) : many;
  const { holds, untrained, end, error, isGuess = false } = learnt;
  const levelsOf = (...levels: readonly number[]): string =>
    levels.map((level) => formatNumber(level, 'brief')).join(' → ');
  if (values.length >= LAST && values.subarray(-LAST).every((value) => !Number.isFinite(value)))
    return {
      holds: false,
      statement: `what it learnt is lost: ${levelsOf(untrained, learnt.best)}, then no number`,
    };
  // An end just below the first loss is no proof where the run had been far lower.
  if (onset < values.length && isLostAgain(learnt))
    return { holds: false, statement: `what it learnt is lost: ${levelsOf(untrained, learnt.best, end)}` };
  if (holds === null) return NOT_TESTED;
  const isHigher = end > untrained + ERRORS * error;
  const levels = isShort ? endsOf(values, [untrained, end]) : ([untrained, end] as const);
  const fromTo = levelsOf(...levels);
  if (holds) return { holds, statement: `learnt: ${fromTo}`, levels };
  if (isHigher) return { holds, statement: `ends higher than at first: ${fromTo}`, levels };
  // A window of a few points into a training need not show it.
  if (isShort && !begunAnew(run, 0, values.length)) return NOT_TESTED;
  return end < AS_AT_FIRST * untrained
    ? { holds: null, statement: `falls by no more than its noise: ${fromTo}` }
    : { holds, statement: `no lower than ${isGuess ? 'a guess' : 'at first'}: ${fromTo}` };
}

/** First and last loss of a short run, whose levels are of much of it; the levels where one of the two points is a lucky one. */
function endsOf(values: Float64Array, levels: readonly [number, number]): readonly [number, number] {
  const finite = finiteOf(values);
  const [first, last] = [finite[0]!, finite.at(-1)!];
  return Math.sign(last - first) === Math.sign(levels[1] - levels[0]) ? [first, last] : levels;
}

/** What else was looked at, and whether it contradicts a calm loss. */
function wholeOf(findings: readonly Finding[], detectorsRun: readonly string[]): Proof {
  const beside = (id: string): boolean =>
    Object.hasOwn(CHECKPOINT_FINDINGS, id) || Object.hasOwn(CAPTURE_FINDINGS, id) || id.startsWith('audit-');
  const [worst] = findings.filter(({ id, severity }) => severity === 'error' && beside(id));
  if (worst !== undefined) return { holds: false, statement: worst.message };
  const looked = detectorsRun.filter(beside).length;
  return looked === 0
    ? { holds: null, statement: 'no checkpoint and no capture was checked' }
    : { holds: true, statement: `${counted(looked, 'check')} of checkpoints and captures found no error` };
}

/**
 * The verdict with its proofs. One whose judged points show nothing worse is inconclusive where loss records were left
 * out: they may be the incident.
 *
 * @param learnt what the judge says of it; `not tested` where it says nothing
 */
export function withProofs(
  verdict: RunVerdict,
  covered: Covered | null,
  findings: readonly Finding[],
  detectorsRun: readonly string[],
  learnt: Proof = verdict.provenBy?.learnt ?? NOT_TESTED,
): RunVerdict {
  const judged = covered?.proof ?? NOT_COUNTED;
  const proven = {
    coverage: covered?.coverage ?? null,
    provenBy: { judged, learnt, whole: wholeOf(findings, detectorsRun) },
  };
  if (judged.holds !== false || verdict.class !== 'healthy') return { ...verdict, ...proven };
  return {
    ...verdict,
    ...proven,
    class: 'inconclusive',
    why: `Not all loss records were judged: ${judged.statement}. By the judged ones: ${verdict.why}`,
  };
}
