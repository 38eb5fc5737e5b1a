/**
 * A folder of 200 runs of 1,000 steps, one in five of which breaks: what `analyze` takes to its table.
 *
 *     npm run build && npx tsx bench/many-runs.ts [REPEATS] [RUNS]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { random as randomOf } from '../test/support/random.ts';
import { spread, take } from './taken.ts';

const [repeats = '3', runs = '200'] = process.argv.slice(2);
const STEPS = 1000;
const bin = fileURLToPath(new URL('../bin/run.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'many-runs-'));
const random = randomOf(7);

/** A falling loss, which jumps after two thirds of a run that breaks. */
const logOf = (breaks: boolean): string =>
  Array.from({ length: STEPS }, (_, step) => {
    const level = breaks && step > (2 * STEPS) / 3 ? 30 : 0.5;
    const loss = level + 2 * Math.exp(-step / 200) + 0.1 * random();
    return `${JSON.stringify({ step, loss: Number(loss.toFixed(5)), grad_norm: Number((1 + random()).toFixed(4)), learning_rate: 1e-3 })}\n`;
  }).join('');

try {
  for (let k = 0; k < Number(runs); k++) {
    const run = join(folder, `run-${k}`);
    mkdirSync(run);
    writeFileSync(join(run, 'log.jsonl'), logOf(k % 5 === 0));
    writeFileSync(join(run, 'config.json'), JSON.stringify({ lr: 1e-3 * (k + 1), seed: k }));
  }
  const all = Array.from({ length: Number(repeats) }, () => take(bin, ['analyze', folder]));
  const [seconds, megabytes] = [all.map((one) => one.seconds), all.map((one) => one.megabytes)];
  console.log(
    `${runs} runs of ${STEPS} steps: ${spread(seconds, 2)} s of processor time, ${spread(megabytes, 0)} MB at the peak, load ${loadavg()[0]!.toFixed(1)}`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
