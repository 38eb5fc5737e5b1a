import { describe, expect, it } from 'vitest';
import { judgeLosses } from '../../src/incidents/losses.ts';

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
  it('a constant loss has a band of 5 %', () => {
    expect(judgeLosses(new Array(30).fill(2)).band.high).toBeCloseTo(2.1, 12);
  });
  it('nothing, one and two points', () => {
    for (const losses of [[], [1], [1, 100]]) expect(incidentOf(losses)).toBeNull();
  });
});
