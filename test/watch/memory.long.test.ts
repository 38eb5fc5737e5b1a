/** A log that is watched for long takes no more and more memory. */
import { appendFileSync, mkdirSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { watchLog } from '../../src/app/engine/watch.ts';
import { watchFolder } from '../../src/app/engine/watch-folder.ts';
import { keepBlocksIn } from '../../src/model/column.ts';
import type { Report } from '../../src/model/report.ts';
import { BlockFile } from '../../src/read/bytes/block-file.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('watch-memory');

beforeAll(() => {
  keepBlocksIn(new BlockFile(expect.unreachable));
});
afterAll(() => {
  keepBlocksIn(undefined);
});

/** Bytes in use after a collection, in and out of the heap. */
async function used(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // Buffers are freed in a turn of the event loop of their own.
  for (let k = 0; k < 3; k++) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const OPTIONS = { toolVersion: '0.1.0', now: () => new Date('2026-01-02T03:04:05Z') };

test('one hour of 1,000 records a minute: memory grows by less than 5 MB', async () => {
  const path = join(scratch(), 'log.jsonl');
  const watcher = watchLog(path, OPTIONS);
  const minute = (m: number): string =>
    Array.from(
      { length: 1000 },
      (_, i) => `{"step":${m * 1000 + i},"loss":${1 + Math.sin(i) / 10},"grad_norm":${2 + Math.cos(i)}}\n`,
    ).join('');
  let start = 0;
  for (let m = 0; m < 60; m++) {
    appendFileSync(path, minute(m));
    await watcher.look();
    if (m === 1) start = await used();
  }
  const grown = (await used()) - start;
  const loss = (await watcher.finish()).runs[0]!.series.find(({ name }) => name === 'loss')!;
  expect([loss.points, loss.statistics.lastStep]).toEqual([60_000, 59_999]);
  expect(grown).toBeLessThan(5 * 2 ** 20);
  await watcher.close();
});

/** A record of printed text, with a bar that was drawn over. */
const record = (step: number): string => {
  const bars = [1, 2, 3].map((k) => `\r${25 * k}%|${'#'.repeat(k)}${' '.repeat(4 - k)}| ${k}/4 [00:0${k}]`);
  const loss = 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(12.9898 * step);
  return `${bars.join('')}\n[trainer] INFO step ${step} loss ${loss} lr 0.001 grad_norm 1.5 tokens/s 1000\n`;
};

test('a folder of printed logs with progress bars: few bytes a record, hardly any later on', async () => {
  const folder = scratch();
  const paths = ['a', 'b', 'c'].map((name) => join(folder, name, 'train.log'));
  for (const path of paths) mkdirSync(dirname(path));
  const watcher = watchFolder(folder, OPTIONS);
  let step = 0;
  const growTo = async (end: number): Promise<number> => {
    for (; step < end; step += 250) {
      const text = Array.from({ length: 250 }, (_, k) => record(step + k)).join('');
      for (const path of paths) appendFileSync(path, text);
      await watcher.look();
    }
    return used();
  };
  const perRecord = (bytes: number, steps: number): number => bytes / (paths.length * steps);
  const [young, grown, old] = [await growTo(500), await growTo(3000), await growTo(9000)];
  const oldest = await growTo(27_000);
  // With the buckets of charts, whose number stops to grow. In unpacked columns it was 580.
  expect(perRecord(grown - young, 2500)).toBeLessThan(450);
  // With the blocks that were fetched last, 2 MB in all.
  expect(perRecord(old - grown, 6000)).toBeLessThan(170);
  // Of a block of 256 numbers memory holds where it lies: 2 to 5 bytes a record, up to 21 with what the first test left. In memory it was 117.
  expect(perRecord(oldest - old, 18_000)).toBeLessThan(40);
});

test('a folder of runs that have ended: no readers of them are kept', async () => {
  const folder = scratch();
  const paths = Array.from({ length: 40 }, (_, k) => join(folder, `run-${k}`, 'train.log'));
  for (const path of paths) mkdirSync(dirname(path));
  const watcher = watchFolder(folder, OPTIONS);
  /** @param ago minutes */
  const grow = (path: string, from: number, ago: number, text?: string): void => {
    appendFileSync(path, text ?? Array.from({ length: 400 }, (_, k) => record(from + k)).join(''));
    const time = OPTIONS.now().getTime() / 1000 - 60 * ago;
    utimesSync(path, time, time);
  };
  for (const [look, ago] of [12, 11, 10].entries()) {
    for (const path of paths) grow(path, 400 * look, ago);
    await watcher.look();
  }
  const going = await used();
  grow(paths[0]!, 1200, 0);
  await watcher.look();
  const ended = await used();
  // A reader takes 110 kB.
  expect((going - ended) / 39).toBeGreaterThan(50_000);
  // One of them goes on after all; its last line has no end.
  grow(paths[1]!, 1200, 0);
  grow(paths[1]!, 1600, 0, record(1600).trimEnd());
  const pointsOf = (report: Report): number[] =>
    [0, 1, 2].map((k) => report.runs.find(({ id }) => id.startsWith(`run-${k}/`))!.series[0]!.points);
  expect(pointsOf((await watcher.look())!)).toEqual([1600, 1600, 1200]);
  expect(pointsOf(await watcher.finish())).toEqual([1600, 1601, 1200]);
});
