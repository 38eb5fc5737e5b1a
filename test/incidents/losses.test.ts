import { describe, expect, it } from 'vitest';
import {
  earlierOf,
  endBeside,
  endLevel,
  judgeLosses,
  type LossBand,
  largestEndLevel,
  leftForGood,
  peakOf,
} from '../../src/judge/incidents/losses.ts';

const flat = (length: number, value = 1): number[] =>
  Array.from({ length }, (_, i) => value * (1 + 0.01 * Math.sin(i)));
const incidentOf = (losses: readonly number[], history?: readonly number[]) =>
  judgeLosses(losses, history).incident;

describe('incidents of losses', () => {
  it('begin at the first point outside of the band on the way up', () => {
    const losses = [...flat(30), 1.1, 1.2, 5, 7];
    expect(incidentOf(losses)!.onset).toBe(30);
    expect(incidentOf([...flat(40), 1.04])).toBeNull();
  });
  it('count history, but lie in the losses', () => {
    expect(incidentOf([9, 9], flat(50))!.onset).toBe(0);
    expect(incidentOf([9, 9])).toBeNull();
  });
  it('NaN and Infinity are incidents', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(incidentOf([...flat(30), bad])!.onset).toBe(30);
  });
  it('losses that can be negative are taken as they are', () => {
    expect(incidentOf([...flat(30, -5), -4.9, 3])!.onset).toBe(31);
  });
  it('a constant loss has a band of a quarter', () => {
    expect(judgeLosses(new Array(30).fill(2)).band.high).toBeCloseTo(2.5, 12);
  });
  it('nothing, one and two points', () => {
    for (const losses of [[], [1], [1, 100]]) expect(incidentOf(losses)).toBeNull();
  });
});

describe('the band', () => {
  it('is that before the incident; without one that at the end', () => {
    const { band, incident } = judgeLosses([...flat(40), ...flat(40, 9)]);
    expect(incident).toEqual({ class: 'full-divergence', onset: 40 });
    expect(band.median).toBeCloseTo(1, 1);
    expect(band.high).toBeGreaterThan(1.05);
    expect(band.high).toBeLessThan(1.25);
    const falls = Array.from({ length: 200 }, (_, i) => Math.exp(-i / 50));
    const end = judgeLosses(falls);
    expect(end.incident).toBeNull();
    expect(end.band.median).toBeGreaterThan(falls[199]!);
    expect(end.band.median).toBeLessThan(falls[180]!);
  });

  it('is unknown where fewer than five losses came before', () => {
    expect(judgeLosses([1, 1, 1, 1]).band).toEqual({ median: Number.NaN, high: Number.NaN });
    const { incident, band } = judgeLosses([Number.NaN, ...flat(40)]);
    expect([incident?.onset, band.high]).toEqual([0, Number.NaN]);
  });

  it('of several incidents is that of the worst', () => {
    const losses = [...flat(60), ...flat(3, 5), ...flat(60, 0.5), ...flat(140, 5)];
    const { incident, band } = judgeLosses(losses);
    expect(incident).toEqual({ class: 'full-divergence', onset: 123 });
    expect(band.median).toBeCloseTo(0.5, 1);
  });
});

describe('an incident of the history', () => {
  const spike = [...flat(40), ...flat(10, 9)];
  it.each([
    { name: 'goes on', losses: flat(60, 9), began: true },
    { name: 'ended right before', losses: flat(60), began: false },
    { name: 'ends a little later', losses: [...flat(3, 9), ...flat(60)], began: true },
  ])('that $name: $began', ({ losses, began }) => {
    expect(judgeLosses(losses, spike)).toMatchObject({ began, incident: null });
  });

  it('is none that begins with the first loss after it', () => {
    expect(judgeLosses(flat(120, 9), flat(40))).toMatchObject({
      began: false,
      incident: { class: 'full-divergence', onset: 0 },
    });
  });

  it('that settled at a new level is over', () => {
    const settled = [...flat(100), ...flat(150, 1.4)];
    expect(judgeLosses(flat(60, 1.4), settled)).toMatchObject({ began: false, incident: null });
  });
});

