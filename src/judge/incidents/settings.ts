/** Every number behind a verdict, with its origin. The paper gives none; these are ours (docs/detection.md). */
import type { Threshold } from '../../model/finding.ts';
import { COUNT, NOT_NEGATIVE, POSITIVE, RATIO, SHARE } from '../../model/options.ts';

export const VERDICT_SETTINGS = {
  minimumPoints: {
    value: 8,
    unit: 'points',
    range: COUNT,
    origin: 'fewer give no median worth the name; a run this short without an incident is inconclusive',
  },
  gracePoints: {
    value: 20,
    unit: 'points',
    range: { min: 0, max: Number.POSITIVE_INFINITY, integer: true },
    origin: 'the first steps of a training move by orders of magnitude; at most one sixth of the run',
  },
  graceShare: {
    value: 0.02,
    unit: 'share of the run',
    range: SHARE,
    origin: 'warm-up of long runs; the larger of the two counts',
  },
  windowPoints: {
    value: 50,
    unit: 'points',
    range: COUNT,
    origin: 'the scale of 50 points is off by about 16 %, which 6 scales survive',
  },
  windowShare: {
    value: 0.05,
    unit: 'share of the run',
    range: SHARE,
    origin: 'short enough to follow the falling loss of a healthy run',
  },
  windowMaximum: { value: 1000, unit: 'points', range: COUNT, origin: 'more add cost and no accuracy' },
  windowStart: {
    value: 20,
    unit: 'points',
    range: COUNT,
    origin:
      'from here on points are judged; one eighth of the run, but five points at least, where that is less',
  },
  smallSample: {
    value: 4,
    unit: 'points',
    range: NOT_NEGATIVE,
    origin:
      'scales are widened by 1 + 4/points: the MAD of few points is often far too small by chance (bench/detection)',
  },
  bandScales: {
    value: 6,
    unit: 'scales',
    range: POSITIVE,
    origin:
      'six healthy public runs peaked at 4.5 scales of log-loss; co-spike rules found in the wild use 6',
  },
  bandRatio: {
    value: 1.05,
    unit: 'ratio to the median',
    range: RATIO,
    origin: 'a loss that moves by less is fine however quiet it was before',
  },
  incidentScales: {
    value: 8,
    unit: 'scales',
    range: POSITIVE,
    origin: 'a calibrated rule found in the wild: MAD z of log-loss above 8 over the trailing 100 points',
  },
  incidentRatio: {
    value: 1.25,
    unit: 'ratio to the median',
    range: RATIO,
    origin: 'on real logs smaller jumps of very quiet losses are nothing that a user would act on',
  },
  recoveryPoints: {
    value: 20,
    unit: 'points',
    range: COUNT,
    origin:
      'this many in a row in the band are a recovery: one point alone may be back by chance; a quarter of them at the end of the log',
  },
  recoveryShare: {
    value: 0.05,
    unit: 'share of the run',
    range: SHARE,
    origin: 'the smaller of the two counts',
  },
  decisionPoints: {
    value: 100,
    unit: 'points',
    range: COUNT,
    origin: 'time that an incident has to come back before it counts as full divergence',
  },
  decisionShare: {
    value: 0.1,
    unit: 'share of the run',
    range: SHARE,
    origin: 'the larger of the two counts',
  },
  fullRatio: {
    value: 2,
    unit: 'ratio to the median before',
    range: RATIO,
    origin: 'level at the end of the decision window above which the run is lost',
  },
  fullRatioAtEnd: {
    value: 10,
    unit: 'ratio to the median before',
    range: RATIO,
    origin: 'level of the last points above which a log that ends inside the decision window is lost',
  },
  fullRatioShort: {
    value: 1.5,
    unit: 'ratio to the median before',
    range: RATIO,
    origin: 'the same in runs of under 100 points, whose points are epochs more often than steps',
  },
  shortOpenShare: {
    value: 0,
    unit: 'share of the run',
    range: SHARE,
    origin:
      'share of such a run that an incident at the end of its last attempt takes before it is a divergence or a drift; 0.25 in watch, where the run goes on',
  },
  driftRatio: {
    value: 1.5,
    unit: 'ratio to the own minimum',
    range: RATIO,
    origin:
      'two public Keras sweeps that diverge by a slow climb end at 1.58 and 2.1; healthy ones stay below 1.2',
  },
  driftScales: {
    value: 8,
    unit: 'scales of the smoothed loss',
    range: POSITIVE,
    origin: 'the minimum and the end of pure noise differ by 4 to 5',
  },
  driftPointScales: {
    value: 20,
    unit: 'scales of the loss',
    range: POSITIVE,
    origin:
      'a best level of one point, in runs of under 100: at 8, 51 of 1,000 clean runs of 55 points with Student tails climbed from one low point; at 20, 2 (bench/detection/short.ts)',
  },
  stepErrors: {
    value: 10,
    unit: 'standard errors',
    range: POSITIVE,
    origin:
      'a level that rose is told from noise by so many: 27 of 6,285 columns of the AlgoPerf leaderboards passed 8, none of 455 healthy ones',
  },
  driftFullRatio: {
    value: 10,
    unit: 'ratio to the own minimum',
    range: RATIO,
    origin: 'a climb that ends this high is a full divergence, as fullRatioAtEnd',
  },
  lostShare: {
    value: 0.9,
    unit: 'share of what was learnt',
    range: POSITIVE,
    origin:
      'a loss with a floor never rises by a quarter: 0.60 to ln 2 = 0.693 loses all (bench/detection); 0.7 is enough where the first level is of few noisy points',
  },
  spikeScales: {
    value: 7.5,
    unit: 'scales',
    range: POSITIVE,
    origin:
      'bench/detection: 6 gave 2.4 false spikes in 100,000 clean points, all of them in noise with Student tails; 7.5 gives 0.5',
  },
  zeros: {
    value: 10,
    unit: 'points',
    range: COUNT,
    origin:
      'with a NaN gradient norm one zero is enough; without a norm ten in a row to the end are asked for',
  },
  abruptShare: {
    value: 0.05,
    unit: 'share of the first level',
    range: SHARE,
    origin: 'a loss that is learnt down to a printed 0.0000 passes through small values before',
  },
  missingPoints: {
    value: 5,
    unit: 'points',
    range: COUNT,
    origin: 'a summary row or a torn last line leaves one or two',
  },
  together: {
    value: 0.9,
    unit: 'share of the steps of either',
    range: SHARE,
    origin:
      'only a column that is logged with the loss tells that the loss is missing: evals have other steps',
  },
  chance: {
    value: 0.02,
    unit: 'AUC',
    range: { min: 0, max: 0.5 },
    origin: 'an AUC over 1,000 pairs of random scores is within 0.02 of 0.5',
  },
  chancePoints: { value: 3, unit: 'points', range: COUNT, origin: 'one bad evaluation is none' },
  rewardPoints: {
    value: 5,
    unit: 'points',
    range: COUNT,
    origin: 'of episodes that succeed nine times in ten, five in a row fail once in 100,000',
  },
  rewardKept: {
    value: 0.5,
    unit: 'share of the level',
    range: SHARE,
    origin: 'half of a reward is what twice the median is of a loss',
  },
  learntPoints: {
    value: 50,
    unit: 'points',
    range: COUNT,
    origin:
      'a tenth of fewer has no error worth the name; 500 in watch, where a rate that warms up from 0, or a slow start, is no end',
  },
  learnt: {
    value: 0.6,
    unit: 'AUC',
    range: { min: 0.5, max: 1 },
    origin: 'a model that never ranked better has not lost anything',
  },
} as const satisfies Readonly<Record<string, Omit<Threshold, 'name'>>>;

/** Numbers by name; the defaults are the values of {@link VERDICT_SETTINGS}. */
export type VerdictSettings = Readonly<Record<keyof typeof VERDICT_SETTINGS, number>>;

export const DEFAULT_VERDICT_SETTINGS: VerdictSettings = Object.fromEntries(
  Object.entries(VERDICT_SETTINGS).map(([name, { value }]) => [name, value]),
) as VerdictSettings;

/** The named settings as thresholds of a finding. */
export const verdictThresholds = <const Names extends readonly (keyof VerdictSettings)[]>(...names: Names) =>
  names.map((name) => ({ name, ...VERDICT_SETTINGS[name] })) as readonly (Threshold & {
    readonly name: Names[number];
  })[];
