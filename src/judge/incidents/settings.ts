/** Every number behind a verdict, with its origin. The paper gives none; these are ours (docs/detection.md). */
import type { Threshold } from '../../model/finding.ts';
import { COUNT, POSITIVE, RATIO, SHARE } from '../../model/options.ts';

export const VERDICT_SETTINGS = {
  minimumPoints: {
    value: 8,
    unit: 'points',
    range: COUNT,
    origin: 'fewer give no median worth the name; a run this short without an incident is inconclusive',
  },
  incidentRatio: {
    value: 1.25,
    unit: 'ratio to the median',
    range: RATIO,
    origin: 'on real logs smaller jumps of very quiet losses are nothing that a user would act on',
  },
  decisionPoints: {
    value: 100,
    unit: 'points',
    range: COUNT,
    origin:
      'time that an incident has to come back before it counts as full divergence: a third of the points before it, at most so many, or a tenth of them where that is more',
  },
  fullRatio: {
    value: 2,
    unit: 'ratio to the best level',
    range: RATIO,
    origin: 'level at the end of the decision window above which the run is lost',
  },
  fullRatioAtEnd: {
    value: 10,
    unit: 'ratio to the best level',
    range: RATIO,
    origin: 'level of the last points above which a log that ends inside the decision window is lost',
  },
  driftRatio: {
    value: 1.4,
    unit: 'ratio to the best level',
    range: RATIO,
    origin:
      'with 1.5, climbs to 1.6 times the level in 60 points are no drift; two public Keras sweeps that diverge by a slow climb end at 1.58 and 2.1; healthy ones stay below 1.2',
  },
  lostShare: {
    value: 0.9,
    unit: 'share of what was learnt',
    range: POSITIVE,
    origin:
      'a loss with a floor never rises by a quarter: 0.60 to ln 2 = 0.693 loses all (bench/detection); 0.7 is enough where the first level is of few noisy points',
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
      'only a column that is logged with the loss shows that the loss is missing: evals have other steps',
  },
  chance: {
    value: 0.02,
    unit: 'AUC',
    range: { min: 0, max: 0.5 },
    origin: 'an AUC over 1,000 pairs of random scores is within 0.02 of 0.5',
  },
  chancePoints: { value: 3, unit: 'points', range: COUNT, origin: 'one bad evaluation proves nothing' },
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
