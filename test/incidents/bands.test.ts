import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  exceedances,
  LINEAR_SCALE,
  LOG_SCALE,
  noiseScale,
  type RollingBand,
  rollingBand,
  scaleOf,
  windowFor,
} from '../../src/judge/incidents/bands.ts';
import { rankedWindow } from '../../src/judge/incidents/ranked-window.ts';
import { DEFAULT_VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import { normals } from '../detectors/runs.ts';

/** By definition: sort, take the middle. */
const sortedMedian = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? sorted[middle]!
    : sorted[middle - 1]! + (sorted[middle]! - sorted[middle - 1]!) / 2;
};

/** Thousandths, whose differences are exact enough to compare; losses most of which are equal; and steps of 8, whose quartered
 * deviations are whole numbers: they lie on the very edge of where a median is looked for. */
const series = fc.oneof(
  ...[
    fc.integer({ min: -5000, max: 5000 }).map((value) => value / 1000),
    fc.constantFrom(0, 0, 0, 0, 1, 5),
    fc.integer({ min: -5, max: 5 }).map((value) => 8 * value),
  ].map((value) => fc.array(value, { minLength: 1, maxLength: 60 })),
);

describe('rankedWindow', () => {
  it('has the medians of the window, of its end and of the halves of both, and that of the distances from a point', () => {
    fc.assert(
      fc.property(series, fc.integer({ min: 2, max: 40 }), fc.integer(), (values, size, shift) => {
        const window = rankedWindow(size);
        const halves = { older: 0, newer: 0 };
        values.forEach((value, i) => {
          if (i >= size) window.remove(i % size);
          window.add(value, i % size);
          const last = values.slice(Math.max(0, i + 1 - size), i + 1);
          expect(window.median()).toBe(sortedMedian(last));
          expect(window.least()).toBe(Math.min(...last));
          const center = window.median() + (shift % 3);
          expect(window.deviation(center)).toBe(sortedMedian(last.map((one) => Math.abs(one - center))));
          if (last.length < 2) return;
          const oldest = Math.max(0, i + 1 - size) % size;
          const half = last.length >> 1;
          window.halves(oldest, 0, half, last.length - half, halves);
          expect(halves.older).toBe(sortedMedian(last.slice(0, half)));
          expect(halves.newer).toBe(sortedMedian(last.slice(-half)));
          const from = Math.abs(shift % half);
          const quarter = (last.length - from) >> 1;
          window.halves(oldest, from, quarter, from + quarter, halves);
          expect(halves.older).toBe(sortedMedian(last.slice(from, from + quarter)));
          expect(halves.newer).toBe(sortedMedian(last.slice(from + quarter, from + 2 * quarter)));
          expect(window.medianSince(oldest, from)).toBe(sortedMedian(last.slice(from)));
        });
      }),
      { numRuns: 500 },
    );
  });
});

