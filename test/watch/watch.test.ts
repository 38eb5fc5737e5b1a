import { spawn } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Io } from '../../src/app/cli/io.ts';
import { analyze } from '../../src/app/engine/analyze.ts';
import { type Watcher, watchLog, watchPath } from '../../src/app/engine/watch.ts';
import {
  ALERT_CLASSES,
  type AlertState,
  NO_ALERTS,
  updateAlerts,
} from '../../src/app/engine/watch-alerts.ts';
import { EXIT, type ExitCode } from '../../src/model/errors.ts';
import type { Report, RunReport } from '../../src/model/report.ts';
import { followFile } from '../../src/read/bytes/tail.ts';
import { cli } from '../support/cli.ts';
import { healthyRun, makeRunReport } from '../support/make-report.ts';
import { projectRoot } from '../support/shared-data.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'clippy-diag-watch-'));
});
afterAll(() => rmSync(root, { recursive: true }));
let files = 0;
const fresh = (): string => join(root, `${files++}.jsonl`);

const options = { toolVersion: '0.1.0', now: () => new Date('2026-01-02T03:04:05Z') };
/** Records with steps of their own, so that one that is read twice or never shows. */
const records = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, i) => `{"step":${from + i},"loss":${1 + 1 / (from + i + 1)}}\n`).join(
    '',
  );

/** Points of the loss in everything that was seen; steps 0…n−1 exactly once are n points that end at n−1. */
function seen(report: Report | undefined): { points: number; last: number } {
  const loss = report!.runs[0]!.series.find(({ name }) => name === 'loss')!;
  return { points: loss.points, last: loss.statistics.lastStep };
}

const step = async (watcher: Watcher, points: number): Promise<void> => {
  expect(seen(await watcher.look())).toEqual({ points, last: points - 1 });
  expect(await watcher.look()).toBeUndefined();
};

describe('each record exactly once', () => {
  test('through appends of any size, also in the middle of a record', async () => {
    const path = fresh();
    const text = records(0, 200);
    const watcher = watchLog(path, options);
    let written = 0;
    let report: Report | undefined;
    for (let size = 1; written < text.length; size = (size * 7) % 331) {
      appendFileSync(path, text.slice(written, written + size));
      written += size;
      report = (await watcher.look()) ?? report;
      const whole = text.slice(0, written).split('\n').length - 1;
      // A record without its line end may be whole already; before the first one the format is a guess.
      if (report !== undefined && whole > 0) expect([whole, whole + 1]).toContain(seen(report).points);
    }
    expect(seen(report)).toEqual({ points: 200, last: 199 });
    await watcher.close();
  });

  test('when it appears late, and while it is empty', async () => {
    const path = fresh();
    const watcher = watchLog(path, options);
    expect(await watcher.look()).toBeUndefined();
    writeFileSync(path, '');
    expect(await watcher.look()).toBeUndefined();
    writeFileSync(path, records(0, 30));
    await step(watcher, 30);
    await watcher.close();
  });

  test('through rotation, with what was written after the last look and after the move', async () => {
    const path = fresh();
    const watcher = watchLog(path, options);
    writeFileSync(path, records(0, 50));
    await step(watcher, 50);
    appendFileSync(path, records(50, 60));
    renameSync(path, `${path}.1`);
    expect(seen(await watcher.look())).toEqual({ points: 60, last: 59 });
    appendFileSync(`${path}.1`, records(60, 65));
    writeFileSync(path, records(65, 80));
    await step(watcher, 80);
    renameSync(`${path}.1`, `${path}.2`);
    renameSync(path, `${path}.1`);
    writeFileSync(path, records(80, 100));
    await step(watcher, 100);
    await watcher.close();
  });

  test('through copy-truncate, also when the new content is longer at the next look', async () => {
    const path = fresh();
    const watcher = watchLog(path, options);
    writeFileSync(path, records(0, 50));
    await step(watcher, 50);
    copyFileSync(path, `${path}.1`);
    truncateSync(path, 0);
    await watcher.look();
    appendFileSync(path, records(50, 60));
    await step(watcher, 60);
    truncateSync(path, 0);
    appendFileSync(path, records(60, 200));
    await step(watcher, 200);
    await watcher.close();
  });

  test('through replacement by a longer copy of itself (rsync), and by another file', async () => {
    const path = fresh();
    const watcher = watchLog(path, options);
    writeFileSync(path, records(0, 50));
    await step(watcher, 50);
    writeFileSync(`${path}.tmp`, records(0, 70));
    renameSync(`${path}.tmp`, path);
    await step(watcher, 70);
    unlinkSync(path);
    expect(await watcher.look()).toBeUndefined();
    writeFileSync(path, records(70, 90));
    await step(watcher, 90);
    await watcher.close();
  });

  test('a document that is written anew replaces the one before', async () => {
    const path = join(root, 'trainer_state.json');
    const state = (n: number): string =>
      JSON.stringify({
        log_history: Array.from({ length: n }, (_, i) => ({
          step: i + 1,
          epoch: i / 10,
          loss: 1 + 1 / (i + 1),
        })),
        global_step: n,
      });
    const watcher = watchLog(path, options);
    for (const n of [10, 20, 30]) {
      writeFileSync(`${path}.tmp`, state(n));
      renameSync(`${path}.tmp`, path);
      expect(seen(await watcher.look())).toEqual({ points: n, last: n });
    }
    writeFileSync(path, state(40));
    expect(seen(await watcher.look())).toEqual({ points: 40, last: 40 });
    expect(await watcher.finish()).toEqual(await analyze([path], options));
    await watcher.close();
  });

  test('bytes of a file that was moved away stay readable', async () => {
    const path = fresh();
    const follower = followFile(path);
    writeFileSync(path, 'abc');
    expect(await follower.poll()).toBe(true);
    renameSync(path, `${path}.1`);
    unlinkSync(`${path}.1`);
    expect(await follower.poll()).toBe(false);
    expect(follower.missing).toBe(true);
    let text = '';
    for await (const chunk of follower.generations[0]!.read()) text += chunk.toString();
    expect(text).toBe('abc');
    await follower.close();
  });
});

