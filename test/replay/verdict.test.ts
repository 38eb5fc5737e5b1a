import { describe, expect, it } from 'vitest';
import type { ClosedLoopTrace } from '../../src/experiment/replay/closed-loop.ts';
import { outcomeOf } from '../../src/experiment/replay/outcome.ts';
import { levelBefore, type References } from '../../src/experiment/replay/reference.ts';
import {
  incidentUpdates,
  judgeByReference,
  judgeClosedLoop,
  judgeEstimate,
} from '../../src/experiment/replay/verdict.ts';

const flat = (length: number, value = 1): number[] =>
  Array.from({ length }, (_, i) => value * (1 + 0.01 * Math.sin(i)));
const steps = (length: number): number[] => Array.from({ length }, (_, i) => 100 + i);

describe('by reference batches, a run that comes back', () => {
  const traceOf = (loss: number[]): ClosedLoopTrace => ({
    loss,
    taskLoss: [],
    minClipFactor: loss.map(() => 1),
    updateNorm: loss.map(() => 1),
    engaged: loss.map(() => false),
    referenceLoss: flat(loss.length),
    bottleneck: null,
    ended: null,
  });
  const references: References = {
    at: 25,
    later: [],
    usual: [0, 2],
    unlike: new Set(),
    onsetBatch: [],
    before: [0],
    after: [69],
    batches: [],
    loss: flat(71),
    harmful: null,
    highest: 1,
    level: 1,
  };
  const spike = (height: number): number[] => [...flat(30), height, ...flat(39)];
  const judge = (loss: number[]) =>
    judgeByReference({
      trace: traceOf(loss),
      baseline: traceOf([...flat(30), 10, 20, 10, ...flat(37)]),
      references,
      onset: 30,
      steps: steps(70),
      history: [],
    });
  it('is prevented where no loss is above what was usual', () => {
    expect(judge(flat(70)).verdict).toBe('prevented');
  });
  it('is not said to be prevented where a spike is left that the judge takes for none', () => {
    const left = judge(spike(1.04));
    expect(judgeClosedLoop(spike(1.04), spike(20), steps(70)).verdict).toBe('prevented');
    expect(left.verdict).toBe('cannot-tell');
    expect(left.why).toMatch(/but the loss is 1\.04 at step 130, where up to 1\.02\d* was usual$/);
  });
});

describe('by reference batches, a run with few clean steps after its loss is gone', () => {
  const lost = [...flat(30), ...flat(22, 10)];
  const traceOf = (loss: number[], update: (i: number) => number): ClosedLoopTrace => ({
    loss,
    taskLoss: [],
    minClipFactor: loss.map(() => 1),
    updateNorm: loss.map((_, i) => update(i)),
    engaged: loss.map(() => true),
    referenceLoss: loss,
    bottleneck: null,
    ended: null,
  });
  const judge = (update: (i: number) => number) =>
    judgeByReference({
      trace: traceOf(flat(52), update),
      baseline: traceOf(lost, () => 1),
      references: {
        ...{
          at: 25,
          later: [],
          usual: [0, 2],
          unlike: new Set([30, 31, 32]),
          onsetBatch: [],
          before: [0],
          after: [51],
        },
        ...{ batches: [], loss: lost, harmful: 30, highest: 1.01, level: 1 },
      },
      onset: 30,
      steps: steps(52),
      history: [],
    });
  it('is not said to be prevented by its own losses, for its remedy is not known to hold', () => {
    for (const update of [1, 0.1])
      expect(judge((i) => (i > 30 ? update : 1))).toMatchObject({
        verdict: 'cannot-tell',
        why: expect.stringMatching(/^fewer than 20 clean steps were recorded after step 130/),
      });
  });
  it('is not said to be prevented where its updates are too small to learn', () => {
    expect(judge((i) => (i > 30 ? 0.04 : 1))).toMatchObject({
      verdict: 'cannot-tell',
      why: expect.stringContaining('too small for it to learn on'),
    });
  });
});

describe('by clean batches, a run that is harmed from its first recorded step on', () => {
  /** High from the start and steady: by its own losses there is no rise. */
  const high = flat(60, 5);
  const traceOf = (loss: number[], reference: number[]) => ({
    ...{ loss, referenceLoss: reference, updateNorm: flat(60) },
    ...{
      taskLoss: [],
      minClipFactor: flat(60),
      engaged: loss.map(() => false),
      bottleneck: null,
      ended: null,
    },
  });
  const judge = (reference: number[], batches?: string) =>
    judgeByReference({
      ...{ trace: traceOf(high, reference), baseline: traceOf(high, [...flat(5), ...flat(56, 4)]) },
      references: {
        ...{ at: 0, later: [], usual: [0, 2], unlike: new Set(), onsetBatch: [], before: [], after: [59] },
        ...{ batches: [], loss: [...flat(5), ...flat(56, 4)], harmful: 5, highest: 1, level: 1 },
      },
      ...{ onset: 5, steps: steps(60), history: [], ...(batches === undefined ? {} : { batches }) },
    });
  it('needs a rule where trainings showed the harm, and one that ends at the level prevents it', () => {
    expect(judge(flat(61), 'clean batches')).toMatchObject({
      verdict: 'prevented',
      why: expect.stringMatching(
        /^on clean batches it ends at 1\.?\d*, where 1 was usual; without the rule it ends at [34]/,
      ),
    });
    expect(judge([...flat(5), ...flat(56, 4)], 'clean batches').verdict).toBe('not-prevented');
  });
  it('is told by its own losses where none showed it', () => {
    expect(judge(flat(61)).verdict).toBe('not-needed');
  });
});

