/** A log that is watched for long takes no more and more memory. */
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { watchLog } from '../../src/app/engine/watch.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('watch-memory');

test('one hour of 1,000 records a minute: memory grows by less than 10 MB', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const used = async (): Promise<number> => {
    // Buffers are freed in a turn of the event loop of their own.
    for (let k = 0; k < 3; k++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const path = join(scratch(), 'log.jsonl');
  const watcher = watchLog(path, { toolVersion: '0.1.0', now: () => new Date('2026-01-02T03:04:05Z') });
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
  expect(grown).toBeLessThan(10 * 2 ** 20);
  await watcher.close();
});
