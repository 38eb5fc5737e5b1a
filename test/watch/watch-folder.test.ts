/** A folder of runs that rotate, are copied and truncated, and stall: each event once, and none that is not there. */
import { appendFileSync, copyFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Watcher, watchPath } from '../../src/app/engine/watch.ts';
import {
  ALERT_CLASSES,
  type Alert,
  type AlertState,
  NO_ALERTS,
  updateAlerts,
} from '../../src/app/engine/watch-alerts.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const newFolder = scratchFolders('watch-folder');
const options = { toolVersion: '0.1.0', now: () => new Date('2026-01-02T03:04:05Z') };
const settings = { classes: ALERT_CLASSES, delayMs: 0, clearMs: 60_000 };

/** Records of a falling loss; from step `bad` on it is far above. */
const records = (from: number, to: number, bad = Number.POSITIVE_INFINITY, high = 80): string =>
  Array.from({ length: to - from }, (_, i) => {
    const step = from + i;
    const calm = 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(step * 12.9898);
    return `{"step":${step},"loss":${step >= bad ? (Number.isNaN(high) ? '"NaN"' : high + calm) : calm}}\n`;
  }).join('');

/** Looks again and again, as the command does; all alerts that were raised. */
function alerting(watcher: Watcher) {
  let state: AlertState = NO_ALERTS;
  let now = 0;
  const raised: Alert[] = [];
  let points = 0;
  return {
    raised,
    points: () => points,
    async look() {
      const report = await watcher.look();
      now += 10_000;
      if (report === undefined) return undefined;
      points = report.runs[0]!.series[0]!.points;
      const next = updateAlerts(state, report.runs, settings, now);
      state = next.state;
      raised.push(...next.raised);
      return report;
    },
  };
}

/** How a log is rotated: what is at `path` becomes `path.1`, and what was there `path.2`. */
const ROTATIONS: Record<string, (path: string) => void> = {
  'moved away': (path) => renameSync(path, `${path}.1`),
  'copied and truncated': (path) => {
    copyFileSync(path, `${path}.1`);
    truncateSync(path, 0);
  },
};

describe.each(Object.entries(ROTATIONS))('a log that is %s', (_, rotate) => {
  it('is one run with all its points, and its incident is told once', async () => {
    const folder = newFolder();
    const path = join(folder, 'g.jsonl');
    writeFileSync(join(folder, 'other.jsonl'), records(0, 900).replaceAll('"loss":0.5', '"loss":0.4'));
    writeFileSync(path, records(0, 300));
    const watch = alerting(watchPath(folder, options));
    await watch.look();
    for (let from = 300; from < 900; from += 50) {
      appendFileSync(path, records(from, from + 50, 500));
      const report = await watch.look();
      expect(report!.runs.map(({ id }) => id).sort()).toEqual(['g.jsonl', 'other.jsonl']);
      const { series } = report!.runs.find(({ id }) => id === 'g.jsonl')!;
      expect(series[0]!.points).toBe(from + 50);
      if (from % 100 !== 0) continue;
      if (from > 300) renameSync(`${path}.1`, `${path}.${from}`);
      rotate(path);
      // Some writers go on at once, others after the next look.
      if (from % 200 === 0) await watch.look();
    }
    expect(watch.raised.map((one) => [one.run, one.class])).toEqual([['g.jsonl', 'full-divergence']]);
  });

  it('a divergence before it is told although all that is left is high', async () => {
    const folder = newFolder();
    const path = join(folder, 'g.jsonl');
    writeFileSync(path, records(0, 600));
    const watch = alerting(watchPath(folder, options));
    await watch.look();
    rotate(path);
    await watch.look();
    appendFileSync(path, records(600, 900, 620));
    const report = await watch.look();
    expect(report!.runs[0]!.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 620 });
    rotate(path);
    appendFileSync(path, records(900, 1000, 620));
    await watch.look();
    expect(watch.raised.map((one) => one.class)).toEqual(['full-divergence']);
  });
});

it('lines that were written after the last look, before the log was moved away, are in the run', async () => {
  const folder = newFolder();
  const path = join(folder, 'g.jsonl');
  writeFileSync(path, records(0, 300));
  const watcher = watchPath(folder, options);
  await watcher.look();
  appendFileSync(path, records(300, 330));
  renameSync(path, `${path}.1`);
  writeFileSync(path, records(330, 350));
  const report = await watcher.look();
  expect(report!.runs.map(({ id, series }) => [id, series[0]!.points])).toEqual([['g.jsonl', 350]]);
  expect((await watcher.finish()).runs.map(({ series }) => series[0]!.points)).toEqual([350]);
});