test('watching to the end says what analyze says', async () => {
  for (const name of [
    'healthy/input.jsonl',
    'full-divergence-csv/input.csv',
    'nan-overflow-tb2/input.tfevents',
  ]) {
    const bytes = readFileSync(join(projectRoot, 'fixtures/logs', name));
    const path = join(root, `end-${files++}.${name.split('.').pop()}`);
    const watcher = watchLog(path, options);
    for (let k = 1; k <= 5; k++) {
      writeFileSync(path, bytes.subarray(0, Math.floor((bytes.length * k) / 5)));
      await watcher.look();
    }
    expect(await watcher.finish()).toEqual(await analyze([path], options));
    await watcher.close();
  }
});

describe('a folder', () => {
  const folder = (): string => mkdtempSync(join(root, 'runs-'));
  /** A look judges the logs; checkpoints and replays are left to the end, and whether a run learnt to 500 points. */
  const judged = (report: Report | undefined): unknown =>
    report!.runs.map(({ id, paths, verdict, findings, series }) => ({
      id,
      paths,
      verdict: { ...verdict, provenBy: { ...verdict.provenBy, whole: null, learnt: null } },
      findings,
      series,
    }));
  const analyzed = (path: string): Promise<Report> => analyze([path], options);

  test('says what analyze says, also of files that appear and grow', async () => {
    const path = folder();
    const watcher = watchPath(path, options);
    expect(await watcher.look()).toBeUndefined();
    mkdirSync(join(path, 'a'));
    writeFileSync(join(path, 'a/log.jsonl'), records(0, 30));
    expect(seen(await watcher.look())).toEqual({ points: 30, last: 29 });
    expect(await watcher.look()).toBeUndefined();
    appendFileSync(join(path, 'a/log.jsonl'), records(30, 50));
    expect(seen(await watcher.look())).toEqual({ points: 50, last: 49 });
    mkdirSync(join(path, 'b'));
    writeFileSync(join(path, 'b/log.jsonl'), records(0, 40));
    const both = await watcher.look();
    expect(judged(both)).toEqual(judged(await analyzed(path)));
    expect(both!.runs).toHaveLength(2);
    rmSync(join(path, 'b'), { recursive: true });
    expect((await watcher.look())!.runs).toHaveLength(1);
    expect(await watcher.finish()).toEqual(await analyzed(path));
    await watcher.close();
  });

  test('reads the files alone that are not as they were', async () => {
    const path = folder();
    const watcher = watchPath(path, options);
    for (const name of ['a', 'b']) {
      mkdirSync(join(path, name));
      writeFileSync(join(path, name, 'log.jsonl'), records(0, 40));
      writeFileSync(join(path, name, 'notes.txt'), 'nothing of a training\n');
    }
    copyFileSync(
      join(projectRoot, 'fixtures/checkpoints/safetensors/model-step-1200.safetensors'),
      join(path, 'b/model.safetensors'),
    );
    const other = join(path, 'b/log.jsonl');
    utimesSync(other, 1.7e9, 1.7e9);
    const first = await watcher.look();
    expect(first!.runs).toHaveLength(2);
    // Of the same size and time: only who opens it sees that it is another.
    writeFileSync(other, records(0, 40).replaceAll('0', '1'));
    utimesSync(other, 1.7e9, 1.7e9);
    appendFileSync(join(path, 'a/log.jsonl'), records(40, 60));
    const second = await watcher.look();
    expect(second!.runs.map(({ series }) => series[0]!.points)).toEqual([60, 40]);
    expect(second!.runs[1]!.series).toEqual(first!.runs[1]!.series);
    expect(second!.skipped).toEqual(first!.skipped);
    // With another time it is read.
    utimesSync(other, 1.7e9, 1.7e9 + 5);
    const third = await watcher.look();
    expect(third!.runs[1]!.series).not.toEqual(first!.runs[1]!.series);
    const whole = await analyzed(path);
    expect(judged(third)).toEqual(judged(whole));
    // The checkpoint beside the log was not opened in a look, and the look does not claim that it was.
    const proofs = [third, whole].map((report) => report!.runs[1]!.verdict.provenBy!.whole);
    expect(proofs).toEqual([
      { holds: null, statement: 'no checkpoint and no capture was checked' },
      { holds: true, statement: '1 check of checkpoints and captures found no error' },
    ]);
    await watcher.close();
  });

  test('that TensorBoard writes: events of a restart go on in another file', async () => {
    const path = folder();
    const bytes = readFileSync(join(projectRoot, 'fixtures/logs/full-divergence-tb/input.tfevents'));
    const watcher = watchPath(path, options);
    const name = (second: number): string => join(path, `events.out.tfevents.17000000${second}.host`);
    writeFileSync(name(10), bytes.subarray(0, bytes.length / 2));
    const half = seen(await watcher.look()).points;
    expect(half).toBeGreaterThan(100);
    copyFileSync(join(projectRoot, 'fixtures/logs/full-divergence-tb/input.tfevents'), name(20));
    const report = await watcher.look();
    expect(judged(report)).toEqual(judged(await analyzed(path)));
    expect(seen(report).points).toBeGreaterThan(half);
    await watcher.close();
  });

  test('may appear later, as may a file', async () => {
    const path = join(folder(), 'late');
    const watcher = watchPath(path, options);
    expect(await watcher.look()).toBeUndefined();
    mkdirSync(path);
    writeFileSync(join(path, 'log.jsonl'), records(0, 30));
    expect(seen(await watcher.look())).toEqual({ points: 30, last: 29 });
    await watcher.close();
    const file = fresh();
    const other = watchPath(file, options);
    expect(await other.look()).toBeUndefined();
    writeFileSync(file, records(0, 30));
    await step(other, 30);
    await other.close();
  });
});

