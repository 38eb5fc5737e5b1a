/**
 * The memory of a process that watches a folder of printed logs, which grow by ten records between looks and may be rotated:
 * `node --expose-gc --import tsx bench/watch/folder-memory.ts [--runs 20] [--records 300000] [--rotate 5000]`.
 *
 * Every twelfth of the records prints megabytes: of the process, of the heap of `malloc`, and in use after a collection, objects and
 * numbers.
 */
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { watchPath } from '../../src/app/engine/watch.ts';
import { keepBlocksIn } from '../../src/model/column.ts';
import { BlockFile } from '../../src/read/bytes/block-file.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    records: { type: 'string', default: '300000' },
    /** Records of a run after which it is rotated; none is at 0. */
    rotate: { type: 'string', default: '0' },
  },
});
const [runs, records, rotate] = [values.runs, values.records, values.rotate].map(Number) as [
  number,
  number,
  number,
];
/** Records of a run between two looks. */
const ADDED = 10;
const POINTS = 12;

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-memory-'));
const paths = Array.from({ length: runs }, (_, k) => join(folder, `run-${k}`, 'train.log'));
for (const path of paths) mkdirSync(dirname(path));

/** A record of printed text, with a bar that was drawn over. */
function recordOf(step: number): string {
  const bars = [1, 2, 3].map((k) => `\r${25 * k}%|${'#'.repeat(k)}${' '.repeat(4 - k)}| ${k}/4 [00:0${k}]`);
  const loss = 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(12.9898 * step);
  return `${bars.join('')}\n[trainer] INFO step ${step} loss ${loss} lr 0.001 grad_norm 1.5 tokens/s 1000\n`;
}

/** Moves a log away, as logrotate does. */
function moveAway(path: string, parts: number): void {
  for (let part = parts; part >= 1; part--) renameSync(`${path}.${part}`, `${path}.${part + 1}`);
  renameSync(path, `${path}.1`);
}

/** Kilobytes in memory of the heap of `malloc`. */
function mallocHeap(): number {
  const [, kB = 'NaN'] =
    /\[heap\][\s\S]*?\nRss:\s+(\d+) kB/.exec(readFileSync('/proc/self/smaps', 'utf8')) ?? [];
  return Number(kB);
}

async function print(total: number): Promise<void> {
  const { rss } = process.memoryUsage();
  // Buffers are freed in a turn of the event loop of their own.
  for (let k = 0; k < 3; k++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  const sizes = [rss, 1024 * mallocHeap(), heapUsed, arrayBuffers].map((bytes) => bytes / 2 ** 20);
  console.log(`${String(total).padStart(9)}${sizes.map((size) => size.toFixed(1).padStart(9)).join('')}`);
}

keepBlocksIn(new BlockFile(console.error));
const watcher = watchPath(folder, { toolVersion: '0', now: () => new Date() });
console.log('  records  process   malloc  objects  numbers');
try {
  let shown = 0;
  for (let step = 0; step * runs < records; step += ADDED) {
    const text = Array.from({ length: ADDED }, (_, k) => recordOf(step + k)).join('');
    for (const [k, path] of paths.entries()) {
      // Not all are rotated between the same two looks.
      const age = step - (rotate * k) / runs;
      if (rotate > 0 && age >= rotate && age % rotate < ADDED) moveAway(path, Math.floor(age / rotate) - 1);
      appendFileSync(path, text);
    }
    await watcher.look();
    if ((step + ADDED) * runs >= ((shown + 1) * records) / POINTS) {
      shown++;
      await print((step + ADDED) * runs);
    }
  }
} finally {
  await watcher.close();
  rmSync(folder, { recursive: true });
}
