import stringWidth from 'string-width';
import { expect, test } from 'vitest';
import { cutMiddle, shortNames } from '../../src/report/short-names.ts';

const algoperf = (tuning: string, file = 'measurements.csv'): string =>
  `csv_algoperf/mlcommons/previous_leaderboards/logs/external_tuning/${tuning}/${file}`;

test('a name that fits stays as it is', () => {
  expect(shortNames(['a/b.csv', 'a/c.csv'], 24)).toEqual(['a/b.csv', 'a/c.csv']);
});

test('a long name keeps its beginning and its end', () => {
  expect(shortNames([algoperf('nadamp')], 24)).toEqual(['csv_algoper…urements.csv']);
  expect(cutMiddle('abcdefghij', 5)).toBe('ab…ij');
});

test('names that would read the same are told apart by the folders in which they differ', () => {
  const names = [
    algoperf('baseline/study_0/trial_1'),
    algoperf('shampoo/study_0/trial_3'),
    algoperf('generalized_adam/study_1/trial_1', 'eval_measurements.csv'),
    algoperf('generalized_adam/study_1/trial_1'),
  ];
  expect(shortNames(names, 24)).toEqual([
    'baseline/st…urements.csv',
    'shampoo/stu…urements.csv',
    '…eval_measurements.csv…',
    '…measurements.csv…',
  ]);
  for (const width of [22, 30, 48]) {
    const short = shortNames(names, width);
    expect(new Set(short).size).toBe(names.length);
    for (const text of short) expect(stringWidth(text)).toBeLessThanOrEqual(width);
  }
});

test('a run that stands one folder deeper is told apart too', () => {
  const [one, other] = shortNames([algoperf('a/x'), algoperf('a/deeper/x')], 20);
  expect(one).not.toBe(other);
});

test('two runs of one name stay alike', () => {
  const twice = [algoperf('same'), algoperf('same')];
  expect(new Set(shortNames(twice, 20)).size).toBe(1);
});

test('what all paths have in common goes first', () => {
  const names = ['06-adam-lr0.001', '07-adam-lr0.001', '12-sgd-lr0.01'].map(
    (run) => `sweep/run-${run}/metrics.jsonl`,
  );
  expect(shortNames(names, 20)).toEqual(['run-06-adam-lr0.001', 'run-07-adam-lr0.001', 'run-12-sgd-lr0.01']);
});
