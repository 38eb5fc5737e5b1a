/** Every number of the judge of levels, with its origin and what it does to false alarms and recall (bench/detection). */

export const NUMBERS = {
  /** Points that a level is the median of: one ladder for spikes, jumps and slow rises. */
  widths: [1, 3, 9, 27, 81, 243],
  /** Level errors that an excess has to exceed. */
  errors: 5.5,
  /** The threshold is wider by this over the root of the points so far. */
  fewPoints: 2.5,
  /** Noise that is assumed while hardly a point is known, in log units, or in ranges of losses of both signs; fades as 1/points². */
  priorNoise: 0.3,
  /** Levels whose noise is remembered; the older ones are forgotten. */
  remembered: 256,
  /**
   * The noise is measured anew when there are so many times the levels, and at the latest after a quarter of those remembered; in
   * a long run after this share of all levels, up to as many as are remembered: of a million points each counts once.
   */
  anew: 1.15,
  anewShare: 1 / 64,
  /** Fewer levels of a width, not overlapping, tell nothing of slow noise. */
  fewBlocks: 3,
  /**
   * Noise with memory: narrower levels share it if its variance is this multiple of that of noise without memory. Then a width
   * that few levels were measured of counts with so many of its errors, and may grow by so much from width to width. False alarms
   * in noise of correlation 0.99 fall from 48 to 5 in 100 (600 points), those of 0.9 from 10 to 0 (6,000 points).
   */
  sharedNoise: 0.5,
  sharedErrors: 0.5,
  mostGrowth: 3,
  /**
   * Points are taken above the mean of others so far apart (in which a trend cancels), and steps of more than so many standard
   * deviations are left out; their correlation counts with so many without memory; the most that a point may keep.
   */
  trendApart: 4,
  usualSteps: 2.5,
  memoryPrior: 4,
  mostMemory: 0.99,
  /** Share of the differences whose least says how high noise is that is high again and again. */
  highestShare: 0.05,
  highestFrom: 40,
  /** An excess begins where the loss passes this share of its height, looked for in so many of its widths. */
  onsetShare: 0.25,
  /** An excess of levels of at most so many points begins at no point that is within so many errors of the best, and below half of its height. */
  onsetFew: 9,
  usualErrors: 2,
  onsetWidths: 8,
  /** exp(−tail): chance that a record of the run's own tail is as high as an excess has to be. */
  tail: 6.9,
  /** Excesses count from so many errors below the best level: differences near 0 make no tail. */
  tailFrom: 2,
  /** Slope of a normal tail, which counts as so many of the largest excesses. */
  tailSlope: 0.15,
  tailPrior: 4,
  /**
   * Of so many of the largest excesses the first is left out where the others do not explain it. With 3, a healthy shared case begins
   * a capture at its ninth point. Of 60 later spikes to twice the level in noise of 5 %, after one to three times it at the sixth of
   * 600 points, 51 are found, none before.
   */
  tailOthers: 4,
  /** Levels of more points have no tails of their own. */
  tailWidth: 3,
  /** Ratio to the best level from which on an excess is worth a word in the first points, where losses move by much. */
  worthAtStart: 4,
  startPoints: 8,
  /** Levels of more than one point: how many of the next wider ones there have to be, for their best to be the reference. */
  oldBlocks: 10,
  /** Share of what was learnt, lost, that is worth a word; and that is all, but for the error of the few first points. */
  lostHalf: 0.5,
  lostMost: 0.7,
  /** Level errors by which the untrained level has to be above the best for the share to count. */
  learntErrors: 8,
  /** Of losses of both signs that learnt little: errors of a point that count as what was learnt. A policy's loss wanders by less. */
  signErrors: 16,
  /** Share of its height that a rise may keep where it counts as back. */
  backShare: 0.5,
  /** Fewer points have no usual level. */
  fewest: 5,
  /** A rise that comes this often, each at least so alike and below that many times the level, is usual. */
  usualTimes: 3,
  alike: 0.6,
  usual: 3,
  /** A rise that goes on is usual if it lasts at most so many times the longest of those that came back. */
  usualLength: 1.5,
  /** Share of the first loss that is nothing: losses that reach 0 are compared with so much added. */
  nothing: 1e-3,
  /** Times its best level that a loss of a few points is at its last: no training makes that good. */
  decades: 1e5,
} as const;

/** Numbers of comparisons that are not of levels: medians of ten losses, another column, a reward. */
export const COMPARED = {
  /** What medians of a few losses, or another column, may be above a level, in scales and as a ratio: six healthy public runs peaked at 4.5 scales. */
  usualScales: 6,
  usualRatio: 1.05,
  /** Points of a training loss that a level at an evaluation is of. */
  levelPoints: 5,
  /** Share of the best evaluation that a rise of the training loss has to be, to show in evaluations. */
  shown: 0.25,
  /** Times the level of the first points that harder rows reach at most, and evaluations of which the last level is. */
  untrainedRatio: 2,
  lastEvaluations: 3,
  /** Points at the end of a reward that tell its last level. */
  rewardEnd: 20,
} as const;

/** What is asked of a training loss where evaluations rise with it, and how many of them tell. */
export const WITNESSED = {
  evaluations: 4,
  /** Level errors, in place of `NUMBERS.errors`, and ratio to the best level. */
  errors: 4,
  ratio: 1.1,
} as const;
