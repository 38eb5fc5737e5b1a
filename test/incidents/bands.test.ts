import { describe, expect, it } from 'vitest';
import { exceedances, isFalling, noiseScale } from '../../src/judge/incidents/bands.ts';
import { medianOf } from '../../src/model/order-statistics.ts';
import { normals } from '../detectors/runs.ts';

describe('noiseScale', () => {
  it('sees the noise and not the trend', () => {
    const normal = normals(8);
    const values = Float64Array.from({ length: 5000 }, (_, i) => i + 0.3 * normal());
    expect(Math.abs(noiseScale(values, (value) => value) - 0.3)).toBeLessThan(0.03);
    for (const points of [0, 1, 2]) expect(noiseScale(new Float64Array(points).fill(3), Math.log)).toBe(0);
    expect(noiseScale(new Float64Array(9).fill(Number.NaN), Math.log)).toBe(0);
  });
});

describe('points that stand out', () => {
  const outOf = (values: readonly number[], scales = 6, ratio = 1.25): number[] =>
    exceedances(Float64Array.from(values), scales, ratio).map(({ index }) => index);
  const normal = normals(3);
  const noisy = Array.from({ length: 200 }, () => Math.exp(0.1 * normal()));

  it('lie above the median of the window before, which they are no part of', () => {
    expect(outOf([...noisy, 1.4])).toEqual([]);
    const [found] = exceedances(Float64Array.from([...noisy, 5]), 6, 1.25);
    expect(found?.index).toBe(200);
    expect(found?.before).toBeCloseTo(medianOf(noisy.slice(-40)), 4);
    expect(found?.scales).toBeGreaterThan(10);
    // A new level is a new normal.
    const raised = [...noisy, ...noisy.map((value) => 5 * value)];
    expect(outOf(raised).every((index) => index >= 200 && index < 225)).toBe(true);
    expect(outOf([...raised, 25]).at(-1)).toBe(400);
  });

  it('lie above the ratio too, not at it', () => {
    const last = (value: number): number[] => outOf([...new Array<number>(60).fill(8), value], 6, 1.5);
    expect(last(11.999)).toEqual([]);
    expect(last(12.001)).toEqual([60]);
  });

  it('are the same beside values without a logarithm, which join no window', () => {
    const odd = noisy.flatMap((value, i) => (i % 7 === 3 ? [value, Number.NaN, 0, -1] : [value]));
    expect(outOf([...odd, 5])).toEqual([odd.length]);
    expect(outOf(odd)).toEqual([]);
  });
});

describe('isFalling', () => {
  it('is a fall by more than three scales from end to end', () => {
    const wave = (slope: number): number[] =>
      Array.from({ length: 20 }, (_, i) => 0.1 * Math.sin(5 * i) - slope * i);
    expect(isFalling(wave(0))).toBe(false);
    expect(isFalling(wave(-1))).toBe(false);
    expect(isFalling(wave(1))).toBe(true);
  });
});