it('parts that were rotated away before the watch began, or twice between two looks, are of the run', async () => {
  const folder = newFolder();
  const path = join(folder, 'g.jsonl');
  writeFileSync(`${path}.2`, records(0, 300));
  writeFileSync(`${path}.1`, records(300, 400));
  writeFileSync(path, records(400, 450));
  const watch = alerting(watchPath(folder, options));
  expect((await watch.look())!.runs.map(({ id, series }) => [id, series[0]!.points])).toEqual([
    ['g.jsonl', 450],
  ]);
  renameSync(`${path}.2`, `${path}.4`);
  renameSync(`${path}.1`, `${path}.3`);
  appendFileSync(path, records(450, 500));
  renameSync(path, `${path}.2`);
  writeFileSync(`${path}.1`, records(500, 560, 510));
  writeFileSync(path, records(560, 600, 510));
  const { runs } = (await watch.look())!;
  expect(runs.map(({ id, series }) => [id, series[0]!.points])).toEqual([['g.jsonl', 600]]);
  expect(watch.raised.map(({ run, class: name, from }) => [run, name, from])).toEqual([
    ['g.jsonl', 'full-divergence', 510],
  ]);
});

describe.each([
  ['not there', (path: string) => rmSync(path, { force: true })],
  ['empty', (path: string) => writeFileSync(path, '')],
])('parts of a log that is %s until its next record', (_, clear) => {
  const idsOf = async (watch: ReturnType<typeof alerting>): Promise<unknown> =>
    (await watch.look())!.runs.map(({ id, series }) => [id, series[0]!.points]);

  it('are one run where it was rotated twice between two looks, and its incident is reported once', async () => {
    const path = join(newFolder(), 'g.jsonl');
    writeFileSync(path, records(0, 300, 290, Number.NaN));
    const watch = alerting(watchPath(dirname(path), options));
    expect(await idsOf(watch)).toEqual([['g.jsonl', 300]]);
    renameSync(path, `${path}.2`);
    writeFileSync(`${path}.1`, records(300, 310, 290, Number.NaN));
    clear(path);
    expect(await idsOf(watch)).toEqual([['g.jsonl', 310]]);
    writeFileSync(path, records(310, 312, 290, Number.NaN));
    expect(await idsOf(watch)).toEqual([['g.jsonl', 312]]);
    expect(watch.raised.map(({ run, from }) => [run, from])).toEqual([['g.jsonl', 290]]);
  });

  it('are one run where the watch begins', async () => {
    const path = join(newFolder(), 'g.jsonl');
    writeFileSync(`${path}.2`, records(0, 300, 290, Number.NaN));
    writeFileSync(`${path}.1`, records(300, 310, 290, Number.NaN));
    clear(path);
    const watch = alerting(watchPath(dirname(path), options));
    expect(await idsOf(watch)).toEqual([['g.jsonl', 310]]);
    writeFileSync(path, records(310, 312, 290, Number.NaN));
    expect(await idsOf(watch)).toEqual([['g.jsonl', 312]]);
    expect(watch.raised.map(({ run, from }) => [run, from])).toEqual([['g.jsonl', 290]]);
  });
});

it('two runs whose names are alike are two runs, and a file that is removed is gone', async () => {
  const folder = newFolder();
  writeFileSync(join(folder, 'g.jsonl'), records(0, 300));
  writeFileSync(join(folder, 'g.jsonl.1'), records(0, 200).replaceAll('"loss":0', '"loss":1'));
  const watcher = watchPath(folder, options);
  expect((await watcher.look())!.runs).toHaveLength(2);
  appendFileSync(join(folder, 'g.jsonl'), records(300, 310));
  expect((await watcher.look())!.runs).toHaveLength(2);
  renameSync(join(folder, 'g.jsonl'), join(newFolder(), 'elsewhere.jsonl'));
  expect((await watcher.look())!.runs.map(({ id }) => id)).toEqual(['g.jsonl.1']);
});

describe('stalls', () => {
  it('of one run among others that go on is told once, and one that had ended before is not told', async () => {
    const folder = newFolder();
    const path = (name: string): string => join(folder, `${name}.jsonl`);
    for (const name of ['a', 'b', 'ended'])
      writeFileSync(path(name), records(0, 100).replaceAll('"loss":0', `"loss":0.${name.length}`));
    let now = Date.parse('2026-01-01T00:00:00Z');
    let looks = 0;
    const io = {
      now: () => now,
      async sleep(milliseconds: number, signal: AbortSignal) {
        now += milliseconds;
        looks++;
        if (signal.aborted) return;
        // `b` writes at every look, `a` stops after the fifth and begins again after the hundredth.
        if (looks < 150)
          appendFileSync(path('b'), records(100 + looks, 101 + looks).replaceAll('"loss":0', '"loss":0.1'));
        if (looks < 5 || (looks > 100 && looks < 150))
          appendFileSync(path('a'), records(100 + looks, 101 + looks).replaceAll('"loss":0', '"loss":0.1'));
      },
    };
    const args = [
      'watch',
      folder,
      '--stall',
      '60',
      '--interval',
      '2',
      '--idle-exit',
      '30',
      '--state',
      join(newFolder(), 's'),
    ];
    const { err } = await cli(args, { io });
    const alerts = err.split('\n').filter((line) => line.startsWith('alert: '));
    expect(
      alerts.filter((line) => line.includes('stalled')).map((line) => line.replace(/: stalled.*/, '')),
    ).toEqual(['alert: a.jsonl']);
  });
});
