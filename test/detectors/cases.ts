/** For every detector a run on which it fires, and the step that its finding must name. */
import type { DETECTORS, DetectorId } from '../../src/judge/detectors/registry.ts';
import type { Finding } from '../../src/model/finding.ts';
import type { Run } from '../../src/model/run.ts';
import { fallingLoss, makeRun, normals, withGaps } from './runs.ts';

/** Another number for a threshold, at which the findings on the run are other ones than at the default. */
export interface ThresholdCase {
  readonly value: number;
  /** The detector's case where it is left out. */
  readonly run?: Run;
  readonly clipLimits?: readonly number[];
  /** What changes, where it is neither that nor where the detector fires. */
  readonly seen?: (finding: Finding) => unknown;
}

interface Case<Id extends DetectorId> {
  readonly run: Run;
  /** First step of the first finding. */
  readonly step: number;
  /** How far the step may be off, for what begins gradually. */
  readonly within?: number;
  /** One for each threshold that the detector declares. */
  readonly thresholds: Readonly<
    Record<(typeof DETECTORS)[Id]['thresholds'][number]['name'], number | ThresholdCase>
  >;
}

const changed = (values: number[], change: (value: number, i: number) => number): number[] =>
  values.map(change);
const norm = (points: number, seed: number): number[] => {
  const normal = normals(seed);
  return Array.from({ length: points }, () => Math.exp(0.2 * normal()));
};

const ofLoss = (values: readonly number[]): Run => makeRun([{ name: 'loss', values }]);
const ofRate = (rate: (i: number) => number): Run =>
  makeRun([
    { name: 'loss', values: fallingLoss(200) },
    { name: 'learning_rate', values: Array.from({ length: 200 }, (_, i) => rate(i)) },
  ]);
/** Without a gradient norm the zeros themselves must tell. */
const abruptZeros = ofLoss(fallingLoss(300).fill(0, 250));
/** Too little for a climb to count as full divergence: the jump decides. */
/** A loss that begins so high that what comes later loses little of what was learnt. */
const fromHigh = (points: number): number[] => changed(fallingLoss(points), (v, i) => (i < 3 ? 200 * v : v));
const sixfold = ofLoss(changed(fromHigh(500), (v, i) => (i >= 300 ? v * 6 : v)));
/** The same for less than a quarter of the run, and longer than the decision window. */
const sixfoldLate = ofLoss(changed(fromHigh(500), (v, i) => (i >= 385 ? v * 6 : v)));

