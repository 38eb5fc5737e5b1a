/**
 * The judge in Python is the same computation as the one in TypeScript, of a stream and of the whole: random series of fixed seeds, in `npm run soak` others.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { lossStream } from '../../src/judge/incidents/stream.ts';
import { normals, seeded } from '../detectors/runs.ts';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';
import { streamed } from './cases.ts';
import { judgePoints } from './judged.ts';

const SERIES = Math.max(10_000, Number(process.env.CLIPPY_DIAG_FUZZ));
const SEED = Number(process.env.CLIPPY_DIAG_FUZZ_SEED ?? 20_261_130);
const python = pythonWith();

/** A loss with noise, slow or fast, and what may happen to it: jumps, climbs, returns, no numbers, values at and below zero, few digits. */
function randomSeries(seed: number): Float64Array {
  const random = seeded(seed);
  const normal = normals(seed + 0.5);
  const pick = <T>(...of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
  const points = random() < 0.02 ? 500 : 10 + Math.floor(80 * random() ** 2);
  const [fall, noise] = [pick(0, 1, 3), pick(0, 0.02, 0.1, 0.45)];
  const memory = pick(0, 0, 0.9, 0.99);
  const at = Math.floor(points * (0.2 + 0.7 * random()));
  const [factor, length] = [30 ** random(), pick(1, 3, 20, 1000)];
  const climbs = random() < 0.3;
  const [offset, digits] = [pick(0, 0, 0, 0, 0.5, 3), pick(17, 17, 17, 2)];
  const floor = pick(-Infinity, -Infinity, 0);
  const bad = pick<number | null>(null, null, null, Number.NaN, Infinity, -Infinity);
  const badAt = Math.floor(points * random());
  let slow = normal();
  return Float64Array.from({ length: points }, (_, i) => {
    slow = memory * slow + Math.sqrt(1 - memory * memory) * normal();
    if (bad !== null && i >= badAt && i < badAt + length) return bad;
    const inside = i >= at && i < at + length;
    const high = !inside ? 1 : climbs ? factor ** Math.min(1, (i - at) / 40) : factor;
    const loss = Math.exp((-fall * i) / points + noise * slow) * high - offset;
    return Math.max(floor, Number(loss.toPrecision(digits)));
  });
}

/** Begins of captures, and the incidents of the whole. */
const saidOf = (series: Float64Array) => [
  streamed([...series], lossStream()),
  judgePoints(series).incidents.map(({ class: found, form, onset, recovered }) => [
    found,
    form,
    onset,
    recovered,
  ]),
];

it.skipIf(python === undefined)(
  'the judge in Python says of random series what the one in TypeScript does (skipped where there is no Python)',
  () => {
    const all = Array.from({ length: SERIES }, (_, k) => randomSeries(SEED + k));
    const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-stream-'));
    const file = join(folder, 'series.bin');
    writeFileSync(file, Float64Array.from(all.flatMap((series) => [series.length, ...series])));
    const script = join(projectRoot, 'test/incidents/stream_series.py');
    const text = execFileSync(python!, ['-B', script, join(projectRoot, 'python/src'), file], {
      encoding: 'utf8',
      maxBuffer: 1e9,
    });
    rmSync(folder, { recursive: true });
    const said = JSON.parse(text) as ReturnType<typeof saidOf>[];
    expect(said.length).toBe(SERIES);
    const mine = all.map(saidOf);
    const other = mine.flatMap((own, k) =>
      JSON.stringify(own) === JSON.stringify(said[k]) ? [] : [[SEED + k, own, said[k]]],
    );
    expect(other).toEqual([]);
    expect(mine.filter(([begins]) => begins!.length > 0).length).toBeGreaterThan(SERIES / 10);
    expect(mine.filter(([, incidents]) => incidents!.length > 0).length).toBeGreaterThan(SERIES / 10);
  },
);
