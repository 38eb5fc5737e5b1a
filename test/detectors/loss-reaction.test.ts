import { expect, test } from 'vitest';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Run } from '../../src/model/run.ts';
import { fallingLoss, makeRun } from './runs.ts';

const POINTS = 400;
/** A series of ones with 40 at some points, beside a loss that is three times as high at some. */
const runWith = (name: string, odd: readonly number[], high: readonly number[]): Run =>
  makeRun([
    { name: 'loss', values: fallingLoss(POINTS).map((loss, i) => (high.includes(i) ? 3 * loss : loss)) },
    { name, values: Array.from({ length: POINTS }, (_, i) => (odd.includes(i) ? 40 : 1 + (i % 7) / 100)) },
  ]);
const messagesOf = (id: 'gradient-norm-spike' | 'learning-rate-anomaly', run: Run): string[] => {
  const detector: Detector = DETECTORS[id];
  const outcome = detector.detect(run, contextFor(detector, judgeRun(run)));
  return outcome.kind === 'fail' ? outcome.findings.map(({ message }) => message) : [];
};
const from = (first: number, points: number): number[] => Array.from({ length: points }, (_, i) => first + i);

test.each([
  ['one point, and a loss that is as before', [212], [], 'at step 212; the loss stayed in its usual range'],
  [
    'points in a row',
    [212, 213, 214],
    [],
    'for 3 points, steps 212 to 214; the loss stayed in its usual range',
  ],
  ['a loss that rises at once', [212], [212], 'at step 212; the loss rose at step 212'],
  ['one that rises eight points later', [212, 213], [221], '212 to 213; the loss rose at step 221'],
  ['one that rises nine points later', [212, 213], [222], '212 to 213; the loss stayed in its usual range'],
  ['one that rose before', [212], [209], 'at step 212; the loss stayed in its usual range'],
  ['one that is high since before', [212], from(205, 60), 'the loss was high already, since step 205'],
])('a gradient norm that spikes is told with its length and the loss: %s', (_, odd, high, told) => {
  const [message] = messagesOf('gradient-norm-spike', runWith('grad_norm', odd, high));
  expect(message).toContain(`${told}.`);
  expect(message).toMatch(/^"grad_norm" is (up to )?3[89]\.\d times its usual 1\.0\d /);
});

test('spikes apart are findings of their own', () => {
  expect(messagesOf('gradient-norm-spike', runWith('grad_norm', [212, 214], []))).toHaveLength(2);
});

test.each([
  ['a rate that stays', from(212, POINTS), [], 'at step 212 and stays high to the end; the loss stayed'],
  [
    'one that comes back',
    from(212, 25),
    [],
    'at step 212 and stays high for 25 points; the loss stayed in its usual range',
  ],
  ['one under which the loss rises', [212], [215], 'for 1 point; the loss rose at step 215'],
  // Nobody knows what is usual after five points.
  ['one that rises early', from(5, 10), [], 'at step 5 and stays high for 10 points.'],
])('a learning rate that jumps is told with its length and the loss: %s', (_, odd, high, told) => {
  const [message] = messagesOf('learning-rate-anomaly', runWith('learning_rate', odd, high));
  expect(message).toContain(told);
});

test('of a loss that is not logged nothing is said', () => {
  const [norm] = runWith('grad_norm', [212], []).series.filter(({ name }) => name === 'grad_norm');
  const run = makeRun([{ name: 'grad_norm', values: Array.from(norm!.value) }]);
  expect(messagesOf('gradient-norm-spike', run)[0]).toMatch(/ at step 212\.$/);
});
