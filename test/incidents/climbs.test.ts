/** Climbs: a loss that ends far above its best level without a jump, by more than its noise does, and is not on its way back. */
import { describe, expect, it } from 'vitest';
import { judgePoints } from '../../src/judge/incidents/judge.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { normals } from '../detectors/runs.ts';

const judge = (values: readonly number[]) =>
  judgePoints(Float64Array.from(values), DEFAULT_VERDICT_SETTINGS).incidents;
const noisy = (points: number, noise: number, seed: number, log: (i: number) => number): number[] => {
  const normal = normals(seed);
  return Array.from({ length: points }, (_, i) => Math.exp(log(i) + noise * normal()));
};

describe('a slow climb that becomes a jump', () => {
  it('is not back at the step at which it left its band', () => {
    let jumps = 0;
    for (let seed = 1; seed <= 40; seed++) {
      // Out of the band for dozens of points before one of them is far enough above it.
      const values = noisy(4000, 0.008, seed, (i) =>
        Math.min(1.5, Math.max(0, (i - 1500) / (100 + 10 * seed))),
      );
      for (const { form, onset, recovered, peak } of judge(values)) {
        if (form !== 'jump') continue;
        jumps++;
        expect(recovered ?? Number.POSITIVE_INFINITY, `seed ${seed}`).toBeGreaterThan(onset);
        expect(peak, `seed ${seed}`).toBeGreaterThanOrEqual(onset);
      }
    }
    expect(jumps).toBeGreaterThan(20);
  });
});

describe('a climb', () => {
  it.each([
    { regained: 0, form: 'climb' },
    { regained: 0.25, form: 'climb' },
    // More than a third of it within the last quarter: the loss is on its way back.
    { regained: 0.4, form: null },
    { regained: 0.6, form: null },
  ])('of which $regained are regained at the end is $form', ({ regained, form }) => {
    // Flat, up by e^1.5 from 400 to 800, and down by a share of it from 850 on.
    const height = 1.5;
    const values = noisy(1000, 0.01, 3, (i) =>
      i < 400
        ? 0
        : i < 800
          ? (height * (i - 400)) / 400
          : height - (i < 850 ? 0 : Math.min(1, (i - 850) / 100)) * regained * height,
    );
    const incidents = judge(values);
    expect(incidents.map((one) => one.form)).toEqual(form === null ? [] : [form]);
    if (form !== null) expect(Math.abs(incidents[0]!.onset - 400)).toBeLessThanOrEqual(30);
  });

  it('is none in noise alone, however large: its levels differ by chance', () => {
    for (let seed = 1; seed <= 100; seed++)
      for (const points of [200, 1000])
        expect(judge(noisy(points, 0.5, seed, () => 0)).filter(({ form }) => form === 'climb')).toEqual([]);
  });

  it('is none in a short run for one low point alone, and one for three', () => {
    const short = (low: number) => noisy(60, 0.05, 5, (i) => (i >= 30 && i < 30 + low ? Math.log(0.4) : 0));
    expect(judge(short(1))).toEqual([]);
    expect(judge(short(6))).toMatchObject([{ form: 'climb', class: 'drift' }]);
  });

  it('takes twenty points at least', () => {
    // By a little more than half from the first to the last, too slowly for a jump.
    const rising = (points: number) =>
      judge(Array.from({ length: points }, (_, i) => 1 + (0.6 * i) / (points - 1)));
    expect(rising(19)).toEqual([]);
    expect(rising(20)).toMatchObject([{ form: 'climb', class: 'drift' }]);
  });

  it('begins after the last loss that is in the band, its edge included', () => {
    // Exactly on the edge (5 % above the best level) for 200 points, then up.
    const values = Array.from({ length: 1000 }, (_, i) =>
      i < 600 ? 1 : i < 800 ? 1.05 : 1.05 * Math.exp((i - 799) / 250),
    );
    expect(judge(values)).toMatchObject([{ form: 'climb', onset: 800, lastGood: 799 }]);
  });
});

describe('a climb that is still in the window of an incident where the log ends', () => {
  const SIZES = [120, 200, 300, 390];
  const NOISES = [0.005, 0.01, 0.05];
  const classes = (points: number, noise: number, log: (t: number) => number): string[] =>
    [1, 2, 3, 4, 5].flatMap((seed) =>
      judge(noisy(points, noise, seed, (i) => log(i / points))).map((one) => one.class),
    );

  it('to four times over the last half is told from where it began, and not open', () => {
    for (const points of SIZES)
      for (const noise of NOISES)
        for (const log of [
          (t: number) => Math.log(1 + 6 * Math.max(0, t - 0.5)),
          (t: number) => Math.log(4) * 2 * Math.max(0, t - 0.5),
        ])
          for (const seed of [1, 2, 3, 4, 5]) {
            const incidents = judge(noisy(points, noise, seed, (i) => log(i / points)));
            expect(incidents, `${points} points, noise ${noise}`).toHaveLength(1);
            // Where the band was left soon enough, a quarter of the run lies above twice the level.
            expect(incidents[0]!.class).toMatch(/^(?:drift|full-divergence)$/);
            expect(Math.abs(incidents[0]!.onset / points - 0.5)).toBeLessThan(0.08);
          }
  });

  it.each([
    // Up to four times in a tenth of the run, and down to below the start.
    [
      'a warm-up',
      (t: number) => (t < 0.1 ? Math.log(1 + 30 * t) : Math.log(0.5 + 3.5 * Math.exp(-8 * (t - 0.1)))),
    ],
    ['the sawtooth of a schedule', (t: number) => Math.log(1 + 0.2 * ((8 * t) % 1))],
    ['harder data in between', (t: number) => Math.log(1 + 0.5 * Math.max(0, 1 - Math.abs(t - 0.5) * 4))],
  ])('%s is neither drift nor lost', (_, log) => {
    for (const points of SIZES)
      for (const noise of NOISES)
        expect(classes(points, noise, log), `${points} points, noise ${noise}`).not.toEqual(
          expect.arrayContaining([expect.stringMatching(/drift|full/)]),
        );
  });

  it('one that stays where it jumped for a quarter of the run is lost, and open before that', () => {
    const jumpAt = (from: number) => (t: number) => (t < from ? 0 : Math.log(3));
    for (const points of [100, 160, 200, 300]) {
      expect(new Set(classes(points, 0.01, jumpAt(0.7)))).toEqual(new Set(['full-divergence']));
      expect(new Set(classes(points, 0.01, jumpAt(0.8)))).toEqual(new Set(['inconclusive']));
    }
  });

  it('one that jumped and comes down fast enough for its window is open', () => {
    const down = (t: number) => (t < 0.7 ? 0 : Math.log(1 + 3 * Math.exp(-3 * (t - 0.7))));
    for (const points of [120, 150, 200])
      expect(new Set(classes(points, 0.01, down))).toEqual(new Set(['inconclusive']));
  });
});

it('a climb begins no later than the last points, whose level tells it', () => {
  let climbs = 0;
  for (let seed = 1; seed <= 300; seed++) {
    // So noisy, and up for so few points, that the point of change may seem to be the last one.
    const values = noisy(300, 0.5, seed, (i) => (i < 250 ? -3 * (i / 250) : -3 + (0.8 * (i - 250)) / 50));
    for (const { form, onset, lastGood } of judge(values)) {
      if (form !== 'climb') continue;
      climbs++;
      expect(onset, `seed ${seed}`).toBeLessThanOrEqual(285);
      expect(lastGood, `seed ${seed}`).toBeLessThan(onset);
    }
  }
  expect(climbs).toBeGreaterThan(5);
});