describe('rollingBand', () => {
  it('is the median of the last points and 1.4826·MAD about the line through the halves, if it falls', () => {
    fc.assert(
      fc.property(series, fc.integer({ min: 1, max: 16 }), (values, size) => {
        const band = rollingBand(size, 0);
        values.forEach((value, i) => {
          band.push(value);
          const last = values.slice(Math.max(0, i + 1 - size), i + 1);
          const center = sortedMedian(last);
          const half = last.length >> 1;
          const fall =
            half === 0
              ? 0
              : Math.min(0, sortedMedian(last.slice(-half)) - sortedMedian(last.slice(0, half))) /
                (last.length - half);
          const middle = (last.length - 1) / 2;
          const deviations = last.map((entry, k) => Math.abs(entry - center - fall * (k - middle)));
          const mad = sortedMedian(deviations);
          const mean = deviations.reduce((sum, entry) => sum + entry, 0) / deviations.length;
          const scale = mad > 0 ? 1.4826 * mad : 1.2533 * mean;
          expect(band.scale).toBeCloseTo(scale, 6);
          // In a fast fall the center is where the last points are, and never above the median.
          if (fall * last.length >= -3 * scale) expect(band.center).toBeCloseTo(center, 9);
          else expect(band.center).toBeLessThanOrEqual(center);
        });
      }),
      { numRuns: 2000 },
    );
  });

  it('has in its tails the height that one point in twenty reaches, three at least, above the six around it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 20, maxLength: 200 }),
        fc.integer({ min: 20, max: 60 }),
        (values, size) => {
          const band = rollingBand(size, 0);
          values.forEach((value, i) => {
            band.push(value);
            const last = values.slice(Math.max(0, i + 1 - size), i + 1);
            const heights = last
              .slice(3, -3)
              .map((one, k) => one - sortedMedian([...last.slice(k, k + 3), ...last.slice(k + 4, k + 7)]));
            const rank = Math.max(3, Math.ceil(heights.length / 20));
            const tall = heights.sort((a, b) => b - a)[rank - 1]!;
            expect(band.tails).toBeCloseTo(last.length < 20 ? 0 : Math.max(0, tall), 9);
          });
        },
      ),
      { numRuns: 200 },
    );
    // Of the 94 points judged in a window of 100, five stand out: one in twenty, not one in forty.
    const wide = rollingBand(100, 0);
    for (let i = 0; i < 100; i++) wide.push(i % 18 === 7 ? 10 + i : 0);
    expect(wide.tails).toBe(17);
  });

  it('is, once cleared, as a new one', () => {
    const look = ({ points, center, scale, tails }: RollingBand) => ({ points, center, scale, tails });
    fc.assert(
      fc.property(series, series, fc.integer({ min: 5, max: 40 }), (before, values, size) => {
        const [used, fresh] = [rollingBand(size, 0), rollingBand(size, 0)];
        for (const value of [...before, ...before]) {
          used.push(value - 50 * before.length);
          look(used);
        }
        used.clear();
        for (const [i, value] of values.entries()) {
          // A steep fall too, whose center is that of the last points.
          for (const band of [used, fresh]) band.push(value - (size % 2) * 20 * i);
          expect(look(used)).toEqual(look(fresh));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('estimates σ of Gaussian noise, and one in five spikes hardly move it', () => {
    const normal = normals(7);
    const band = rollingBand(1000, 0);
    for (let i = 0; i < 1000; i++) band.push(i % 5 === 0 ? 1e9 : 3 + 0.5 * normal());
    expect(Math.abs(band.center - 3)).toBeLessThan(0.2);
    expect(band.scale).toBeGreaterThan(0.4);
    expect(band.scale).toBeLessThan(0.8);
  });

  it('follows a fast fall: the center is the median of the last 16 points, not of the window', () => {
    const band = rollingBand(100, 0);
    for (let i = 0; i < 100; i++) band.push(-i);
    expect(band.center).toBeLessThan(-88);
    expect(band.center).toBeGreaterThan(-94);
    for (let i = 0; i < 100; i++) band.push(i);
    expect(band.center).toBeGreaterThan(45);
  });

  it('has the scale of the last points of a fall that bends, and of the window where it is a line', () => {
    const bent = rollingBand(50, 0);
    for (let i = 0; i < 50; i++) bent.push(5 * Math.exp(-i / 10) + 0.01 * (i % 2 === 0 ? 1 : -1));
    expect(bent.scale).toBeLessThan(0.1);
    const line = rollingBand(50, 0);
    for (let i = 0; i < 50; i++) line.push(-i + (i % 2 === 0 ? 1 : -1));
    expect(line.scale).toBeCloseTo(1.4826, 0);
  });

  it('has tails where one point in ten is high again and again, and none where the noise is even', () => {
    const normal = normals(4);
    const [mixed, even] = [rollingBand(100, 0), rollingBand(100, 0)];
    for (let i = 0; i < 100; i++) {
      mixed.push(0.1 * normal() + (i % 10 === 0 ? 5 : 0));
      even.push(0.1 * normal());
    }
    expect(mixed.tails).toBeGreaterThan(4.5);
    expect(even.tails).toBeLessThan(0.3);
    expect(rollingBand(100, 0).tails).toBe(0);
  });

  it.each([
    { scales: 2, center: 'the median of the window' },
    { scales: 4, center: 'the median of the last 16 points' },
  ])('a fall by $scales scales from end to end has its center in $center', ({ scales }) => {
    const points = 100;
    // ±1 about a line: a robust scale of 1.4826.
    const slope = (-scales * 1.4826) / (points - 1);
    const values = Array.from({ length: points }, (_, i) => slope * i + (i % 2 === 0 ? 1 : -1));
    const band = rollingBand(points, 0);
    for (const value of values) band.push(value);
    expect(band.scale).toBeCloseTo(1.4826, 1);
    expect(band.center).toBe(sortedMedian(scales > 3 ? values.slice(-16) : values));
  });

  it('widens the scale by 1 + smallSample/points: by the points that are there, not by those that there is room for', () => {
    const normal = normals(12);
    const [plain, wide] = [rollingBand(50, 0), rollingBand(50, 4)];
    for (let points = 1; points <= 80; points++) {
      const value = normal();
      plain.push(value);
      wide.push(value);
      if (points > 1) expect(wide.scale / plain.scale).toBeCloseTo(1 + 4 / Math.min(points, 50), 9);
    }
  });

  it('resized, it is the band of so many of the last points', () => {
    const normal = normals(13);
    const growing = rollingBand(60, 4);
    const values = Array.from({ length: 200 }, (_, i) => normal() - i / 20);
    for (const [i, value] of values.entries()) {
      growing.push(value);
      const size = Math.min(60, 10 + (i >> 1));
      growing.resize(size);
      const fixed = rollingBand(size, 4);
      for (const before of values.slice(0, i + 1)) fixed.push(before);
      expect([growing.points, growing.scale]).toEqual([fixed.points, fixed.scale]);
    }
  });

  it('forgets', () => {
    const band = rollingBand(10, 0);
    band.push(5);
    band.clear();
    expect(band.points).toBe(0);
    band.push(7);
    expect(band.center).toBe(7);
  });
});

describe('noiseScale', () => {
  it('sees the noise and not the trend', () => {
    const normal = normals(8);
    const values = Float64Array.from({ length: 5000 }, (_, i) => i + 0.3 * normal());
    expect(Math.abs(noiseScale(values, (value) => value) - 0.3)).toBeLessThan(0.03);
    for (const points of [0, 1, 2]) expect(noiseScale(new Float64Array(points).fill(3), Math.log)).toBe(0);
    expect(noiseScale(new Float64Array(9).fill(Number.NaN), Math.log)).toBe(0);
  });
});

it('noiseScale looks at all pairs of neighbours, of more than 20,000 at so many evenly spaced ones', () => {
  const looked = (points: number): number[] => {
    const seen: number[] = [];
    noiseScale(
      Float64Array.from({ length: points }, (_, i) => i),
      (value) => {
        seen.push(value);
        return value;
      },
    );
    return seen.filter((_, i) => i % 2 === 1);
  };
  expect(looked(5)).toEqual([0, 1, 2, 3]);
  expect(looked(20_001)).toEqual(Array.from({ length: 20_000 }, (_, i) => i));
  expect(looked(100_001)).toEqual(Array.from({ length: 20_000 }, (_, i) => 5 * i));
});

describe('exceedances', () => {
  it('does not let a spike hide itself', () => {
    const normal = normals(9);
    const values = Float64Array.from({ length: 200 }, () => normal() - 1);
    values[150] = 30;
    values[160] = Number.NaN;
    expect(
      exceedances(values, scaleOf(values), DEFAULT_VERDICT_SETTINGS, 8, 1.25).map(({ index }) => index),
    ).toEqual([150]);
  });
  it('are those of a band that is asked at every point', () => {
    let some = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const normal = normals(seed);
      const values = Float64Array.from({ length: 20 + ((seed * 7) % 300) }, (_, i) =>
        i % 31 === 30
          ? Number.NaN
          : Math.exp(0.3 * normal() + (Math.abs(normal()) > 2 ? 3 : 0) + ((seed % 3) * i) / 200),
      );
      const { size, start } = windowFor(values.length, DEFAULT_VERDICT_SETTINGS);
      const band = rollingBand(size, DEFAULT_VERDICT_SETTINGS.smallSample);
      const expected: number[] = [];
      for (const [i, value] of values.entries()) {
        const y = Math.log(value);
        if (Number.isNaN(y)) continue;
        if (band.points >= start) {
          const { center, scale } = band;
          if (y > center + 6 * scale && y > center + Math.log(2)) expected.push(i);
        }
        band.push(y);
      }
      const found = exceedances(values, LOG_SCALE, DEFAULT_VERDICT_SETTINGS, 6, 2);
      expect([seed, found.map(({ index }) => index)]).toEqual([seed, expected]);
      some += expected.length;
    }
    expect(some).toBeGreaterThan(300);
  });
});

describe('the scale of differences', () => {
  it('has ratios of the center, or of eight scales of the noise: one level above it is twice it', () => {
    expect(LINEAR_SCALE.ratioOf(5, 5, 0.1)).toBe(1);
    expect(LINEAR_SCALE.ratioOf(5, 10, 0.1)).toBe(2);
    expect(LINEAR_SCALE.ratioOf(-5, 10, 0.1)).toBe(4);
    expect(LINEAR_SCALE.ratioOf(0, 3.2, 0.2)).toBe(3);
    fc.assert(
      fc.property(
        fc.double({ min: -100, max: 100, noNaN: true }),
        fc.double({ min: 1.1, max: 50, noNaN: true }),
        fc.double({ min: 1e-3, max: 10, noNaN: true }),
        (center, ratio, noise) => {
          const y = LINEAR_SCALE.above(center, ratio, noise);
          expect(LINEAR_SCALE.ratioOf(center, y, noise)).toBeCloseTo(ratio, 6);
        },
      ),
    );
  });
});

describe('points that stand out', () => {
  const normal = normals(3);
  const noisy = Array.from({ length: 120 }, () => 2 + 0.3 * normal());
  const outOf = (values: readonly number[]) =>
    exceedances(Float64Array.from(values), LINEAR_SCALE, DEFAULT_VERDICT_SETTINGS, 6, 1.1);

  it('lie so many scales above the median of those before, however large they are beside it', () => {
    expect(outOf([...noisy, 3.2])).toEqual([]);
    const [found] = outOf([...noisy, 5]);
    expect(found?.index).toBe(120);
    expect(found?.before).toBeCloseTo(2, 0);
    expect(found?.scales).toBeGreaterThan(3 / 0.4);
    expect(found?.scales).toBeLessThan(3 / 0.2);
  });

  it('lie above the ratio too, not at it', () => {
    const last = (value: number) =>
      exceedances(
        Float64Array.of(...new Array<number>(60).fill(8), value),
        LINEAR_SCALE,
        DEFAULT_VERDICT_SETTINGS,
        6,
        1.5,
      ).map(({ index }) => index);
    expect(last(12)).toEqual([]);
    expect(last(12.001)).toEqual([60]);
  });

  it('are the same beside values that are not finite, which join no window', () => {
    const odd = noisy.flatMap((value, i) =>
      i % 7 === 3 ? [value, Number.NaN, Number.POSITIVE_INFINITY] : [value],
    );
    const [found] = outOf([...odd, 5]);
    expect(found?.index).toBe(odd.length);
    expect(found?.scales).toBeCloseTo(outOf([...noisy, 5])[0]!.scales, 1);
    expect(outOf(odd)).toEqual([]);
  });
});
