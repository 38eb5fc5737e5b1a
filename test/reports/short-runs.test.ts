/** Whether a run of a few points learnt: the first line of its page, and what its third line says. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { normals } from '../detectors/runs.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const folder = scratchFolders('short-runs');

/** The page of a log with these losses. */
async function pageOf(losses: readonly number[], stepOf = (i: number): number => i): Promise<string> {
  const lines = losses.map(
    (loss, i) => `${JSON.stringify({ step: stepOf(i), loss: Number(loss.toPrecision(5)) })}\n`,
  );
  const path = join(folder(), 'log.jsonl');
  writeFileSync(path, lines.join(''));
  return (await cli(['analyze', path])).out;
}

/** So many losses about a level, with noise as a share of it. */
function losses(points: number, level: (share: number) => number, noise: number, seed: number): number[] {
  const normal = normals(seed);
  return Array.from({ length: points }, (_, i) => level(i / (points - 1)) * (1 + noise * normal()));
}

const FEW = [8, 12, 20, 45];

describe('a run of a few points', () => {
  it('that falls has learnt: evenly, or within its first points', async () => {
    for (const points of FEW) {
      expect(await pageOf(losses(points, (share) => 0.7 - 0.3 * share, 0.01, points))).toMatch(
        /^✓ HEALTHY[\s\S]* · learnt/,
      );
      const early = losses(points, (share) => 0.5 + 0.4 * Math.exp(-8 * share), 0.01, points);
      expect(await pageOf(early)).toMatch(/^✓ HEALTHY[\s\S]* · learnt/);
    }
  });
  it('that ends as high as it began gets no tick, whatever its noise', async () => {
    for (const points of FEW)
      expect(await pageOf(losses(points, () => 1, 0, 1))).toMatch(/^! STEADY, but the loss does not fall/);
  });
  it('that rises is not called steady, and not healthy', async () => {
    for (const points of FEW)
      for (const seed of [1, 2, 3]) {
        const page = await pageOf(losses(points, (share) => 1 + 0.3 * share, 0.01, seed));
        expect(page).toMatch(
          /^! (THE LOSS ENDS HIGHER THAN IT BEGAN {3}loss (0.9|1)\S* → 1\.[23]|SETTLED HIGHER|WENT UP)/,
        );
      }
  });
  it('that falls by no more than its noise keeps its tick, and the page says what is not shown', async () => {
    const noisy = [1.1, 0.9, 1.08, 0.93, 1.05, 0.88, 1.02, 0.9, 1.0, 0.87, 1.01, 0.86];
    const page = await pageOf(noisy);
    expect(page).toMatch(/^✓ HEALTHY[\s\S]* · learning not shown\./);
  });
  it('of which parts alone are logged has learnt where a part falls, and is open where it does not', async () => {
    const parts = async (end: number): Promise<string> => {
      const path = join(folder(), 'results.csv');
      const rows = losses(70, (share) => 1 - (1 - end) * share, 0.01, 5).map(
        (loss, epoch) => `${epoch},${loss},${loss / 2}`,
      );
      writeFileSync(path, `epoch,train/box_loss,train/cls_loss\n${rows.join('\n')}\n`);
      return (await cli(['analyze', path])).out;
    };
    expect(await parts(0.4)).toMatch(/^✓ HEALTHY[\s\S]* · learnt/);
    expect(await parts(1)).toMatch(/^✓ HEALTHY[\s\S]* · learning not shown/);
  });
  it('out of the middle of a training need not fall, and may', async () => {
    const falls = losses(12, (share) => 1 - 0.5 * share, 0.01, 3);
    expect(await pageOf(falls, (i) => 50_000 + 10 * i)).toMatch(/^✓ HEALTHY[\s\S]* · learnt/);
    const page = await pageOf(
      losses(12, () => 1, 0.01, 3),
      (i) => 50_000 + 10 * i,
    );
    expect(page).toMatch(/^✓ HEALTHY[\s\S]* · learning not shown\./);
  });
});

it('a rise that stays at a quarter more has not come back, however its noise crosses that line', async () => {
  for (const seed of [1, 2, 3, 4]) {
    const page = await pageOf(losses(150, (share) => 1 + 0.3 * share, 0.02, seed));
    expect(page).not.toMatch(/RECOVERED|back at/);
    expect(page).toMatch(/^! /);
  }
});
