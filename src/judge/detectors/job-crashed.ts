import { formatCount } from '../../model/format-number.ts';
import { inertName } from '../../model/inert-text.ts';
import type { Job } from '../../model/job.ts';
import { JOB_REASON_WORDS, jobEndClause } from '../../model/job-words.ts';
import type { Run } from '../../model/run.ts';
import { type Detector, notApplicable, outcomeOf, quantity } from './detector.ts';

const advice =
  'Read the quoted line and the lines above it in the log. The run can go on from its last checkpoint once the reason is gone; its losses up to there are judged on their own.';

/** An error of the program, or memory that the kernel took back; a time limit, a preemption and Ctrl-C are no faults of it. */
const isFailure = ({ ended, reason }: Job): boolean => ended === 'crashed' || reason === 'out-of-memory';

export const jobCrashed = {
  id: 'job-crashed',
  title: 'The process of the training ended before the training did',
  severity: 'error',
  thresholds: [],
  docs: {
    summary:
      'The log ends in an error of the program: an exception, no memory, a collective that timed out, a full disk.',
    details: `Looks for what a process prints when it ends: tracebacks of Python, out-of-memory messages of CUDA, XLA and
TensorFlow, time-outs of collectives, full disks, signals, and the words of Slurm, PBS, LSF and Kubernetes. A message counts
only where no record of training follows it. Of several ranks the first message is the cause. A process that was ended from
outside (time limit, preemption, Ctrl-C) is a note: nothing is wrong with the program. The kernel's memory killer is an error.`,
    advice,
    references: [],
  },
  detect(run: Run) {
    const { job } = run;
    if (job === undefined || (job.ended !== 'crashed' && job.ended !== 'killed'))
      return notApplicable('the log does not say how the process ended');
    const step = job.at?.step ?? null;
    const line = job.at?.line ?? null;
    const said = job.message === null ? '' : `: ${inertName(job.message)}`;
    return outcomeOf([
      {
        id: 'job-crashed',
        severity: isFailure(job) ? 'error' : 'note',
        message: `The process ${jobEndClause(job)}${step === null ? '' : ` after ${run.stepUnit} ${formatCount(step)}`}${said}`,
        steps: step === null ? null : [step, step],
        series: null,
        measured: quantity('messages of an end', 1, 'messages'),
        threshold: null,
        locations: [{ path: job.at?.path ?? run.paths.at(-1)!, ...(line === null ? {} : { line }) }],
        advice: JOB_REASON_WORDS[job.reason ?? 'signal'].next,
      },
    ]);
  },
} as const satisfies Detector;
