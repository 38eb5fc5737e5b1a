/** Every number of the judge of levels, with its origin and what it does to false alarms and recall (bench/detection). */

export const NUMBERS = {
  /** Points that a level is the median of: one ladder for spikes, jumps and slow rises. */
  widths: [1, 3, 9, 27, 81, 243],
  /** Level errors that an excess has to exceed. */
  errors: 5,
  /** The threshold is wider by this over the root of the points that the noise was measured on. */
  fewPoints: 1.5,
  /** Noise that is assumed while hardly a point is known, in log units; fades as 1/points. */
  priorNoise: 0.3,
  /** Levels whose noise is remembered; the older ones are forgotten. */
  remembered: 256,
  /** The noise is measured anew when there are so many times the levels. */
  anew: 1.15,
  /** Standard errors by which neighbouring levels have to differ by more than noise without memory gives. */
  nearErrors: 1,
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
  /** A swing ended when such a share of its rise is lost again. */
  swingBack: 0.6,
  /** An excess begins where the loss passes this share of its height, looked for in so many of its widths. */
  onsetShare: 0.25,
  onsetWidths: 8,
  /**
   * A recorder writes a capture where an excess is so many level errors high, or lasts for so many widths, after so many points:
   * the noise of fewer is hardly known. With 8, 3 and 60, a jump of × 5 at 45 % noise that decays in 15 points is missed, and
   * 13 of 60 healthy runs with correlated noise begin one; with these, 9 (bench/detection/stream.ts).
   */
  clear: 6,
  clearWidths: 2,
  clearFrom: 90,
  /** An excess has to be so many times the second largest swing. */
  overSwing: 1.25,
  /** exp(−tail): chance that a record of the run's own tail is as high as an excess has to be. */
  tail: 6.9,
  /** Excesses count from so many errors below the best level: differences near 0 make no tail. */
  tailFrom: 2,
  /** Slope of a normal tail, which counts as so many of the largest excesses. */
  tailSlope: 0.15,
  tailPrior: 4,
  /** Levels of more points have no tails of their own. */
  tailWidth: 3,
  /** Ratio to the best level from which on an excess is worth a word. */
  worth: 1.25,
  /** The same at the start of a run, in its first points. */
  worthAtStart: 4,
  startPoints: 20,
  /** Share of what was learnt, lost, that is worth a word; and that is all. */
  lostHalf: 0.5,
  lostAll: 0.9,
  lostMost: 0.7,
  /** Level errors by which the untrained level has to be above the best for the share to count. */
  learntErrors: 8,
  /** Ratios to the best level: drift, lost, and lost without waiting. With 1.5, climbs to 1.6 in 60 points are no drift. */
  drift: 1.4,
  lost: 2,
  decade: 10,
  /** A rise that comes this often, each at least so alike and below that many times the level, is usual. */
  usualTimes: 3,
  alike: 0.6,
  usual: 3,
  /** A rise is usual if it lasts at most so many times the longest of those that came back. */
  usualLength: 1.5,
  /** Points that an incident has to come back in: at most this, a tenth of the points before it, a third of them. */
  decision: 100,
} as const;
