/** What long work says of itself, by a clock that the test moves. */
import { expect, it } from 'vitest';
import { progressOn } from '../../src/cli/progress.ts';

it('progress: done, total and the time that is left, on a terminal alone', () => {
  let now = 1000;
  const lines: string[] = [];
  const stream = { isTTY: true, write: (text: string) => lines.push(text) };
  const progress = progressOn(stream, () => now);
  now = 1200;
  progress(1, 50);
  now = 3000;
  progress(10, 50);
  now = 3100;
  progress(11, 50);
  now = 9000;
  progress(40, 50);
  progress(50, 50);
  // 0.2 s for 1 of 50: 10 s left; 2 s for 10 of 50: 8 s left; 100 ms later nothing new; 8 s for 40: 2 s left; the end clears the line.
  expect(lines.map((line) => line.replace('\r\u001b[K', ''))).toEqual([
    'step 1 of 50, 10 s left',
    'step 10 of 50, 8 s left',
    'step 40 of 50, 2 s left',
    '',
  ]);
  const quiet: string[] = [];
  progressOn({ write: (text: string) => quiet.push(text) }, () => now)(1, 2);
  expect(quiet).toEqual([]);
});
