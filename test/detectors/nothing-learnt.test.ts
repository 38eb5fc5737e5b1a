import { describe, expect, it } from 'vitest';
import { nothingLearnt } from '../../src/judge/detectors/nothing-learnt.ts';
import { fallingLoss, findingsOf, makeRun, normals, type SeriesSpec } from './runs.ts';

const told = (...series: SeriesSpec[]): string[] =>
  findingsOf(nothingLearnt, makeRun(series)).map(({ message }) => message);
const learns: SeriesSpec = { name: 'loss', values: fallingLoss(300) };
const chance = Array.from({ length: 12 }, normals(2)).map((z) => 0.5 + 0.004 * z);
const guess = Array.from({ length: 12 }, normals(4)).map((z) => 0.1 + 0.003 * z);
const flat = Array.from({ length: 300 }, normals(3)).map((z) => Math.LN2 + 0.004 * z);
const repeat = (count: number, value: number): number[] => Array.from({ length: count }, () => value);

describe('what stands still is told, though no loss rises', () => {
  it.each<[string, SeriesSpec[], RegExp]>([
    [
      'an AUC that never leaves chance beside a loss that falls',
      [learns, { name: 'auc', values: chance }],
      /^"auc" is at chance from its first point, at step 0, to its last, at step 11 .*nothing that ranks/,
    ],
    [
      'an accuracy of ten classes that never leaves chance',
      [learns, { name: 'val_acc', role: 'metric', values: guess }],
      /^"val_acc" is 0\.\d+ from its first point, at step 0, to its last, at step 11: chance for 10 classes\.$/,
    ],
    [
      'an accuracy in per cent that never leaves chance',
      [learns, { name: 'Test Accuracy', role: 'metric', values: guess.map((x) => 100 * x) }],
      /^"Test Accuracy" is (?:10|9)\.?\d* .*: chance for 10 classes\.$/,
    ],
    [
      'a gradient norm of exactly 0',
      [learns, { name: 'grad_norm', values: [...repeat(200, 1.1), ...repeat(100, 0)] }],
      /^"grad_norm" is exactly 0 from step 200 to the end \(100 points\): no gradient/,
    ],
    [
      'a loss that repeats one number',
      [{ name: 'loss', values: [...fallingLoss(200), ...repeat(100, 0.3512)] }],
      /^"loss" is exactly 0\.3512 from step 200 to the end \(100 points\): the weights do not change/,
    ],
    [
      'a loss that ends where it began',
      [{ name: 'loss', values: flat }],
      /^"loss" does not fall: 0\.69\d+ at first, 0\.69\d+ at the end\. Unless/,
    ],
  ])('%s', (_, series, message) => {
    const [first, ...more] = told(...series);
    expect(first).toMatch(message);
    expect(more).toEqual([]);
  });
});

describe('says nothing of', () => {
  it.each<[string, SeriesSpec[]]>([
    [
      'a run that learns',
      [
        learns,
        { name: 'auc', values: chance.map((x, i) => x + 0.02 * i) },
        { name: 'grad_norm', values: repeat(300, 0.5) },
      ],
    ],
    [
      'an accuracy that begins at chance and learns',
      [learns, { name: 'val_acc', role: 'metric', values: guess.map((x, i) => x + 0.05 * i) }],
    ],
    [
      'an accuracy near no share of classes',
      [learns, { name: 'val_acc', role: 'metric', values: guess.map((x) => 0.83 + x) }],
    ],
    [
      'an accuracy of one benchmark, which may be at chance for long',
      [learns, { name: 'mmlu_acc', role: 'metric', values: guess.map((x) => 0.15 + x) }],
    ],
    [
      'an accuracy that hardly ever moves, as that of the class that is always said',
      [learns, { name: 'val_acc', role: 'metric', values: [0.11, ...repeat(11, 0.1)] }],
    ],
    [
      'an accuracy of nine evaluations',
      [learns, { name: 'val_acc', role: 'metric', values: guess.slice(3) }],
    ],
    ['an AUC of two evaluations', [learns, { name: 'auc', values: chance.slice(0, 2) }]],
    ['an AUC with a hole', [learns, { name: 'auc', values: [...chance, Number.NaN] }]],
    [
      'a printed loss that repeats some times',
      [{ name: 'loss', values: [...fallingLoss(270), ...repeat(30, 0.35)] }],
    ],
    [
      'a loss that goes on from trained weights',
      [{ name: 'loss', values: flat, steps: flat.map((_, i) => 5000 + i) }],
    ],
    [
      'a loss beside rewards',
      [
        { name: 'loss', values: flat },
        { name: 'ep_rew_mean', role: 'metric', values: flat.map((_, i) => i) },
      ],
    ],
    [
      'zeros of a loss, which are for dead-run',
      [{ name: 'loss', values: [...fallingLoss(200), ...repeat(100, 0)] }],
    ],
    ['nothing', [{ name: 'loss', values: [] }]],
  ])('%s', (_, series) => {
    expect(told(...series)).toEqual([]);
  });
});
