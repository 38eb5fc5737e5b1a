/** The judge of losses as they come, which sees no future: it begins incidents where judging all of them anew does. */
import { describe, expect, it } from 'vitest';
import { lossStream } from '../../src/judge/incidents/stream.ts';
import { normals, seeded } from '../detectors/runs.ts';
import { streamed } from './cases.ts';
import { judgePoints } from './judged.ts';

describe('losses as they come', () => {
  /** Positions at which judging the losses so far anew shows an incident that the newest one is part of, and had not before. */
  function judgedAnew(losses: readonly number[]): readonly number[] {
    let within = false;
    return losses.flatMap((_, i) => {
      const { incidents } = judgePoints(Float64Array.from(losses.slice(0, i + 1)));
      const last = incidents.at(-1);
      const was = within;
      within = last !== undefined && last.end === i + 1;
      return within && !was ? [i] : [];
    });
  }

  it('begin an incident where judging all of them anew does', () => {
    let begun = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const random = seeded(seed);
      const normal = normals(seed + 1000);
      const points = 20 + Math.floor(120 * random());
      const fall = 3 * random();
      const noise = 0.2 * random() ** 2;
      const at = Math.floor(points * (0.3 + 0.6 * random()));
      const ratio = random() < 0.3 ? Number.NaN : 1.2 * 20 ** random();
      const losses = Array.from(
        { length: points },
        (_, i) => Math.exp((-fall * i) / points + noise * normal()) * (i < at ? 1 : ratio),
      );
      const [first] = judgedAnew(losses);
      const begins = streamed(losses, lossStream()).map(([newest]) => newest);
      expect(begins[0], `seed ${seed}`).toBe(first);
      if (first !== undefined) begun++;
    }
    expect(begun).toBeGreaterThan(80);
  });

  it('of both signs begin one there too: from the first at or below zero on all are judged by their values', () => {
    let begun = 0;
    for (let seed = 1; seed <= 30; seed++) {
      const random = seeded(seed);
      const normal = normals(seed + 2000);
      const points = 60 + Math.floor(60 * random());
      const at = Math.floor(points * (0.6 + 0.3 * random()));
      // From 1 to −1, and up by a few times that.
      const losses = Array.from(
        { length: points },
        (_, i) => 1 - (2 * i) / points + 0.02 * normal() + (i < at ? 0 : 4 + 4 * random()),
      );
      const judged = judgedAnew(losses);
      expect(
        streamed(losses, lossStream()).map(([newest]) => newest),
        `seed ${seed}`,
      ).toEqual(judged);
      begun += judged.length;
    }
    expect(begun).toBeGreaterThan(20);
  });

  it('of a loss that fell to exactly 0 begin above the rounding of its first level, wherever its first zero lies', () => {
    const random = seeded(7);
    const learnt = Array.from({ length: 500 }, (_, i) =>
      i < 300 ? Math.exp(-i / 15) : random() < 0.8 ? 0 : 1e-9 * random(),
    );
    for (const zero of [30, null])
      for (const scale of [1, 1e-8]) {
        const losses = [...learnt, 0.5, 0].map((loss, i) => (i === zero ? 0 : scale * loss));
        expect([zero, scale, ...streamed(losses, lossStream())]).toEqual([zero, scale, [500, 500]]);
        const { incidents } = judgePoints(Float64Array.from(losses));
        expect(incidents.map(({ onset }) => onset)).toEqual([500]);
      }
  });

  /** Falls to 0.4 with noise of 45 %, and is at `factor` times that from point 300 on. */
  const underNoise = (seed: number, factor: number): readonly number[] => {
    const normal = normals(seed);
    return Array.from(
      { length: 500 },
      (_, i) => (0.4 + 1.9 * Math.exp(-i / 30)) * (i < 300 ? 1 : factor) * Math.exp(0.45 * normal()),
    );
  };

  it.each([3, 6, 12, 30])('at 45 % noise, × %i that stays begins one, and no loss before it', (factor) => {
    for (let seed = 1; seed <= 20; seed++) {
      const begins = streamed(underNoise(seed, factor), lossStream()).map(([newest]) => newest);
      const late = 10 + (factor === 3 ? 60 : 10);
      expect(begins[0], `seed ${seed}`).toBeGreaterThanOrEqual(300);
      expect(begins[0], `seed ${seed}`).toBeLessThan(300 + late);
    }
  });

  it('at 45 % noise × 2 that stays begins one in more than half of the runs, and noise alone none', () => {
    const seeds = Array.from({ length: 20 }, (_, k) => k + 1);
    const found = seeds.filter((seed) => streamed(underNoise(seed, 2), lossStream()).length > 0);
    expect(found.length).toBeGreaterThan(10);
    for (const seed of seeds) expect(streamed(underNoise(seed, 1), lossStream())).toEqual([]);
  });

  it('five times the level at step 60, on the way down, begins one', () => {
    const smooth = Array.from({ length: 61 }, (_, i) => Math.exp(-i / 30) * (i < 60 ? 1 : 5));
    expect(streamed(smooth, lossStream())).toEqual([[60, 60]]);
  });

  it('go on for as long as a training does', () => {
    const normal = normals(3);
    const stream = lossStream();
    const begins: number[] = [];
    for (let i = 0; i < 30_000; i++) {
      const level = i >= 12_000 && i < 12_050 ? 4 : i >= 25_000 ? 4 : 1;
      if (stream.add(level * Math.exp(0.05 * normal()))?.begins === true) begins.push(i);
    }
    expect(begins).toEqual([12_000, 25_000]);
    // From the first loss at or below zero on, values are judged: −0.5 is no jump, and 6 is one.
    expect(stream.add(-0.5)?.begins ?? false).toBe(false);
    for (let i = 0; i < 200; i++) expect(stream.add(Math.exp(0.05 * normal()))?.begins ?? false).toBe(false);
    expect(stream.add(60)?.begins).toBe(true);
  });
});
