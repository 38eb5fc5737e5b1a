/** The story of the process that trained, as far as its log shows it. */

/** `crashed`: the program ended itself in an error. `killed`: it was ended from outside. */
export const JOB_ENDS = ['completed', 'crashed', 'killed', 'running', 'unknown'] as const;
export type JobEnd = (typeof JOB_ENDS)[number];

export const JOB_REASONS = [
  'out-of-memory',
  'exception',
  'collective-timeout',
  'time-limit',
  'preempted',
  'signal',
  'disk-full',
] as const;
export type JobReason = (typeof JOB_REASONS)[number];

export interface Job {
  readonly ended: JobEnd;
  /** Null where the log states none. */
  readonly reason: JobReason | null;
  /** The first line that states the reason, the last step before it, and its printed time; null where the log has no such line. */
  readonly at: {
    readonly line: number | null;
    readonly step: number | null;
    readonly time: string | null;
    /** The file of the line, where it is another than the run's log. */
    readonly path?: string;
    /** Where an exception was raised: the last call of the traceback that is of no installed package, such as `train.py:57 in step`. Untrusted text. */
    readonly frame?: string;
  } | null;
  /** The rank that failed first; null where none is named. */
  readonly rank: number | null;
  /** What was printed, one line. Untrusted text. */
  readonly message: string | null;
  /** Pauses between two records that are far longer than usual. */
  readonly gaps: readonly { readonly fromStep: number; readonly seconds: number }[];
  /** Resumptions: the first step after one, the checkpoint that the log names, and how many steps were trained twice. */
  readonly resumes: readonly {
    readonly step: number;
    readonly from: string | null;
    readonly lostSteps: number | null;
  }[];
}
