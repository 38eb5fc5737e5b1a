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
  'too-few-points': { run: makeRun([{ name: 'loss', values: [3, 2, 1] }]), step: 0 },
};