describe('alerts', () => {
  type Incident = RunReport['verdict']['incidents'][number];
  const incident = (change: Partial<Incident> = {}): Incident => ({
    class: 'micro-divergence',
    series: 'loss',
    attempt: 0,
    onsetStep: 40,
    lastGoodStep: 39,
    recoveredStep: 50,
    peakStep: 42,
    peak: 9,
    ...change,
  });
  const runOf = (...incidents: Incident[]): RunReport => {
    const run = makeRunReport(healthyRun());
    return { ...run, verdict: { ...run.verdict, incidents } };
  };
  const settings = { classes: ALERT_CLASSES, delayMs: 0, clearMs: 10_000 };
  const play = (
    looks: readonly (readonly [number, RunReport])[],
    change: Partial<typeof settings> = {},
    start: AlertState = NO_ALERTS,
  ): number[] => {
    let state = start;
    return looks.map(([at, run]) => {
      const result = updateAlerts(state, [run], { ...settings, ...change }, at);
      // What a restart would read.
      state = JSON.parse(JSON.stringify(result.state)) as AlertState;
      return result.raised.length;
    });
  };

  test('one alert an incident, also when its steps move, and one more for another', () => {
    expect(
      play([
        [0, runOf()],
        [1, runOf(incident())],
        [2, runOf(incident({ onsetStep: 38, recoveredStep: 52 }))],
        [3, runOf(incident(), incident({ onsetStep: 70, recoveredStep: 80 }))],
        [4, runOf(incident({ series: 'val' }), incident({ onsetStep: 70, recoveredStep: 80 }))],
      ]),
    ).toEqual([0, 1, 0, 1, 1]);
  });

  test('an open incident that becomes a divergence is told as such', () => {
    expect(
      play([
        [0, runOf(incident({ class: 'inconclusive', recoveredStep: null }))],
        [1, runOf(incident({ class: 'inconclusive', recoveredStep: null }))],
        [2, runOf(incident({ class: 'full-divergence', recoveredStep: null }))],
      ]),
    ).toEqual([1, 0, 1]);
    expect(
      updateAlerts(NO_ALERTS, [runOf(incident())], { ...settings, classes: ['non-finite'] }, 0).raised,
    ).toEqual([]);
  });

  test.each([
    ['inconclusive', null, 'loss is high since step 400, too soon to tell whether it stays'],
    ['micro-divergence', 412, 'loss rose at step 400, back at 412'],
    ['drift', null, 'loss went up from step 400'],
    ['full-divergence', null, 'loss diverged at step 400'],
    ['full-divergence', 480, 'loss diverged at step 400, back at 480: too late'],
    ['non-finite', null, 'loss is not a number from step 400'],
  ] as const)('%s, back at %s, is told in words', (name, recoveredStep, message) => {
    const run = runOf(incident({ class: name, onsetStep: 400, recoveredStep }));
    const { raised } = updateAlerts(NO_ALERTS, [run], settings, 0);
    expect(raised.map((alert) => [alert.class, alert.message])).toEqual([[name, message]]);
  });

  test('delay: what does not hold long enough is not told', () => {
    const delayMs = 5000;
    expect(
      play(
        [
          [0, runOf(incident())],
          [4999, runOf(incident())],
          [5000, runOf(incident())],
        ],
        { delayMs },
      ),
    ).toEqual([0, 0, 1]);
    expect(
      play(
        [
          [0, runOf(incident())],
          [3000, runOf()],
          [4000, runOf(incident())],
          [8999, runOf(incident())],
          [9000, runOf(incident())],
        ],
        { delayMs },
      ),
    ).toEqual([0, 0, 0, 0, 1]);
  });

  test('hysteresis: what is absent for a short while is the same alert', () => {
    expect(
      play([
        [0, runOf(incident())],
        [1000, runOf()],
        [9000, runOf(incident())],
        [10_000, runOf()],
        [19_999, runOf()],
        [50_000, runOf(incident())],
        [60_000, runOf()],
        [70_000, runOf()],
        [70_001, runOf(incident())],
      ]),
    ).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 1]);
  });
});

