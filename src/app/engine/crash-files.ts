/** Output of a process that has no record and says how it ended: in the folder of a log it belongs to that log's run. */
import { dirname } from 'node:path';
import type { Job } from '../../model/job.ts';
import type { LogInput } from '../../model/log.ts';
import { distanceToNext } from '../../model/order-statistics.ts';
import type { Run } from '../../model/run.ts';
import { isPrintedBeside } from '../../read/logs/wandb-folder.ts';

/** Whether a text has no number of a training, and says how its process ended. */
export const isCrashFile = ({ runs }: LogInput): boolean =>
  runs.length === 1 && runs[0]!.series.length === 0 && runs[0]!.job?.at != null;

/** The only log of the folder that a crash file lies in; undefined where there are none or several. */
export function logBeside(crash: LogInput, logs: readonly LogInput[]): LogInput | undefined {
  const folder = dirname(crash.path);
  const near = logs.filter(
    (log) => log.path === folder || dirname(log.path) === folder || isPrintedBeside(crash.path, [log]),
  );
  return near.length === 1 && near[0]!.runs.length === 1 ? near[0] : undefined;
}

/** A log whose run ended as another file says. What the log itself says of its end counts more. */
export function withCrash(log: LogInput, crash: LogInput): LogInput {
  const [run] = log.runs as [Run];
  const { job } = crash.runs[0]!;
  if (job === undefined || (run.job !== undefined && run.job.ended !== 'unknown')) return log;
  const step = run.attempts.at(-1)?.lastStep ?? null;
  const at: Job['at'] = { line: null, time: null, ...job.at, step, path: crash.path };
  return { ...log, runs: [{ ...run, job: { ...job, ...pick(run.job), at } }] };
}

/** A log whose run ended as a second log of the same run says, if that one reaches its end: what went on did not end there. */
export function withEndOf(log: LogInput, same: LogInput): LogInput {
  const [own, its] = [log, same].map(({ runs }) => runs[0]!.series.find(({ role }) => role === 'loss'));
  const [unit, itsUnit] = [log, same].map(({ runs }) => runs[0]!.stepUnit);
  if (own === undefined || its === undefined) return log;
  // One of them may count from 0, or log every second step; rows are counted one by one.
  const missing =
    unit === itsUnit
      ? (own.step.at(-1)! - its.step.at(-1)!) / distanceToNext(own.step)
      : own.value.length - its.value.length;
  return missing <= 1 ? withCrash(log, same) : log;
}

const pick = (own: Job | undefined): Partial<Pick<Job, 'gaps' | 'resumes'>> =>
  own === undefined ? {} : { gaps: own.gaps, resumes: own.resumes };
