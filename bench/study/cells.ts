/**
 * Cells of a study a minute of processor time, on the net of fixtures/incident (16 → 3 × 32 → three towers of 8), 56 steps
 * of 128 rows, without the test part: npx tsx bench/study/cells.ts [cells]. cells.py is PyTorch's side.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomVectors } from '../../src/differentiate/curvature/random.ts';
import { createTrainer, type StudySetup } from '../../src/experiment/study/train-cell.ts';

const [BATCH, STEPS] = [128, 56];
const model = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../fixtures/incident/capture/model.json'), 'utf8'),
) as {
  tasks: { name: string; loss: 'sigmoid-cross-entropy'; weight: number }[];
};
const count = BATCH * (STEPS + 1);
const random = randomVectors(1);
const setup: StudySetup = {
  models: [{ name: 'incident', document: model, initialisation: null }],
  rows: {
    count,
    features: [Float32Array.from(random.gaussian(16 * count))],
    labels: model.tasks.map(() => Float32Array.from(random.signs(count), (x) => (x + 1) / 2)),
  },
  phases: [{ train: [0, BATCH * STEPS], test: [BATCH * STEPS, count] }],
  tasks: model.tasks,
  optimizer: { name: 'adagrad', options: {} },
  batch: BATCH,
  length: { epochs: 1 },
};
const trainer = createTrainer(setup);
const cells = Number(process.argv[2] ?? 200);
for (const label of ['none', 'clippy:paper']) {
  const run = (n: number): void => {
    for (let seed = 0; seed < n; seed++)
      trainer.train({ model: 'incident', rule: label, label, learningRate: 0.1, seed });
  };
  run(20);
  const rates = Array.from({ length: 5 }, () => {
    const start = process.cpuUsage();
    run(cells / 5);
    const { user, system } = process.cpuUsage(start);
    return Math.round((60e6 * (cells / 5)) / (user + system));
  }).sort((a, b) => a - b);
  console.log(`${label}: ${rates[2]} cells a minute of processor time (${rates[0]} to ${rates[4]})`);
}
