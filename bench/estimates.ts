/**
 * How often the estimates of as-recorded and open-loop agree with the closed loop, over the shipped captures or others
 * (`python3 bench/estimates_captures.py OUT` makes eight).
 *
 *     npx tsx bench/estimates.ts [CAPTURE …]
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runClosedLoop } from '../src/experiment/measure/closed-loop.ts';
import { replayCapture } from '../src/experiment/replay/replay.ts';
import { openCapture } from '../src/read/captures/read.ts';
import { parseRule } from '../src/step/rules/parse.ts';

const CAPTURES = [
  'incident/capture',
  'captures/embedding',
  'captures/seed-2',
  'captures/micro-divergence',
  'captures/nan',
];
const RULES = [
  'none',
  'value:{1,0.1}',
  'global-norm:{100,10,1,0.1}',
  'layer-norm:{10,1,0.1}',
  'agc:{1,0.1,0.01,0.001}',
  'clippy:paper',
  'clippy:tfrs',
].flatMap(parseRule);

const root = fileURLToPath(new URL('../fixtures/', import.meta.url));
const paths =
  process.argv.length > 2
    ? process.argv.slice(2).map((path) => resolve(path))
    : CAPTURES.map((name) => root + name);
for (const mode of ['as-recorded', 'open-loop'] as const) {
  const counts = new Map<string, number>();
  for (const path of paths) {
    const capture = await openCapture(path);
    const estimated = await replayCapture(capture, {
      mode,
      rules: RULES,
      precision: 'float32',
      learningRateMultipliers: [1],
    });
    const closed = await runClosedLoop(capture, { rules: RULES, clock: Date.now });
    for (const [r, { verdict, confidence }] of estimated.entries.entries()) {
      const key = `${confidence} ${verdict} → closed loop ${closed.entries[r]!.verdict}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  console.log(`${mode}, ${paths.length} captures × ${RULES.length} rules:`);
  for (const [key, count] of [...counts].sort()) console.log(`  ${count}  ${key}`);
}
