import { describe, expect, test } from 'vitest';
import { afterKeys, drawn, type WatchView, watchLine, watchScreen } from '../../src/app/watch/screen.ts';
import { textWidth } from '../../src/report/text-width.ts';
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
  stalls: [],
  lastAlert: { run: first!.id, message: 'drift in loss from step 7', at: 0 },
  scroll: 0,
  keys: true,
};

describe('the screen', () => {
  test('of one run has a line of state, the answer, the last alert and the keys', () => {
    const one = { ...report, runs: [first!] };
    const { lines } = watchScreen({ ...view, report: one }, 24, options);
    expect(lines[0]).toBe('step 400  loss NaN  12.3 steps/s  last record 3 s ago');
    expect(lines[1]).toBe('x DIVERGED at step 250   loss NaN: no recovery');
    expect(lines.at(-2)).toMatch(/^last alert, 63 s ago: drift in loss from step 7$/);
  });

  test('of several has how many are bad, a line for each of these, the last alert and the keys', () => {
    const { lines } = watchScreen(view, 24, options);
    expect(lines).toHaveLength(24);
    expect(lines[0]).toBe('2 runs, 1 bad  last record 3 s ago');
    expect(lines[1]).toMatch(/^x \S+ +DIVERGED at step 250 {2}step 400 {2}loss NaN {2}12\.3 steps\/s/);
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
    const stalls = [{ run: first!.id, stepUnit: 'step', step: 400, since: '12 min' }] as const;
    const one = { ...view, report: { ...report, runs: [first!] }, stalls };
    expect(watchScreen(one, 24, { ...options, width: 20 }).lines[1]).toBe('! STALLED: no ...');
    expect(watchScreen(one, 24, options).lines[1]).toBe(
      '! STALLED: no new record for 12 min; the last is step 400',
    );
    for (const none of [undefined, makeReport([])])
      expect(watchScreen({ ...view, report: none, pace: null, lastAlert: null }, 24, options).lines).toEqual([
        'waiting for records in runs * q quit',
      ]);
  });

  const healthy = (id: string) => ({ ...makeRunReport(healthyRun()), id });
  const many = makeReport([
    ...Array.from({ length: 30 }, (_, i) => healthy(`good-${i}/log.jsonl`)),
    { ...first!, id: 'bad/log.jsonl' },
    ...Array.from({ length: 20 }, (_, i) => healthy(`fine-${i}/log.jsonl`)),
  ]);
  const stalls = [{ run: 'fine-7/log.jsonl', stepUnit: 'step', step: 99, since: '12 min' }] as const;

  test.each([40, 60, 80, 120, 200])(
    'of 51 runs on %d columns: a line for each bad one, the worst first',
    (width) => {
      const pace = { run: 'good-3/log.jsonl', at: 60_000, rate: 1 };
      const { lines } = watchScreen({ ...view, report: many, pace, stalls }, 40, { ...options, width });
      const age = width === 40 ? 'last ...' : 'last record 3 s ago';
      expect(lines[0]).toBe(`51 runs, 1 bad, 1 stalled  ${age}`);
      expect(lines[1]).toMatch(/^x bad.* {2}DIVERGED at/);
      expect(lines[2]).toMatch(/^! fine-7.* {2}STALLED for/);
      expect(lines[3]).not.toMatch(/^[x!]/);
      expect(lines.slice(0, 3).every((line) => line.length <= width)).toBe(true);
      // The chart is that of the first line: the bad run has a step 400, the others end before it.
      expect(lines.join('\n')).toMatch(/^ +step +1 .*400$/m);
    },
  );

  test.each([60, 80, 120, 200])('on %d columns no line is wider, and none ends within a word', (width) => {
    const id = (k: number): string => `sweep/lr-3e-4-warmup-2000-batch-512-seed-${k}/log.jsonl`;
    const message = 'train/loss is not a number from step 401';
    const runs = [1, 2, 3].map((k) => ({ ...first!, id: id(k) }));
    const silent = [{ run: id(2), stepUnit: 'step', step: 99, since: '12 min' }] as const;
    const shown = (ascii: boolean) =>
      watchScreen(
        {
          ...view,
          report: makeReport(runs),
          stalls: silent,
          lastAlert: { run: id(3), message, at: 0 },
        },
        24,
        { ...options, ascii, width },
      ).lines;
    for (const ascii of [true, false]) {
      const lines = shown(ascii);
      expect(lines.filter((line) => textWidth(line) > width)).toEqual([]);
      const names = lines.slice(1, 4).map((line) => line.slice(2).split('  ', 1)[0]!);
      expect(new Set(names).size).toBe(3);
      const whole = { alert: `last alert, 63 s ago: ${message}, ${id(3)}`, stalled: 'STALLED for 12 min' };
      const mark = ascii ? ' ...' : ' …';
      const alert = lines.at(-2)!;
      if (alert.endsWith(mark)) expect(`${whole.alert} `).toContain(`${alert.slice(0, -mark.length)} `);
      else expect(alert).toBe(whole.alert);
      for (const line of lines.slice(1, 4)) expect(line).toMatch(/(?:step 400|NaN|min|steps\/s|…|\.\.\.)$/);
    }
  });

  test.each([60, 80, 120, 200])('of several kinds of bad runs on %d columns looks as it did', (width) => {
    const [, second] = report.runs;
    const spike = { ...second!, id: 'sweep/spike/log.jsonl' };
    const runs = [
      healthy('sweep/good/log.jsonl'),
      spike,
      { ...first!, id: 'sweep/lr-0.1-wd-0.01-seed-3-a-name-that-is-long/log.jsonl' },
      healthy('sweep/fine/log.jsonl'),
      { ...first!, id: 'sweep/wide/log.jsonl' },
    ];
    const silent = [{ run: 'sweep/fine/log.jsonl', stepUnit: 'step', step: 99, since: '12 min' }] as const;
    const { lines } = watchScreen({ ...view, report: makeReport(runs), stalls: silent }, 22, {
      ...options,
      ascii: false,
      width,
    });
    expect(lines.map((line) => line.trimEnd()).join('\n')).toMatchSnapshot();
  });

  test('the run of the newest record stands for runs that are all well', () => {
    const well = makeReport([healthy('a'), healthy('b'), healthy('c')]);
    const { lines } = watchScreen(
      { ...view, report: well, pace: { run: 'b', at: 60_000, rate: 2 } },
      40,
      options,
    );
    expect(lines.slice(0, 2)).toEqual([
      '3 runs, 0 bad  last record 3 s ago',
      expect.stringMatching(/^OK b {2}HEALTHY {2}step \d+ .* 2 steps\/s$/),
    ]);
  });

  test('lines that have no room stand first among what scrolls', () => {
    const bad = Array.from({ length: 30 }, (_, i) => ({ ...first!, id: `run-${i}` }));
    const { lines } = watchScreen({ ...view, report: makeReport(bad), stalls: [] }, 24, options);
    expect(lines.filter((line) => /^x run-\d/.test(line)).length).toBeGreaterThan(5);
    expect(lines).toContain('  and 24 more, below the chart');
  });

  test('a rate that is not known is not shown, nor that of another run', () => {
    expect(watchScreen({ ...view, pace: { ...view.pace!, rate: null } }, 24, options).lines[0]).not.toMatch(
      /steps\/s/,
    );
    expect(watchLine(report, view.pace)).toMatch(/ 12\.3 steps\/s$/);
    expect(watchLine(report, { ...view.pace!, run: 'runs/b/log.csv' })).not.toMatch(/steps\/s/);
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
    '2 runs, 1 bad\na\\u{1b}[2Jb  DIVERGED at step 250  step 400  loss\\u{a} NaN',
  );
});