export const CASES: { readonly [Id in DetectorId]: Case<Id> } = {
  'job-crashed': {
    run: {
      ...ofLoss(fallingLoss(300)),
      job: {
        ended: 'crashed',
        reason: 'out-of-memory',
        at: { line: 301, step: 299, time: null },
        rank: 3,
        message: 'torch.OutOfMemoryError: CUDA out of memory.',
        gaps: [],
        resumes: [],
      },
    },
    step: 299,
    thresholds: {},
  },
  'non-finite-loss': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(300), (v, i) => (i >= 200 ? Number.NaN : v)) },
    ]),
    step: 200,
    thresholds: {},
  },
  'dead-run': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300).fill(0, 250) },
      { name: 'grad_norm', values: norm(300, 2).fill(Number.NaN, 250) },
    ]),
    step: 250,
    thresholds: {
      zeros: { run: abruptZeros, value: 60 },
      abruptShare: { run: abruptZeros, value: 0.9 },
    },
  },
  'full-divergence': {
    run: makeRun([{ name: 'loss', values: changed(fallingLoss(500), (v, i) => (i >= 300 ? v * 20 : v)) }]),
    step: 300,
    thresholds: {
      incidentRatio: { run: sixfold, value: 10 },
      decisionPoints: { run: sixfoldLate, value: 1000 },
      fullRatio: { run: sixfold, value: 10 },
      fullRatioAtEnd: {
        run: ofLoss(changed(fromHigh(500), (v, i) => (i >= 450 ? v * 20 : v))),
        value: 100,
      },
      lostShare: {
        run: ofLoss(
          changed(fallingLoss(600, 1, 0.02), (_, i) => (i < 400 ? 0.6 + 0.09 * Math.exp(-i / 50) : 0.69)),
        ),
        value: 3,
      },
    },
  },
  drift: {
    run: makeRun([
      {
        name: 'loss',
        values: changed(fallingLoss(1000, 1, 0.02), (v, i) => (i < 600 ? v : v * (1 + (i - 600) / 200))),
      },
    ]),
    step: 600,
    within: 45,
    thresholds: {
      driftRatio: 15,
    },
  },
  'micro-divergence': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(500), (v, i) => (i >= 300 && i < 320 ? v * 20 : v)) },
    ]),
    step: 300,
    thresholds: {
      // Less than half of what was learnt, which counts whatever the ratio.
      incidentRatio: {
        run: ofLoss(changed(fallingLoss(500), (v, i) => (i >= 300 && i < 320 ? v * 1.6 : v))),
        value: 2,
      },
      decisionPoints: {
        run: ofLoss(changed(fallingLoss(500), (v, i) => (i >= 300 && i < 370 ? v * 20 : v))),
        value: 10,
      },
    },
  },
  'loss-column-stops': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(74) },
      { name: 'learning_rate', values: norm(100, 3) },
    ]),
    step: 73,
    thresholds: {
      missingPoints: 50,
      together: {
        run: makeRun([
          { name: 'loss', values: fallingLoss(74) },
          {
            name: 'learning_rate',
            values: norm(98, 3),
            steps: Array.from({ length: 100 }, (_, i) => i).filter((i) => i !== 20 && i !== 40),
          },
        ]),
        value: 1,
      },
    },
  },
  'missing-loss': {
    run: withGaps(makeRun([{ name: 'loss', values: fallingLoss(300) }]), 'loss', { 120: 7 }),
    step: 119,
    thresholds: { missingValues: 8 },
  },
  'non-finite-gradient-norm': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300) },
      {
        name: 'grad_norm',
        values: changed(norm(300, 4), (v, i) => (i % 100 === 50 ? Number.POSITIVE_INFINITY : v)),
      },
    ]),
    step: 50,
    thresholds: {},
  },
  'loss-spike': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(800, 5, 0.01), (v, i) => (i === 700 ? v * 1.2 : v)) },
    ]),
    step: 700,
    thresholds: { incidentRatio: 1.1 },
  },
  'gradient-norm-spike': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300) },
      { name: 'grad_norm', values: changed(norm(300, 6), (v, i) => (i === 123 ? v * 40 : v)) },
    ]),
    step: 123,
    thresholds: { scales: 80, ratio: 300 },
  },
  'co-spike': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(300), (v, i) => (i === 210 ? v * 2 : v)) },
      { name: 'grad_norm', values: changed(norm(300, 7), (v, i) => (i === 210 || i === 250 ? v * 20 : v)) },
    ]),
    step: 210,
    thresholds: { scales: 60, ratio: 100 },
  },
  'update-norm-spike': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(300), (v, i) => (i === 210 ? v * 2 : v)) },
      // The later one comes without a loss, and the last at the step of its loss.
      {
        name: 'update_norm',
        role: 'update_norm',
        values: changed(norm(300, 7), (v, i) => (i === 206 || i === 250 ? v * 10 : v)),
      },
    ]),
    step: 206,
    thresholds: { scales: 60, ratio: 100, points: 3 },
  },
  'loss-scale-falls': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(200) },
      { name: 'loss_scale', values: fallingLoss(200).map((_, i) => 65536 / 2 ** Math.max(0, i - 189)) },
    ]),
    step: 190,
    thresholds: { falls: 11 },
  },
  'guard-alarm': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(300), (v, i) => (i >= 211 ? v * 20 : v)) },
      { name: 'risk', values: fallingLoss(300).map((_, i) => (i === 210 || i === 211 ? 0.95 : 0.001)) },
    ]),
    step: 210,
    thresholds: { risk: 0.99 },
  },
  'plateau-after-jump': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(500), (v, i) => (i >= 300 ? 4 + 0.01 * v : v)) },
    ]),
    step: 300,
    thresholds: { points: 200, change: 1e-6 },
  },
  'never-learned': {
    run: makeRun([
      { name: 'loss', values: Array.from({ length: 300 }, (_, i) => Math.LN2 + 0.004 * Math.sin(i * 7.1)) },
      { name: 'learning_rate', values: Array.from({ length: 300 }, () => 0) },
    ]),
    step: 0,
    thresholds: { learntPoints: 301 },
  },
  'nothing-learnt': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300).map((v, i) => (i < 200 ? v : 0.3512)) },
      { name: 'auc', values: Array.from({ length: 30 }, (_, i) => 0.6 + 0.005 * i) },
    ]),
    step: 200,
    thresholds: {
      points: 101,
      aucPoints: {
        run: makeRun([
          { name: 'loss', values: fallingLoss(300) },
          { name: 'auc', values: [0.501, 0.507, 0.493, 0.502, 0.499, 0.5] },
        ]),
        value: 7,
      },
      chance: {
        run: makeRun([
          { name: 'loss', values: fallingLoss(300) },
          { name: 'auc', values: [0.501, 0.507, 0.493, 0.502, 0.499, 0.5] },
        ]),
        value: 0.005,
      },
      fall: {
        run: makeRun([
          {
            name: 'loss',
            values: Array.from({ length: 300 }, normals(3)).map((z, i) => 0.7 - 3e-5 * i + 0.001 * z),
          },
        ]),
        value: 0,
      },
    },
  },
  'metric-collapse': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(100) },
      { name: 'auc', values: Array.from({ length: 20 }, (_, i) => (i < 12 ? 0.7 + 0.005 * i : 0.5)) },
    ]),
    step: 12,
    thresholds: { chance: 0.5, chancePoints: 30, learnt: 1 },
  },
  'reward-collapse': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(60) },
      {
        name: 'rollout/ep_rew_mean',
        role: 'metric',
        values: fallingLoss(60, 7, 0.02).map((x, i) => (i < 40 ? 60 / x : 4 / x)),
      },
    ]),
    step: 40,
    thresholds: { rewardPoints: 30, rewardKept: 0.001 },
  },
  'eval-only-spike': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(500) },
      {
        name: 'val_loss',
        values: changed(fallingLoss(50, 9, 0.02), (v, i) => (i === 31 ? v * 1e6 : v)),
        steps: Array.from({ length: 50 }, (_, i) => 10 * i),
      },
    ]),
    step: 310,
    thresholds: { incidentRatio: 1e6 },
  },
  overfit: {
    run: makeRun([
      { name: 'loss', values: fallingLoss(400, 10, 0.02) },
      {
        name: 'val_loss',
        values: Array.from({ length: 40 }, (_, i) => 1 + Math.abs(i - 20) / 40),
        steps: Array.from({ length: 40 }, (_, i) => 10 * i),
      },
    ]),
    step: 200,
    thresholds: { ratio: 11, points: 80 },
  },
  'learning-rate-anomaly': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(200) },
      {
        name: 'learning_rate',
        values: Array.from({ length: 200 }, (_, i) => (i < 20 ? i / 20 : i < 90 ? 1 : i < 95 ? 0 : 1)),
      },
    ]),
    step: 90,
    thresholds: {
      jump: { run: ofRate((i) => (i < 100 ? 0.1 : 1)), value: 20 },
      zeroShare: { run: ofRate((i) => (i < 180 ? 1 : 0)), value: 0.5 },
    },
  },
  'clipping-saturation': {
    run: {
      ...makeRun([
        { name: 'loss', values: fallingLoss(300) },
        { name: 'grad_norm', values: norm(300, 11) },
      ]),
      hyperparameters: new Map([['trainer.max_grad_norm', 0.5]]),
    },
    step: 50,
    thresholds: {
      limit: 1e6,
      share: 1,
      // Only what is said of a limit that the user named depends on it.
      rarely: { value: 0.001, clipLimits: [1.5], seen: ({ message }) => message.split(': ')[1] },
    },
  },
  'repeated-or-lost-steps': {
    run: makeRun([
      {
        name: 'loss',
        values: [fallingLoss(200), fallingLoss(150, 2)],
        steps: [Array.from({ length: 200 }, (_, i) => i), Array.from({ length: 150 }, (_, i) => 150 + i)],
      },
    ]),
    step: 150,
    thresholds: {
      gap: {
        run: makeRun([
          {
            name: 'loss',
            values: [fallingLoss(200), fallingLoss(150, 2)],
            steps: [Array.from({ length: 200 }, (_, i) => i), Array.from({ length: 150 }, (_, i) => 210 + i)],
          },
        ]),
        value: 20,
      },
    },
  },
  'throughput-drop': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300) },
      { name: 'samples_per_second', values: changed(norm(300, 12), (v, i) => (i >= 200 ? 10 * v : 100 * v)) },
    ]),
    step: 200,
    thresholds: { ratio: 0.01, points: 400 },
  },
  'too-few-points': {
    run: makeRun([{ name: 'loss', values: [3, 2, 1] }]),
    step: 0,
    thresholds: { minimumPoints: 2 },
  },
};
