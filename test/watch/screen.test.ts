import { expect, test } from 'vitest';
import { watchLine, watchScreen } from '../../src/cli/watch-screen.ts';
import { fullReport } from '../reports/full-report.ts';

const options = { width: 80, colour: false, ascii: true };

test('a screen is cleared, has no more rows than the terminal, and shows alerts first', () => {
  const screen = watchScreen(fullReport(), ['alert: one', 'alert: two'], 24, options);
  expect(
    screen.startsWith('\u001b[H\u001b[Jalert: one\nalert: two\n2 runs: 1 full-divergence, 1 healthy\n'),
  ).toBe(true);
  expect(screen).toContain('x DIVERGED at step 250');
  expect(screen).toMatch(/^ +step +1 .*400$/m);
  expect(screen.split('\n').length).toBeLessThanOrEqual(24);
  expect(screen.endsWith('\n')).toBe(true);
});

test('a line without a terminal: no escape sequences, one line a run', () => {
  expect(watchLine(fullReport({ run: 'a\u001b[2Jb', series: 'loss\n' }))).toBe(
    'a\\u{1b}[2Jb  step 400  loss\\u{a} NaN  full-divergence\nruns/b/log.csv  step 200  loss 0.2966  healthy',
  );
});
