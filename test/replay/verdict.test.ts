import { describe, expect, it } from 'vitest';
import {
  bandOf,
  findIncident,
  incidentUpdates,
  judgeClosedLoop,
  judgeEstimate,
} from '../../src/replay/verdict.ts';

const flat = (length: number, value = 1): number[] =>
  Array.from({ length }, (_, i) => value * (1 + 0.01 * Math.sin(i)));
const steps = (length: number): number[] => Array.from({ length }, (_, i) => 100 + i);

describe('incidents', () => {
  it('begin at the first point outside of the band on the way up', () => {
    const losses = [...flat(30), 1.1, 1.2, 5, 7];
    expect(findIncident(losses)!.onset).toBe(30);
    expect(findIncident([...flat(40), 1.04])).toBeNull();
  });
  it('count history, but lie in the losses', () => {
    expect(findIncident([9, 9], flat(50))!.onset).toBe(0);
    expect(findIncident([9, 9])).toBeNull();
  });
  it('NaN and Infinity are incidents', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(findIncident([...flat(30), bad])!.onset).toBe(30);
  });
  it('losses that can be negative are taken as they are', () => {
    expect(findIncident([...flat(30, -5), -4.9, 3])!.onset).toBe(31);
  });
  it('a constant loss has a band of 5 %', () => {
    expect(bandOf(new Array(30).fill(2)).high).toBeCloseTo(2.1, 12);
  });
  it('nothing, one and two points', () => {
    for (const losses of [[], [1], [1, 100]]) expect(findIncident(losses)).toBeNull();
  });
});

describe('closed loop', () => {
  const calm = flat(70);
  const gone = [...flat(30), ...flat(40, 10)];
  const jumps = [...flat(30), 10, 20, ...flat(38)];
  const judge = (losses: number[], baseline: number[]) =>
    judgeClosedLoop(losses, baseline, steps(70)).verdict;
  it.each([
    ['calm under a run that went', calm, gone, 'prevented'],
    ['a jump and back under a run that went', jumps, gone, 'prevented'],
    ['gone as well', gone, gone, 'not-prevented'],
    ['gone 15 steps later', [...flat(45), ...flat(25, 10)], gone, 'delayed'],
    ['calm, nothing to prevent', calm, calm, 'not-needed'],
    ['gone, nothing to prevent', gone, calm, 'harmful'],
    ['calm under a run that came back', calm, jumps, 'prevented'],
    ['came back as well', jumps, jumps, 'not-prevented'],
    ['gone under a run that came back', gone, jumps, 'harmful'],
    ['NaN at the end', [...flat(50), ...new Array(20).fill(Number.NaN)], calm, 'harmful'],
  ] as [string, number[], number[], string][])('%s: %s', (_name, losses, baseline, verdict) => {
    expect(judge(losses, baseline)).toBe(verdict);
  });
  it('too few steps after the onset tell nothing', () => {
    const short = gone.slice(0, 45);
    expect(judgeClosedLoop(flat(45), short, steps(45)).verdict).toBe('cannot-tell');
  });
  it('the peak is told', () => {
    expect(judgeClosedLoop(jumps, gone, steps(70)).peak).toBeCloseTo(20, 0);
  });
});

describe('estimates', () => {
  const unclipped = [1, 1.1, 0.9, 1, 1, 5, 9];
  const incident = { onset: 6, band: bandOf(flat(30)) };
  const judge = (updateNorm: number[], firstChanged: number | null, norms = unclipped) =>
    judgeEstimate({
      steps: steps(7),
      incident,
      firstChanged,
      updateNorm,
      unclipped: norms,
      learningRateMultiplier: 1,
    });
  it('the incident’s updates are those above twice the median before', () => {
    expect(incidentUpdates(unclipped, 6)).toEqual({ first: 5, last: 6, usual: 1 });
    expect(incidentUpdates([1, 1, 9], 2)).toBeNull();
    expect(incidentUpdates(flat(7), 6)).toBeNull();
  });
  it('changing nothing is exact', () => {
    expect(judge(unclipped, null)).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
    expect(judge(unclipped, 7)).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
  });
  it('held at twice the usual is prevented, anything else cannot be told', () => {
    expect(judge([1, 1, 1, 1, 1, 2, 2], 5)).toMatchObject({ verdict: 'prevented', confidence: 'estimate' });
    expect(judge([1, 1, 1, 1, 1, 2, 2.1], 5).verdict).toBe('cannot-tell');
    expect(judge(flat(7), 0, flat(7)).verdict).toBe('cannot-tell');
  });
  it('non-finite gradients', () => {
    const broken = [1, 1, 1, 1, 1, 1, Number.NaN];
    expect(judge(broken, 6, broken)).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
    expect(judge(broken, 2, broken).verdict).toBe('cannot-tell');
    // Clamped: the update is finite, and small.
    expect(judge(flat(7), 6, [1, 1, 1, 1, 1, 1, Number.POSITIVE_INFINITY]).verdict).toBe('prevented');
  });
  it('no incident: not needed', () => {
    expect(
      judgeEstimate({
        steps: [],
        incident: null,
        firstChanged: 0,
        updateNorm: [],
        unclipped: [],
        learningRateMultiplier: 1,
      }).verdict,
    ).toBe('not-needed');
  });
});
