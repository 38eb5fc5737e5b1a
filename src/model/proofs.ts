/** The three proofs behind a verdict: every loss record was judged, the run learnt, nothing in the record contradicts it. */

/** One proof. `holds` is null where the data cannot tell. */
export interface Proof {
  readonly holds: boolean | null;
  /** One sentence: `600 of 600 loss records judged`. */
  readonly statement: string;
  /** Levels of the loss where they are shown to differ: that of the untrained model and the last one. */
  readonly levels?: readonly [number, number];
}

export interface Proofs {
  /** Every loss record of the log was judged or is explained ({@link Coverage}). */
  readonly judged: Proof;
  /** The loss ends below that of the untrained model by more than its noise. */
  readonly learnt: Proof;
  /** No weight, checkpoint or capture contradicts the verdict. */
  readonly whole: Proof;
}

/** Why a loss record is not among the judged points, each with how many of them there are. */
export interface ExplainedRecords {
  /** The same record again: another column, tag or line that repeats a judged value. */
  readonly copies: number;
  /** Records of another rank of the same run. */
  readonly ranks: number;
  readonly runningMeans: number;
  /** Losses on data that is not trained on. */
  readonly evaluations: number;
}

/**
 * Which share of the loss records of a run was judged, counted by a second reader that knows no layout:
 * `seen = judged + copies + ranks + runningMeans + evaluations + unexplained`.
 */
export interface Coverage {
  /** Records (lines, rows, events) with a loss-like word and a number. */
  readonly seen: number;
  readonly judged: number;
  readonly explained: ExplainedRecords;
  readonly unexplained: number;
  /** Where the first of the unexplained is; `line` counts records in a log without lines. */
  readonly firstUnexplained: { readonly path: string; readonly line: number } | null;
}
