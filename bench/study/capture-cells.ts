/**
 * Cells of `matrix CAPTURE` a minute of processor time, on fixtures/incident: 56 steps of 128 rows, as in cells.py, PyTorch's side.
 *
 *     npx tsx bench/study/capture-cells.ts [SEEDS] [BACKEND]        five cells a seed; BACKEND is one of --backend
 */
import { join } from 'node:path';
import type { BackendName } from '../../src/differentiate/autodiff/backend-names.ts';
import { runMatrix } from '../../src/experiment/measure/closed-loop.ts';
import { onKernels } from '../../src/experiment/study/kernel-objective.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';

const capture = await openCapture(join(import.meta.dirname, '../../fixtures/incident/capture'));
const [seeds = '10', backend] = process.argv.slice(2);
async function train(rule: string, count: number): Promise<number> {
  const start = process.cpuUsage();
  const { cells } = await runMatrix(capture, {
    rules: parseRule(rule),
    seeds: Array.from({ length: count }, (_, seed) => seed),
    learningRateMultipliers: [0.25, 0.5, 1, 2, 4],
    clock: () => 0,
    faster: onKernels,
    ...(backend === undefined ? {} : { backend: backend as BackendName }),
  });
  const { user, system } = process.cpuUsage(start);
  // The baseline is trained as well.
  return (60e6 * (cells.length + 1)) / (user + system);
}
for (const rule of ['none', 'clippy:paper']) {
  await train(rule, 1);
  const rates: number[] = [];
  for (let k = 0; k < 3; k++) rates.push(Math.round(await train(rule, Number(seeds))));
  rates.sort((a, b) => a - b);
  console.log(`${rule}: ${rates[1]} cells a minute of processor time (${rates[0]} to ${rates[2]})`);
}