it('a level before takes eight states', () => {
  expect(levelBefore([1, 1, 1, 1, 1, 1, 1, 9], 6)).toBeNull();
  expect(levelBefore([4, 3, 2, 2, 1, 1, 1, 1, 1, 9], 8)).toBe(1);
});

describe('a level before', () => {
  const states = (value: (i: number) => number) => Array.from({ length: 40 }, (_, i) => value(i));
  it('is what the loss had reached, where it falls: not the middle of what it fell through', () => {
    const falls = states((i) => 5 * 0.96 ** i * (1 + 0.02 * Math.sin(5 * i)));
    const level = levelBefore(falls, 39)!;
    expect(level / falls[39]!).toBeLessThan(1.2);
    expect(level / falls[39]!).toBeGreaterThan(1);
  });
  it('tells a run that ends at 2.6, where 1.1 was reached, from one that is back', () => {
    const reached = states((i) => 1.1 * 1.07 ** (39 - i) * (1 + 0.02 * Math.sin(5 * i)));
    const endsAt = (end: number) =>
      outcomeOf(
        { referenceLoss: [...reached, ...flat(30, end)], updateNorm: flat(70) },
        { level: levelBefore(reached, 39), unlike: new Set<number>() },
        1,
        39,
      );
    expect([0.9, 1.1, 1.5, 2.6].map(endsAt)).toEqual(['holds', 'holds', 'holds', 'lost']);
  });
  it('is the median of twenty where it wavers or rises, however low the last ones are', () => {
    const wavers = states((i) => 1 + 0.3 * Math.sin(5 * i));
    const sorted = wavers.slice(20).sort((a, b) => a - b);
    expect(levelBefore(wavers, 39)).toBe((sorted[9]! + sorted[10]!) / 2);
    expect(
      levelBefore(
        states((i) => 1.02 ** i),
        39,
      ),
    ).toBeCloseTo(1.02 ** 29.5, 3);
  });
});

