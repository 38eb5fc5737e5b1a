import { describe, expect, test } from 'vitest';
import { afterKeys, drawn, type WatchView, watchLine, watchScreen } from '../../src/app/cli/watch-screen.ts';
import { fullReport } from '../reports/full-report.ts';
import { healthyRun, makeReport, makeRunReport } from '../support/make-report.ts';

const options = { width: 80, colour: false, ascii: true };
const report = fullReport();
const [first] = report.runs;
const view: WatchView = {
  path: 'runs',
  report,
  pace: { run: first!.id, at: 60_000, rate: 12.34 },
  now: 63_999,
  stalled: null,
  lastAlert: { run: first!.id, message: 'drift in loss from step 7', at: 0 },
  scroll: 0,
  keys: true,
};

describe('the screen', () => {
  test('has a line of state, the answer, the last alert and the keys', () => {
    const { lines } = watchScreen(view, 24, options);
    expect(lines).toHaveLength(24);
    expect(lines[0]).toBe('step 400  loss NaN  12.3 steps/s  last record 3 s ago');
    expect(lines[1]).toContain('x DIVERGED at step 250');
    expect(lines.at(-2)).toMatch(/^last alert, 63 s ago: drift in loss from step 7, /);
    expect(lines.at(-1)).toMatch(/^q quit .* lines 1 to \d+ of \d+$/);
  });

  test.each([
    [40, 10],
    [60, 12],
    [80, 24],
    [120, 40],
    [200, 60],
  ])('on %d columns and %d rows it fits, with its chart, wherever it is scrolled', (width, rows) => {
    for (const scroll of [0, 7, 1e6]) {
      const { lines } = watchScreen({ ...view, scroll }, rows, { ...options, width });
      expect(lines).toHaveLength(rows);
      expect(lines.join('\n')).toMatch(/^ +step +1 .*400$/m);
    }
  });

  test('has a taller chart on more rows', () => {
    const chartRows = (rows: number): number =>
      watchScreen(view, rows, options).lines.filter((line) => /^.{9,} [|+]/.test(line)).length;
    expect(chartRows(24)).toBeGreaterThan(chartRows(12));
    expect(chartRows(40)).toBeGreaterThan(chartRows(24));
  });

  test('scrolls through all else, to its end and no further', () => {
    const { scrollMost, page } = watchScreen(view, 24, options);
    const details = new Set<string>();
    // The last page need not be a whole one after the one before.
    for (let scroll = 0; scroll < scrollMost + page; scroll += page)
      for (const line of watchScreen({ ...view, scroll }, 24, options).lines) details.add(line);
    expect([...details].some((line) => line.includes('runs/b/log.csv'))).toBe(true);
    expect(watchScreen({ ...view, scroll: scrollMost + 9 }, 24, options)).toEqual(
      watchScreen({ ...view, scroll: scrollMost }, 24, options),
    );
  });

  test('says that records stopped coming, and that there are none yet', () => {
    const narrow = watchScreen({ ...view, stalled: 'STALLED: no new record for 12 min' }, 24, {
      ...options,
      width: 20,
    });
    expect(narrow.lines[1]).toBe('! STALLED: no new re');
    expect(watchScreen({ ...view, stalled: 'STALLED: no new record for 12 min' }, 24, options).lines[1]).toBe(
      '! STALLED: no new record for 12 min',
    );
    for (const none of [undefined, makeReport([])])
      expect(watchScreen({ ...view, report: none, pace: null, lastAlert: null }, 24, options).lines).toEqual([
        'waiting for records in runs * q quit',
      ]);
  });

  test('a rate that is not known is not shown, nor that of another run', () => {
    expect(watchScreen({ ...view, pace: { ...view.pace!, rate: null } }, 24, options).lines[0]).not.toMatch(
      /steps\/s/,
    );
    expect(watchLine(report, view.pace)).toMatch(/ 12\.3 steps\/s .*\n((?!steps\/s).)*$/);
  });

  test('names of the log steer no terminal', () => {
    const hostile = fullReport({ run: 'a\u001b[2Jb', series: 'loss\n' });
    const { lines } = watchScreen(
      { ...view, report: hostile, lastAlert: { ...view.lastAlert!, message: 'in \u001b[2J\n' } },
      24,
      options,
    );
    expect(lines).toHaveLength(24);
    expect(lines.join('')).not.toMatch(/[\u001b\n]/);
    expect(drawn(['a', 'b'])).toBe('\u001b[?7l\u001b[H\u001b[Ja\r\nb\u001b[?7h');
  });
});

describe('keys', () => {
  const screen = { scrollMost: 100, page: 10 };
  test.each([
    ['\u001b[B', 51],
    ['\u001bOA', 49],
    ['j', 51],
    ['k', 49],
    ['\u001b[6~', 60],
    [' ', 60],
    ['\u001b[5~', 40],
    ['b', 40],
    ['\u001b[H', 0],
    ['\u001b[1~', 0],
    ['g', 0],
    ['\u001b[F', 100],
    ['G', 100],
    // Several at once, keys without a meaning, and the end of a screen.
    ['\u001b[B\u001b[B\u001b[6~', 62],
    ['\u001b[24~x\u001b[1;5Cj', 51],
    ['G\u001b[B', 100],
    ['', 50],
  ])('%j scrolls from 50 to %d', (typed, scroll) =>
    expect(afterKeys(typed, 50, screen)).toEqual({ scroll, quit: false }),
  );

  test.each(['q', 'Q', 'jq', 'q\u001b[B'])('%j ends it', (typed) =>
    expect(afterKeys(typed, 50, screen).quit).toBe(true),
  );
});

test('a line without a terminal: no escape sequences, one line a run, the rate of the newest', () => {
  const run = makeRunReport(healthyRun());
  expect(watchLine(makeReport([run]), { run: run.id, at: 0, rate: 0.01 })).toContain('  36 steps/h  ');
  expect(watchLine(fullReport({ run: 'a\u001b[2Jb', series: 'loss\n' }), null)).toBe(
    'a\\u{1b}[2Jb  step 400  loss\\u{a} NaN  DIVERGED at step 250\nruns/b/log.csv  step 200  loss 0.2966  HEALTHY',
  );
});
