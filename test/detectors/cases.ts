/** For every detector a run on which it fires, and the step that its finding must name. */
import type { DetectorId } from '../../src/detectors/registry.ts';
import type { Run } from '../../src/model/run.ts';
import { fallingLoss, makeRun, normals } from './runs.ts';

interface Case {
  readonly run: Run;
  /** First step of the first finding. */
  readonly step: number;
  /** How far the step may be off, for what begins gradually. */
  readonly within?: number;
}

const changed = (values: number[], change: (value: number, i: number) => number): number[] =>
  values.map(change);
const norm = (points: number, seed: number): number[] => {
  const normal = normals(seed);
  return Array.from({ length: points }, () => Math.exp(0.2 * normal()));
};

export const CASES: Record<DetectorId, Case> = {
  'non-finite-loss': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(300), (v, i) => (i >= 200 ? Number.NaN : v)) },
    ]),
    step: 200,
  },
  'dead-run': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300).fill(0, 250) },
      { name: 'grad_norm', values: norm(300, 2).fill(Number.NaN, 250) },
    ]),
    step: 250,
  },
  'full-divergence': {
    run: makeRun([{ name: 'loss', values: changed(fallingLoss(500), (v, i) => (i >= 300 ? v * 20 : v)) }]),
    step: 300,
  },
  drift: {
    run: makeRun([
      {
        name: 'loss',
        values: changed(fallingLoss(1000, 1, 0.02), (v, i) => (i < 600 ? v : v * (1 + (i - 600) / 200))),
      },
    ]),
    step: 600,
    within: 30,
  },
  'micro-divergence': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(500), (v, i) => (i >= 300 && i < 320 ? v * 20 : v)) },
    ]),
    step: 300,
  },
  'loss-column-stops': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(74) },
      { name: 'learning_rate', values: norm(100, 3) },
    ]),
    step: 73,
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
  },
  'loss-spike': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(800, 5, 0.01), (v, i) => (i === 700 ? v * 1.2 : v)) },
    ]),
    step: 700,
  },
  'gradient-norm-spike': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300) },
      { name: 'grad_norm', values: changed(norm(300, 6), (v, i) => (i === 123 ? v * 40 : v)) },
    ]),
    step: 123,
  },
  'co-spike': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(300), (v, i) => (i === 210 ? v * 2 : v)) },
      { name: 'grad_norm', values: changed(norm(300, 7), (v, i) => (i === 210 || i === 250 ? v * 20 : v)) },
    ]),
    step: 210,
  },
  'slow-growth': {
    run: makeRun([
      {
        name: 'loss',
        // Doubles over 700 points and comes back: no jump, and no drift at the end.
        values: changed(fallingLoss(3000, 8, 0.03), (v, i) =>
          i < 1500 ? v : v * (1 + Math.max(0, 1 - Math.abs(i - 2200) / 700)),
        ),
      },
    ]),
    step: 1500,
    within: 250,
  },
  'plateau-after-jump': {
    run: makeRun([
      { name: 'loss', values: changed(fallingLoss(500), (v, i) => (i >= 300 ? 4 + 0.01 * v : v)) },
    ]),
    step: 300,
  },
  'metric-collapse': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(100) },
      { name: 'auc', values: Array.from({ length: 20 }, (_, i) => (i < 12 ? 0.7 + 0.005 * i : 0.5)) },
    ]),
    step: 12,
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
  },
  'throughput-drop': {
    run: makeRun([
      { name: 'loss', values: fallingLoss(300) },
      { name: 'samples_per_second', values: changed(norm(300, 12), (v, i) => (i >= 200 ? 10 * v : 100 * v)) },
    ]),
    step: 200,
  },
  'too-few-points': { run: makeRun([{ name: 'loss', values: [3, 2, 1] }]), step: 0 },
};
