/**
 * What a look at one long log costs that grows by ten records between looks, watched as a file and as the only log of a folder:
 * `node --expose-gc --import tsx bench/watch/one-log.ts [--records 200000] [--looks 12]`.
 *
 * Prints milliseconds of processor time of each look, and megabytes in use after a collection.
 */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { watchPath } from '../../src/app/engine/watch.ts';

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '200000' },
    looks: { type: 'string', default: '12' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-look-'));
const path = join(folder, 'log.jsonl');
let step = 0;
function grow(records: number): void {
  const lines = Array.from({ length: records }, () => {
    const loss = 0.5 + 2 * Math.exp(-step / 60) + 0.01 * Math.sin(12.9898 * step);
    return `${JSON.stringify({ step: step++, loss, grad_norm: 2 + Math.cos(step) })}\n`;
  });
  appendFileSync(path, lines.join(''));
}
const collect = (globalThis as { gc?: () => void }).gc;

try {
  for (let left = Number(values.records); left > 0; left -= 10_000) grow(Math.min(left, 10_000));
  for (const what of [path, folder]) {
    const watcher = watchPath(what, { toolVersion: '0', now: () => new Date() });
    const [times, memory]: [string[], string[]] = [[], []];
    for (let k = 0; k < Number(values.looks); k++) {
      const before = process.cpuUsage();
      await watcher.look();
      const { user, system } = process.cpuUsage(before);
      times.push(((user + system) / 1000).toFixed(0));
      collect?.();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      memory.push(((heapUsed + arrayBuffers) / 2 ** 20).toFixed(0));
      grow(10);
    }
    await watcher.close();
    console.log(
      `${what === path ? 'the file' : 'its folder'}: ${times.join(' ')} ms; ${memory.join(' ')} MB`,
    );
  }
} finally {
  rmSync(folder, { recursive: true });
}