describe('the end', () => {
  const band: LossBand = { median: 1, high: 1.2 };
  const ends = (losses: readonly number[], of: LossBand = band) => endBeside(losses, judgeLosses(losses), of);

  it('is the median of the last ten losses, which all have to be finite', () => {
    expect(endLevel([100, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])).toBe(5.5);
    expect(endLevel([1, 2, 3])).toBe(2);
    expect(endLevel([Number.NaN, ...flat(10)])).toBeCloseTo(1, 1);
    expect(endLevel([...flat(9), Number.POSITIVE_INFINITY])).toBeNaN();
    expect(endLevel([])).toBeNaN();
  });

  it('is in the band up to its edge', () => {
    expect(ends(flat(50))).toBe('in-band');
    expect(ends(new Array(50).fill(1.2))).toBe('in-band');
    expect(ends([...flat(40), ...new Array(10).fill(1.3)])).toBe('out');
    expect(ends([...flat(45), ...flat(5, Number.NaN)])).toBe('out');
  });

  it('is slower where the run never came down to the band, and did not rise', () => {
    const slow = Array.from({ length: 80 }, (_, i) => 3 * Math.exp(-i / 100));
    expect(ends(slow)).toBe('slower');
    expect(ends(flat(80, 3))).toBe('slower');
    // Up by a twentieth is noise; by a tenth it has risen.
    expect(ends(flat(80, 3).map((loss, i) => loss * (1 + (0.04 * i) / 80)))).toBe('slower');
    expect(ends(flat(80, 3).map((loss, i) => loss * (1 + (0.12 * i) / 80)))).toBe('out');
    // It was in the band and left it.
    expect(ends([...slow.slice(0, 40), ...flat(12), ...flat(28, 1.22)])).toBe('out');
    // At its edge it was in the band.
    expect(ends([...new Array(20).fill(1.2), ...new Array(20).fill(1.24)])).toBe('out');
    // An incident of its own that is not over.
    expect(ends([...flat(60, 3), ...flat(20, 12)])).toBe('out');
    expect(ends([...flat(60, 3), ...flat(3, 12), ...flat(37, 3)])).toBe('slower');
    expect(ends(flat(80, -3), { median: -5, high: -4 })).toBe('slower');
  });

  it('without a band is that of the run’s own incident', () => {
    const unknown: LossBand = { median: Number.NaN, high: Number.NaN };
    expect(ends(flat(60), unknown)).toBe('in-band');
    expect(ends([...flat(40), ...flat(20, 9)], unknown)).toBe('out');
    expect(ends([...flat(40), ...flat(3, 9), ...flat(30)], unknown)).toBe('in-band');
    expect(ends([...flat(40), Number.NaN], unknown)).toBe('out');
  });
});

it('where losses leave the band for good: after the last that is in it', () => {
  const band: LossBand = { median: 1, high: 1.2 };
  expect(leftForGood([1, 2, 1.2, 2, Number.NaN], band)).toBe(3);
  expect(leftForGood([1, 2, 1], band)).toBe(3);
  expect(leftForGood([2, 2], band)).toBe(0);
  expect(leftForGood([], band)).toBe(0);
});

it('the peak counts from the incident on', () => {
  const band: LossBand = { median: 2, high: 3 };
  expect(peakOf([50, 2, 8, 4], 1, band)).toBe(4);
  expect(peakOf([2, 8, Number.NaN], 1, band)).toBe(Number.POSITIVE_INFINITY);
  expect(peakOf([Number.NaN, 8], 1, band)).toBe(4);
  expect(peakOf([2, 2], null, band)).toBeNull();
});

it('the earlier of two onsets', () => {
  const at = (onset: number) => ({ class: 'drift' as const, onset });
  expect([
    earlierOf(at(3), at(5)),
    earlierOf(at(5), at(3)),
    earlierOf(at(0), null),
    earlierOf(null, at(7)),
  ]).toEqual([3, 3, 0, 7]);
  expect(earlierOf(null, null)).toBeNull();
});

describe('the largest level that an end may have', () => {
  const flatAt = (count: number, value: number): number[] => new Array<number>(count).fill(value);
  it('is a twentieth above where losses do not move, in either sign', () => {
    expect(largestEndLevel(flatAt(50, 2))).toBeCloseTo(2.1, 12);
    expect(largestEndLevel(flatAt(50, -2))).toBeCloseTo(-1.9, 12);
    expect(largestEndLevel(flatAt(50, 0))).toBe(0);
  });
  it('is six scales above the median of the levels, where they differ by more', () => {
    const losses = Array.from({ length: 60 }, (_, i) => 10 + 3 * Math.sin(i / 4));
    const median = (of: readonly number[]): number => {
      const sorted = [...of].sort((a, b) => a - b);
      return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.floor(sorted.length / 2)]!) / 2;
    };
    const levels = Array.from({ length: 51 }, (_, i) => median(losses.slice(i, i + 10)));
    const center = median(levels);
    const scale = 1.4826 * median(levels.map((level) => Math.abs(level - center)));
    expect(6 * scale).toBeGreaterThan(0.05 * center);
    expect(largestEndLevel(losses)).toBeCloseTo(center + 6 * scale, 9);
  });
  it('is that of the latest hundred levels, without those that have a loss that is not finite', () => {
    expect(largestEndLevel([...flatAt(200, 9), ...flatAt(109, 2)])).toBeCloseTo(2.1, 12);
    expect(largestEndLevel([...flatAt(30, 2), Number.NaN, ...flatAt(30, 2)])).toBeCloseTo(2.1, 12);
  });
  it('is unknown of fewer than two dozen losses', () => {
    expect(largestEndLevel(flatAt(23, 2))).toBeNaN();
    expect(largestEndLevel(flatAt(24, 2))).toBeCloseTo(2.1, 12);
  });
});
