/** How a process ended, in words: one table for the page, the finding and the brief. */
import type { Job, JobReason } from './job.ts';

interface ReasonWords {
  /** Behind "the process": `ran out of memory`. */
  readonly clause: string;
  /** Behind a colon in a title: `out of memory`. */
  readonly short: string;
  /** What to do next, where the process was ended from outside or by its machine. */
  readonly next: string;
}

export const JOB_REASON_WORDS: Readonly<Record<JobReason, ReasonWords>> = {
  'out-of-memory': {
    clause: 'ran out of memory',
    short: 'out of memory',
    next: 'Use a smaller batch (with gradient accumulation to keep its size), shorter sequences or activation checkpointing, and go on from the last checkpoint.',
  },
  exception: {
    clause: 'ended in an exception',
    short: 'exception',
    next: 'Read the quoted line and the traceback above it, mend the code or the data that it names, and go on from the last checkpoint.',
  },
  'collective-timeout': {
    clause: 'ended in a collective that timed out',
    short: 'collective timed out',
    next: 'Find the rank that did not arrive: read each rank’s own output for an earlier error or a stall. The ranks that report the time-out only waited.',
  },
  'time-limit': {
    clause: 'was ended at its time limit',
    short: 'time limit',
    next: 'Start the job again from the last checkpoint, with a longer limit or checkpoints at shorter distances.',
  },
  preempted: {
    clause: 'was preempted',
    short: 'preempted',
    next: 'Start the job again from the last checkpoint.',
  },
  signal: {
    clause: 'was ended by a signal',
    short: 'signal',
    next: 'Look in the scheduler’s and the kernel’s log for who sent the signal, then go on from the last checkpoint.',
  },
  'disk-full': {
    clause: 'found no space left on its disk',
    short: 'disk full',
    next: 'Free space or write checkpoints elsewhere, check that the last checkpoint is whole (`clippy-diag inspect`), and go on from it.',
  },
};

/** `ran out of memory on rank 3`, to follow "The process". Of a job that ended in an error or from outside. */
export function jobEndClause({ ended, reason, rank }: Pick<Job, 'ended' | 'reason' | 'rank'>): string {
  const what =
    reason === null
      ? ended === 'killed'
        ? 'was ended from outside'
        : 'ended in an error'
      : JOB_REASON_WORDS[reason].clause;
  return rank === null ? what : `${what} on rank ${rank}`;
}