describe('a young run goes on', () => {
  /** Falls to 1.4 with a little noise, and stays 1.7 times above that for the last points. */
  const lines = (before: number, after: number): string =>
    Array.from({ length: before + after }, (_, i) =>
      i < before ? 1 + Math.exp(-i / 25) + 0.01 * Math.sin(7 * i) : 2.4 + 0.01 * Math.sin(7 * i),
    )
      .map((loss, step) => `${JSON.stringify({ step, loss })}\n`)
      .join('');
  const classOf = (report: Report | undefined): string => report!.runs[0]!.verdict.class;

  test.each(['a file', 'a folder'])(
    'in %s: two points are open, also where the log ends; more than a quarter of the run is lost',
    async (kind) => {
      const folder = mkdtempSync(join(root, 'young-'));
      const path = join(folder, 'log.jsonl');
      const watcher = watchPath(kind === 'a file' ? path : folder, options);
      writeFileSync(path, lines(30, 2));
      expect(classOf(await watcher.look())).toBe('inconclusive');
      expect(classOf(await watcher.finish())).toBe('inconclusive');
      expect(classOf(await analyze([path], options))).toBe('inconclusive');
      appendFileSync(path, lines(30, 12).slice(lines(30, 2).length));
      expect(classOf(await watcher.look())).toBe('full-divergence');
      await watcher.close();
    },
  );

  test('an attempt that a later one followed is as open as it was, as analyze takes it', async () => {
    const path = fresh();
    const watcher = watchLog(path, options);
    writeFileSync(path, lines(30, 0) + lines(30, 9));
    expect(classOf(await watcher.look())).toBe('inconclusive');
    appendFileSync(path, lines(20, 0));
    expect(classOf(await watcher.look())).toBe('inconclusive');
    expect(classOf(await analyze([path], options))).toBe('inconclusive');
    await watcher.close();
  });

  test('a rise of its last three points above a noisy level is open too', async () => {
    const path = fresh();
    const noise = (i: number): number => 0.4 * Math.sin(7 * i);
    const losses = Array.from({ length: 75 }, (_, i) => (i < 72 ? 3.6 + 2 * noise(i) : 13 + noise(i)));
    writeFileSync(path, losses.map((loss, step) => `${JSON.stringify({ step, loss })}\n`).join(''));
    const watcher = watchLog(path, options);
    expect(classOf(await watcher.look())).toBe('inconclusive');
    expect(classOf(await watcher.finish())).toBe('inconclusive');
    await watcher.close();
  });
});