describe('closed loop', () => {
  const calm = flat(70);
  const gone = [...flat(30), ...flat(40, 10)];
  const jumps = [...flat(30), 10, 20, ...flat(38)];
  const judge = (losses: number[], baseline: number[]) =>
    judgeClosedLoop(losses, baseline, steps(70)).verdict;
  it.each([
    { name: 'calm under a run that went', losses: calm, baseline: gone, verdict: 'prevented' },
    { name: 'a jump and back under a run that went', losses: jumps, baseline: gone, verdict: 'prevented' },
    { name: 'gone as well', losses: gone, baseline: gone, verdict: 'not-prevented' },
    {
      name: 'gone 15 steps later',
      losses: [...flat(45), ...flat(25, 10)],
      baseline: gone,
      verdict: 'delayed',
    },
    { name: 'calm, nothing to prevent', losses: calm, baseline: calm, verdict: 'not-needed' },
    { name: 'gone, nothing to prevent', losses: gone, baseline: calm, verdict: 'harmful' },
    { name: 'calm under a run that came back', losses: calm, baseline: jumps, verdict: 'prevented' },
    { name: 'came back as well', losses: jumps, baseline: jumps, verdict: 'not-prevented' },
    { name: 'gone under a run that came back', losses: gone, baseline: jumps, verdict: 'harmful' },
    {
      name: 'NaN at the end',
      losses: [...flat(50), ...new Array(20).fill(Number.NaN)],
      baseline: calm,
      verdict: 'harmful',
    },
  ])('$name: $verdict', ({ losses, baseline, verdict }) => {
    expect(judge(losses, baseline)).toBe(verdict);
  });
  it('too few steps after the onset tell nothing', () => {
    const short = gone.slice(0, 45);
    expect(judgeClosedLoop(flat(45), short, steps(45)).verdict).toBe('cannot-tell');
  });
  it('the peak is that of the incident, not of losses that had not fallen yet', () => {
    expect(judgeClosedLoop(jumps, gone, steps(70)).peak).toBeCloseTo(20, 0);
    expect(judgeClosedLoop(calm, gone, steps(70)).peak).toBeCloseTo(1, 1);
    expect(judgeClosedLoop(calm, calm, steps(70)).peak).toBeUndefined();
    expect(judgeClosedLoop([...flat(69), Number.NaN], gone, steps(70)).peak).toBe(Number.POSITIVE_INFINITY);
    expect(judgeClosedLoop(falls, lost, steps(120)).peak).toBeLessThan(1.1);
  });

  /** A loss that falls by e² over 120 steps, and what becomes of it where it is eight times as large from step 65 on. */
  const falls = Array.from({ length: 120 }, (_, i) => Math.exp((-2 * i) / 120));
  const lost = falls.map((loss, i) => (i < 65 ? loss : 8 * loss));
  const from = (change: (loss: number, i: number) => number): number[] => falls.map(change);
  it.each([
    { name: 'held', losses: falls, baseline: lost, verdict: 'prevented' },
    { name: 'lost', losses: lost, baseline: lost, verdict: 'not-prevented' },
    {
      name: 'lost 20 steps later',
      losses: from((loss, i) => (i < 85 ? loss : 8 * loss)),
      baseline: lost,
      verdict: 'delayed',
    },
    { name: 'lost where nothing was to prevent', losses: lost, baseline: falls, verdict: 'harmful' },
    { name: 'held where nothing was to prevent', losses: falls, baseline: falls, verdict: 'not-needed' },
    {
      name: 'a spike on the way down',
      losses: from((loss, i) => (i < 65 || i > 70 ? loss : 8 * loss)),
      baseline: lost,
      verdict: 'prevented',
    },
    // These never rise, and never come down to where the other was when it jumped.
    {
      name: 'slower',
      losses: from((loss, i) => (i < 40 ? loss : falls[40]! * (loss / falls[40]!) ** 0.1)),
      baseline: lost,
      verdict: 'cannot-tell',
    },
    {
      name: 'frozen',
      losses: from((loss, i) => (i < 40 ? loss : falls[40]! * (1 + 0.01 * Math.sin(i)))),
      baseline: lost,
      verdict: 'cannot-tell',
    },
    {
      name: 'slower, where nothing was to prevent',
      losses: from((loss, i) => (i < 40 ? loss : falls[40]! * (loss / falls[40]!) ** 0.1)),
      baseline: falls,
      verdict: 'not-needed',
    },
    // By a third in the end: a quarter more than the best level is back.
    {
      name: 'rising slowly',
      losses: from((loss, i) => (i < 65 ? loss : falls[65]! * (1 + (i - 64) / 150))),
      baseline: lost,
      verdict: 'delayed',
    },
  ])('a falling loss, $name: $verdict', ({ losses, baseline, verdict }) => {
    expect(judgeClosedLoop(losses, baseline, steps(120))).toMatchObject({ verdict, confidence: 'exact' });
    const later = judgeClosedLoop(losses.slice(40), baseline.slice(40), steps(80), falls.slice(0, 40));
    expect(later.verdict).toBe(verdict);
  });

  it('a run that begins within an incident tells nothing of what leads there', () => {
    const history = [...flat(40), ...flat(20, 10)];
    for (const losses of [flat(60), flat(60, 10)])
      expect(judgeClosedLoop(losses, flat(60, 10), steps(60), history)).toMatchObject({
        verdict: 'cannot-tell',
        why: expect.stringContaining('begins within an incident'),
      });
  });

  it('without a band before the incident, the rule’s own incident decides', () => {
    const broken = [Number.NaN, Number.NaN, ...flat(58, 10)];
    expect(judgeClosedLoop(flat(60), broken, steps(60)).verdict).toBe('prevented');
    expect(judgeClosedLoop(broken, broken, steps(60)).verdict).toBe('not-prevented');
  });
});

describe('estimates', () => {
  const unclipped = [1, 1.1, 0.9, 1, 1, 5, 9];
  const judge = (
    updateNorm: number[],
    firstChanged: number | null,
    norms = unclipped,
    more: Pick<Parameters<typeof judgeEstimate>[0], 'kept' | 'missed'> = {},
  ) =>
    judgeEstimate({
      steps: steps(7),
      onset: 6,
      firstChanged,
      updateNorm,
      unclipped: norms,
      learningRateMultiplier: 1,
      ...more,
    });
  it('the incident’s updates are those above twice the median before', () => {
    expect(incidentUpdates(unclipped, 6)).toEqual({ first: 5, last: 6, usual: 1 });
    expect(incidentUpdates([1, 1, 9], 2)).toBeNull();
    expect(incidentUpdates(flat(7), 6)).toBeNull();
  });
  it('a rule that takes more than a tenth off the usual updates makes another run, of which nothing is said', () => {
    const of = (kept: number) => judge(flat(7), 0, unclipped, { kept: flat(7).map(() => kept) }).verdict;
    expect([1, 0.91, 0.89].map(of)).toEqual(['prevented', 'prevented', 'cannot-tell']);
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
  it('updates that are rebuilt, and miss a snapshot of the run, tell nothing of it', () => {
    const missing = (lastAgreed: number) => judge(flat(7), 5, unclipped, { missed: { lastAgreed, step: 9 } });
    const [first] = steps(7);
    expect(missing(first! + 7).verdict).toBe('prevented');
    expect([first! + 6, first!].map((at) => missing(at).verdict)).toEqual(['cannot-tell', 'cannot-tell']);
    expect(missing(first! + 6).why).toContain('they miss its snapshot before step 9');
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
        onset: null,
        firstChanged: 0,
        updateNorm: [],
        unclipped: [],
        learningRateMultiplier: 1,
      }).verdict,
    ).toBe('not-needed');
  });
});
