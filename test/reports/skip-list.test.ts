import { expect, it } from 'vitest';
import { untried } from '../../src/experiment/cause/remedies.ts';
import type { Report } from '../../src/model/report.ts';
import { skipListOf } from '../../src/report/skip-list.ts';
import { fullReport } from './full-report.ts';

const withTry = (holds: boolean, batchIds?: (number | string)[]): Report => {
  const report = fullReport();
  const [run] = report.runs;
  const arm = { kind: 'skip-batches', steps: [7, 8], ...(batchIds === undefined ? {} : { batchIds }) };
  return {
    ...report,
    runs: [
      {
        ...run!,
        remedies: [untried('skip-batches', 's', { tried: 'closed-loop', holds, skipSteps: [7, 8] })],
        replay: [{ ...run!.replay[0]!, arm }],
      },
    ],
  };
};

it('holds the steps of the try that holds, with their ids where each has one', () => {
  expect(skipListOf(withTry(true, ['a', 2]))).toEqual({ version: 1, steps: [7, 8], batchIds: ['a', 2] });
  expect(skipListOf(withTry(true))).toEqual({ version: 1, steps: [7, 8], batchIds: null });
});

it('is empty where leaving them out does not hold, was not tried, or no run was judged', () => {
  const nothing = { version: 1, steps: [], batchIds: null };
  expect(skipListOf(withTry(false, ['a', 2]))).toEqual(nothing);
  expect(skipListOf(fullReport())).toEqual(nothing);
  expect(skipListOf({ ...fullReport(), runs: [] })).toEqual(nothing);
});
