/** What became of the process of a run: what ended it, where it paused, and from where it went on. */
import { upperBound } from '../../model/column.ts';
import type { Job } from '../../model/job.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { withTimes } from '../../model/printed-times.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import type { JobSign, JobSigns } from './job-signs.ts';

/** A pause counts from ten minutes and 20 times the usual distance of two records: an evaluation pauses, too, but often. */
const LONG_PAUSE = { seconds: 600, usual: 20, most: 5 } as const;

/** Distances of neighbours that the usual one is taken from. */
const SAMPLED_DISTANCES = 4096;

/** The last line that holds a training loss of the run; 0 where lines are not known. */
export function lastRecordLine(run: Pick<Run, 'series'>): number {
  let last = 0;
  for (const { role, line } of run.series) {
    const isTraining = role === 'loss' || role === 'task_loss';
    const at = !isTraining || line === undefined || line.length === 0 ? 0 : line.at(line.length - 1)!;
    if (at > last) last = at;
  }
  return last;
}

/** Reasons that a scheduler, a kernel or a library states: a bare signal is explained by a later line that states one. */
const STATED: readonly JobSign['reason'][] = [
  'out-of-memory',
  'time-limit',
  'preempted',
  'disk-full',
  'collective-timeout',
];

/**
 * The sign that says why a process ended: the first one, since what other ranks print follows from it. A launcher's summary
 * counts only where nothing else was printed, and a bare signal gives way to a line that states who sent it.
 */
export function firstCause(signs: readonly JobSign[]): JobSign | undefined {
  const ends = signs.filter(({ ended }) => ended !== 'completed');
  const first = ends.find(({ summary }) => !summary);
  if (first === undefined) return ends.find(({ reason }) => reason === 'signal') ?? ends[0];
  if (first.reason !== 'signal') return first;
  return ends.find(({ reason, summary }) => !summary && STATED.includes(reason)) ?? first;
}

/**
 * Signs of the end: those behind the last record; and where there is one, those of a rank that failed while the other ranks
 * still printed records of the same attempt.
 */
function endingSigns(run: Run, loss: TimeSeries | undefined, all: readonly JobSign[]): readonly JobSign[] {
  const last = lastRecordLine(run);
  // What an epoch or a training sums up may be a record and the word of its end in one line.
  const after = all.filter(({ line, ended }) => line > last || (ended === 'completed' && line === last));
  if (after.every(({ ended }) => ended === 'completed')) return after;
  const attempt = loss?.attemptOffsets.at(-1) ?? 0;
  const begun = attempt === 0 ? 0 : (loss?.line?.at(attempt) ?? 0);
  return [...all.filter(({ line, rank }) => rank !== null && line > begun && line <= last), ...after];
}

/** Long pauses between the records of one attempt, or between two attempts; none where the log prints no time of day. */
export function pausesOf(series: TimeSeries): Job['gaps'] {
  const { wallTime, step } = series;
  if (wallTime === undefined || wallTime.length < 10) return [];
  const stride = Math.max(1, Math.floor(wallTime.length / SAMPLED_DISTANCES));
  const distances: number[] = [];
  for (let k = 1; k < wallTime.length; k += stride) distances.push(wallTime.at(k)! - wallTime.at(k - 1)!);
  const usual = medianOf(distances.filter((distance) => distance >= 0));
  const least = Math.max(LONG_PAUSE.seconds, LONG_PAUSE.usual * usual);
  const found: Job['gaps'][number][] = [];
  let before = Number.NaN;
  let place = 0;
  for (const time of wallTime) {
    if (time - before >= least)
      found.push({ fromStep: step.at(place - 1)!, seconds: Math.round(time - before) });
    before = time;
    place++;
  }
  // What comes often is how this training runs.
  return found.length <= LONG_PAUSE.most ? found : [];
}

/** Where training went on: the attempts after the first one, and what the text says between two steps that follow each other. */
function resumesOf(run: Run, loss: TimeSeries | undefined, signs: JobSigns | undefined): Job['resumes'] {
  return [...attemptsResumed(run, loss, signs), ...resumedWithoutLoss(loss, signs)].sort(
    (a, b) => a.step - b.step,
  );
}

/** Resumes from a checkpoint of the very last step: no step is trained twice, and only the text shows them. */
function resumedWithoutLoss(loss: TimeSeries | undefined, signs: JobSigns | undefined): Job['resumes'] {
  const lines = loss?.line;
  if (loss === undefined || lines === undefined) return [];
  const found = new Map<number, Job['resumes'][number]>();
  for (const { line, from, goesOn } of signs?.resumed ?? []) {
    const next = goesOn ? upperBound(lines, line) : 0;
    if (next > 0 && next < lines.length && !loss.attemptOffsets.includes(next))
      found.set(next, { step: loss.step.at(next)!, from, lostSteps: 0 });
  }
  return [...found.values()];
}

/** The attempts after the first one: where each goes on, and how many steps were trained twice. */
function attemptsResumed(
  run: Run,
  loss: TimeSeries | undefined,
  signs: JobSigns | undefined,
): Job['resumes'] {
  return run.attempts.slice(1).map((attempt, k) => {
    const before = run.attempts[k]!;
    const lines = loss?.line;
    const starts = loss?.attemptOffsets[attempt.index];
    const line =
      lines === undefined || starts === undefined || starts >= lines.length ? undefined : lines.at(starts)!;
    const from = line === undefined ? undefined : signs?.resumed.findLast((one) => one.line < line)?.from;
    const lost = before.lastStep - attempt.firstStep + 1;
    return {
      step: attempt.firstStep,
      from: from ?? null,
      lostSteps: Number.isFinite(lost) && lost >= 0 ? lost : null,
    };
  });
}

/**
 * The story of a run's process.
 *
 * A sign counts as the end only where no record of training follows it: an error that a program survived (a batch that did not
 * fit and was halved) ended nothing.
 *
 * @param signs what the text says; undefined where the log is not text
 * @returns undefined where nothing is known: no sign, no pause and no second attempt
 */
export function jobOf(run: Run, signs: JobSigns | undefined): Job | undefined {
  const loss =
    run.series.find(({ role }) => role === 'loss') ?? run.series.find(({ role }) => role === 'task_loss');
  const gaps = loss === undefined ? [] : pausesOf(withTimes(run, loss));
  const resumes = resumesOf(run, loss, signs);
  const after = endingSigns(run, loss, signs?.signs ?? []);
  const cause = firstCause(after);
  const end = cause ?? after.findLast(({ ended }) => ended === 'completed');
  if (end === undefined && gaps.length === 0 && resumes.length === 0) return undefined;
  return {
    ended: end?.ended ?? 'unknown',
    reason: end?.reason ?? null,
    at:
      end === undefined
        ? null
        : {
            ...{ line: end.line, step: lastStepOf(run), time: end.time },
            ...(end.frame === undefined ? {} : { frame: end.frame }),
          },
    rank: cause === undefined ? null : (cause.rank ?? signs?.firstRank ?? null),
    message: end?.message ?? null,
    gaps,
    resumes,
  };
}

function lastStepOf(run: Run): number | null {
  const step = run.attempts.at(-1)?.lastStep;
  return step === undefined || !Number.isFinite(step) ? null : step;
}

/** Whether a text states how its process ended: enough to be the log of a run that has no record. */
export const tellsEnd = (signs: JobSigns | undefined): boolean =>
  signs !== undefined && firstCause(signs.signs) !== undefined;