describe('the command', () => {
  const diverged = join(projectRoot, 'fixtures/logs/full-divergence/input.jsonl');
  const state = (): string => join(root, `state-${files++}.json`);

  test('ends with code 1 on the class that was named; alerts by environment; a restart repeats none', async () => {
    const told = join(root, `told-${files++}`);
    const file = state();
    const hook = `printf '%s|%s|%s\\n' "$CLIPPY_DIAG_ALERT" "$CLIPPY_DIAG_SERIES" "$CLIPPY_DIAG_STEP" >> '${told}'`;
    const args = ['watch', diverged, '--exit-on', 'full-divergence', '--on-alert', hook, '--state', file];
    const first = await cli(args);
    expect([first.code, first.out]).toEqual([
      1,
      expect.stringMatching(/^step 599 {2}loss \S+ {2}DIVERGED at step 400\n$/),
    ]);
    expect(first.err).toMatch(
      /^watching .*\nalert: .*loss rose at step 73, back at 93\nalert: .*loss diverged at step 400/,
    );
    expect(first.err).toMatch(/\nended by --exit-on full-divergence: .*input\.jsonl\n$/);
    expect(readFileSync(told, 'utf8').split('\n').slice(0, 2)).toEqual([
      'micro-divergence|loss|73',
      'full-divergence|loss|400',
    ]);
    const again = await cli(args);
    expect([again.code, again.err.includes('alert:')]).toEqual([1, false]);
    expect(readFileSync(told, 'utf8').trimEnd().split('\n')).toHaveLength(
      JSON.parse(readFileSync(file, 'utf8')).alerts.length as number,
    );
  });

  test('names in a log are never part of a command line', async () => {
    const path = fresh();
    const proof = join(root, 'pwned');
    const name = `loss'; touch ${proof}; '$(touch ${proof})\`touch ${proof}\``;
    const values = [
      ...Array.from({ length: 100 }, (_, i) => 1 + 0.01 * Math.sin(i)),
      ...new Array<number>(60).fill(900),
    ];
    writeFileSync(path, values.map((v, i) => `${JSON.stringify({ step: i, [name]: v })}\n`).join(''));
    const result = await cli([
      'watch',
      path,
      '--map',
      `loss=${name}`,
      '--exit-on',
      'full-divergence',
      '--on-alert',
      'printenv CLIPPY_DIAG_SERIES',
      '--state',
      state(),
    ]);
    expect(result.code).toBe(1);
    expect(result.err).toContain(name);
    expect(() => readFileSync(proof)).toThrow();
  });

  test('--idle-exit ends with what analyze prints', async () => {
    const strip = (text: string): unknown => ({ ...(JSON.parse(text) as object), createdAt: '' });
    const result = await cli([
      'watch',
      diverged,
      '--idle-exit',
      '1',
      '--interval',
      '1',
      '--json',
      '--state',
      state(),
    ]);
    const analyzed = await cli(['analyze', diverged, '--json']);
    expect(result.code).toBe(analyzed.code);
    expect(strip(result.out)).toEqual(strip(analyzed.out));
    const missing = await cli([
      'watch',
      join(root, 'never'),
      '--idle-exit',
      '1',
      '--interval',
      '1',
      '--state',
      state(),
    ]);
    expect(missing.code).toBe(3);
  });

  /**
   * Runs the command by a clock of the test's own: every pause ends at once, and is the next of these moments. `look`
   * is how many milliseconds a look takes by the clock, `work` how many of the processor.
   */
  async function watchThrough(
    args: readonly string[],
    moments: ((end: (code: ExitCode) => void) => void)[],
    {
      look = 0,
      work = 0,
      start = 0,
      ...io
    }: Partial<Io> & { look?: number; work?: number; start?: number } = {},
  ) {
    let now = start;
    let worked = 0;
    let listener: ((code: ExitCode) => void) | undefined;
    const pauses: number[] = [];
    const told: [number, string][] = [];
    const result = await cli(['watch', ...args, ...(args.includes('--state') ? [] : ['--state', state()])], {
      io: {
        now() {
          now += look;
          return now;
        },
        processorTime() {
          worked += work;
          return worked;
        },
        async sleep(milliseconds) {
          pauses.push(milliseconds);
          now += milliseconds;
          const moment = moments.shift();
          if (moment === undefined) throw new Error('it goes on after the last moment');
          moment(listener!);
        },
        onEnd(added) {
          listener = added;
          return () => {
            listener = undefined;
          };
        },
        stderr: {
          write(text, done) {
            told.push([now, text]);
            done?.();
          },
        },
        ...io,
      },
    });
    return { ...result, told, pauses, listens: listener !== undefined };
  }
  const nothing = (): void => {};

  test.each([
    ['Ctrl-C', EXIT.interrupted],
    ['SIGTERM', EXIT.terminated],
  ])('%s ends it with its code, and with what analyze prints', async (_, code) => {
    const result = await watchThrough([diverged, '--json'], [nothing, (end) => end(code)]);
    expect([result.code, result.listens]).toEqual([code, false]);
    // A rise before it came back.
    expect(result.told.map(([, text]) => text)).toEqual([
      expect.stringMatching(/^alert: .*rose at step 73, back at 93\n$/),
      expect.stringMatching(/^alert: .*step 400\n$/),
    ]);
    const analyzed = await cli(['analyze', diverged, '--json'], { io: { now: () => 4000 } });
    expect(result.out).toBe(analyzed.out);
  });

  test('memory is saved from the first look on: a watch goes on for days', async () => {
    const done: string[] = [];
    await watchThrough([diverged], [(end) => end(EXIT.interrupted)], {
      saveMemory: () => done.push('saved'),
      stdout: {
        write(_, written) {
          done.push('looked');
          written?.();
        },
      },
    });
    expect(done[0]).toBe('saved');
    expect(done).toContain('looked');
  });

  test('a pause is --interval, and ten times a look that takes longer, but for the sake of events', async () => {
    const interrupt = (end: (code: ExitCode) => void): void => end(EXIT.interrupted);
    const path = fresh();
    expect((await watchThrough([path], [nothing, interrupt])).pauses).toEqual([2000, 2000]);
    expect((await watchThrough([path, '--interval', '5'], [interrupt])).pauses).toEqual([5000]);
    expect((await watchThrough([path], [interrupt], { look: 300, work: 300 })).pauses).toEqual([3000]);
  });

  test('an event waits for the rest of a look, a pause and a look: seven seconds at most', async () => {
    const interrupt = (end: (code: ExitCode) => void): void => end(EXIT.interrupted);
    const path = fresh();
    writeFileSync(path, records(0, 100));
    for (let look = 0; look <= 2300; look += 100) {
      const { pauses } = await watchThrough([path], [interrupt], { look, work: look });
      expect(look + pauses[0]! + look).toBeLessThanOrEqual(7000);
      // And at most half a processor.
      expect(pauses[0]).toBeGreaterThanOrEqual(look);
    }
  });

  test('a look that waits for a busy machine is repeated as soon as one that does not', async () => {
    const path = fresh();
    writeFileSync(path, records(0, 100));
    const pausesOf = async (look: number, work: number): Promise<number[]> =>
      (await watchThrough([path], [(end) => end(EXIT.interrupted)], { look, work })).pauses;
    expect(await pausesOf(8000, 150)).toEqual([2000]);
    expect(await pausesOf(4000, 400)).toEqual([2000]);
    // A hundred runs: half a processor at most.
    expect(await pausesOf(5000, 5000)).toEqual([5000]);
    // What costs much is not.
    expect(await pausesOf(8000, 7000)).toEqual([70_000]);
  });

  test('--alert-after: an incident is told once it has held for so long, and once only', async () => {
    const interrupt = (end: (code: ExitCode) => void): void => end(EXIT.interrupted);
    const { told } = await watchThrough(
      [diverged, '--alert-after', '5', '--alert-on', 'full-divergence'],
      [nothing, nothing, nothing, nothing, interrupt],
    );
    const alerts = told.filter(([, text]) => text.startsWith('alert:'));
    expect(alerts.length).toBeGreaterThan(0);
    // Looks are at 0, 2, 4, 6 and 8 s.
    expect(alerts.map(([at]) => at)).toEqual(alerts.map(() => 6000));
    expect(new Set(alerts.map(([, text]) => text)).size).toBe(alerts.length);
  });

  /** A terminal of a test's own: what is written to it, and a keyboard. */
  function terminal(rows = 20) {
    const written: string[] = [];
    let listener: ((typed: string) => void) | undefined;
    let taken = 0;
    return {
      written,
      /** What stands on it: from the last drawing on. */
      screen: () => written.findLast((text) => text.includes('\u001b[H'))!,
      type: (text: string) => listener!(text),
      taken: () => taken,
      io: {
        stdout: {
          isTTY: true,
          columns: 70,
          rows,
          write(text: string, done?: () => void) {
            written.push(text);
            done?.();
          },
        },
        takeTerminal(_: unknown, added: (typed: string) => void) {
          listener = added;
          taken++;
          return () => {
            taken--;
          };
        },
      },
    };
  }

  test('on a terminal it draws one screen, with the alerts on it and not beside it, and leaves the page', async () => {
    const { io, screen, written, taken } = terminal();
    const { told, out, code } = await watchThrough([diverged], [(end) => end(EXIT.interrupted)], io);
    expect([out, told, code, taken()]).toEqual(['', [], EXIT.interrupted, 0]);
    const lines = screen().split('\r\n');
    expect(lines).toHaveLength(20);
    expect(lines[0]).toMatch(/step 599 .* last record /);
    expect(lines.at(-2)).toContain('last alert, 0 s ago: loss diverged at step 400');
    // Something stands there while the log is read for the first time.
    expect(written.find((text) => text.includes('\u001b[H'))).toContain('waiting for records in');
    expect(written.at(-1)).toContain('✗ DIVERGED at step 400');
  });

  test('the keyboard scrolls it and ends it with 0; a restart still shows the last alert', async () => {
    const keyboard = terminal();
    const { io, screen, type, taken } = keyboard;
    const shown: string[] = [];
    const remembered = state();
    const look = (line: string): void => {
      type(line);
      shown.push(/lines (\d+)/.exec(screen())![1]!);
    };
    const moments = [() => look('\u001b[B'), () => look('\u001b[6~'), () => look('g'), () => type('q')];
    const result = await watchThrough([diverged, '--state', remembered], moments, io);
    expect([result.code, taken()]).toEqual([0, 0]);
    expect(shown[0]).toBe('2');
    expect(Number(shown[1])).toBeGreaterThan(3);
    expect(shown[2]).toBe('1');
    const again = terminal();
    await watchThrough([diverged, '--state', remembered], [() => again.type('q')], again.io);
    expect(again.screen()).toContain('loss diverged at step 400');
  });

  test('the age of the last record goes on between looks', async () => {
    const { io, screen } = terminal();
    const ages: string[] = [];
    const look = (): void => {
      ages.push(/last record (.*?) ago/.exec(screen())![1]!);
    };
    const path = fresh();
    writeFileSync(path, records(0, 30));
    const moments = [look, look, look, (end: (code: ExitCode) => void) => end(EXIT.interrupted)];
    await watchThrough([path, '--interval', '1h'], moments, io);
    expect(ages).toEqual(['0 s', '1 s', '2 s']);
  });

  test('the rate is that of the looks: 10 steps in 2 seconds are 5 a second', async () => {
    const path = fresh();
    writeFileSync(path, records(0, 30));
    const { out } = await watchThrough(
      [path],
      [() => appendFileSync(path, records(30, 40)), nothing, (end) => end(EXIT.interrupted)],
    );
    expect(out.split('\n').slice(0, 2)).toEqual([
      expect.stringMatching(/^step 29 +loss 1\.033 +\w/),
      expect.stringMatching(/^step 39 +loss 1\.025 +5 steps\/s +\w/),
    ]);
  });

  describe('--stall', () => {
    const stalls = (told: readonly [number, string][]): [number, string][] =>
      told.filter(([, text]) => text.startsWith('alert:'));

    test('is alerted once for each time that records stop, with the hook, and not for lines that hold none', async () => {
      const path = fresh();
      writeFileSync(path, records(0, 30));
      const { told } = await watchThrough(
        [
          path,
          '--stall',
          '5s',
          '--alert-on',
          'drift',
          '--on-alert',
          'echo "hook $CLIPPY_DIAG_ALERT $CLIPPY_DIAG_EVENT"',
        ],
        [
          nothing,
          () => appendFileSync(path, '# a line without a record\n'),
          nothing,
          nothing,
          () => appendFileSync(path, records(30, 31)),
          nothing,
          nothing,
          nothing,
          (end) => end(EXIT.interrupted),
        ],
      );
      const about = (at: number, step: number): [number, string] => [
        at,
        `alert: ${path}: stalled: no new record for 6 s; the last is step ${step}\n`,
      ];
      // Looks are at 0, 2, 4, … s; the record of step 30 is seen at 10 s.
      expect(stalls(told)).toEqual([about(6000, 29), about(16_000, 30)]);
      expect(told.filter(([, text]) => text.startsWith('hook'))).toEqual([
        [6000, 'hook stall begin\n'],
        [10_000, 'hook stall end\n'],
        [16_000, 'hook stall begin\n'],
      ]);
    });

    test('counts from the beginning while there is no record, and from the file for one that is old', async () => {
      const stop = (end: (code: ExitCode) => void): void => end(EXIT.interrupted);
      const late = await watchThrough([fresh(), '--stall', '3s'], [nothing, nothing, stop]);
      expect(stalls(late.told)).toEqual([
        [4000, expect.stringContaining('stalled: no record yet after 4 s')],
      ]);
      const old = fresh();
      writeFileSync(old, records(0, 30));
      utimesSync(old, new Date(1_000_000), new Date(1_000_000));
      const { told } = await watchThrough([old, '--stall', '10m'], [stop], { start: 1_000_000 + 7_200_000 });
      expect(stalls(told)).toEqual([[8_200_000, expect.stringContaining('no new record for 2 h')]]);
    });

    const stop = (end: (code: ExitCode) => void): void => end(EXIT.interrupted);
    const start = 1_700_000_000_000;
    const writtenAt = (file: string, at: number): void => utimesSync(file, new Date(at), new Date(at));

    test('is looked for when it is due, not at the end of a pause', async () => {
      const path = fresh();
      writeFileSync(path, records(0, 30));
      writtenAt(path, start);
      const grow = (): void => {
        appendFileSync(path, records(30, 31));
        writtenAt(path, start + 6000);
      };
      const { pauses, told } = await watchThrough([path, '--stall', '10s'], [grow, nothing, nothing, stop], {
        work: 1000,
        start,
      });
      expect(pauses.slice(0, 3)).toEqual([6000, 6000, 4010]);
      expect(stalls(told)).toEqual([[start + 16_010, expect.stringContaining('no new record for 10 s')]]);
    });

    test('is over at the first look of another watcher, if the run wrote while nobody watched', async () => {
      const path = fresh();
      const file = state();
      const command = [path, '--stall', '5s', '--state', file];
      writeFileSync(path, records(0, 30));
      await watchThrough(command, [nothing, nothing, nothing, stop]);
      // It is at rest still: nothing is known to have changed.
      const still = await watchThrough(command, [stop], { start });
      expect(still.told.filter(([, text]) => /stalled|over/.test(text))).toEqual([]);
      appendFileSync(path, records(30, 31));
      const { told } = await watchThrough(command, [stop], { start });
      expect(told.map(([, text]) => text)).toContain(`over: ${path}: records come again\n`);
    });

    test('of a log that was moved away counts from the last byte of its part', async () => {
      const folder = join(root, `moved-${files++}`);
      mkdirSync(folder);
      const path = join(folder, 'log.jsonl');
      writeFileSync(path, records(0, 30));
      writtenAt(path, start);
      const grow = (): void => {
        appendFileSync(path, records(30, 31));
        renameSync(path, `${path}.1`);
        writtenAt(`${path}.1`, start + 1000);
      };
      const moments = [grow, nothing, nothing, nothing, nothing, stop];
      const { told } = await watchThrough([folder, '--stall', '9s'], moments, { start });
      expect(stalls(told)).toEqual([[start + 10_000, expect.stringContaining('no new record for 9 s')]]);
    });

    test('stands on the screen', async () => {
      const { io, screen } = terminal();
      const path = fresh();
      writeFileSync(path, records(0, 30));
      await watchThrough([path, '--stall', '1s'], [nothing, nothing, (end) => end(EXIT.interrupted)], io);
      expect(screen()).toContain('! STALLED: no new record for 2 s');
      expect(screen()).toContain('last alert, 0 s ago: stalled: no new record');
    });
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'a process: --on-alert writes to its standard error, and %s ends it with %i',
    async (signal, code) => {
      const child = spawn(
        process.execPath,
        [
          ...[join(projectRoot, 'bin/run.js'), 'watch', diverged],
          ...['--on-alert', 'echo "hook: $CLIPPY_DIAG_ALERT"', '--state', state()],
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      let [out, err] = ['', ''];
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        err += text;
      });
      // The line of a look comes after its alerts; what follows is a pause.
      await new Promise<void>((resolve) => {
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          out += text;
          if (out.endsWith('\n')) resolve();
        });
      });
      child.kill(signal);
      expect(await new Promise((resolve) => child.on('close', resolve))).toBe(code);
      expect(out).toMatch(/^step 599 .* DIVERGED at step 400\n$/);
      expect(err).toMatch(
        /^watching .*\nalert: .*back at 93\n(alert: .*\n|hook: .*\n)*hook: full-divergence\n/,
      );
    },
  );
});
