/** The parts of a cause that need no model: what is usual, blocks, the first harmful step, orders, changes, ranking, advice. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as Tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unrecordedIn } from '../../src/experiment/cause/as-computed.ts';
import { changesBy } from '../../src/experiment/cause/changes.ts';
import { type DecideInput, decideCause } from '../../src/experiment/cause/decide.ts';
import { openFirstSteps } from '../../src/experiment/cause/first-steps.ts';
import {
  besideCapture,
  causeFromLog,
  NO_CAUSE,
  suggestionFor,
  type Why,
  withLog,
} from '../../src/experiment/cause/from-log.ts';
import type { Observed } from '../../src/experiment/cause/observe.ts';
import { groupShares, pasteDecay, pasteRate, pasteSkip } from '../../src/experiment/cause/paste.ts';
import { planArms } from '../../src/experiment/cause/plan.ts';
import { rankRemedies, untried } from '../../src/experiment/cause/remedies.ts';
import { type Before, shorterSteps } from '../../src/experiment/cause/shorter-steps.ts';
import { withStateFile } from '../../src/experiment/cause/state-file.ts';
import { endText } from '../../src/experiment/cause/tried.ts';
import { remedyAdvice, wayBack } from '../../src/experiment/cause/way-back.ts';
import { endsBeside, judgeArm } from '../../src/experiment/replay/arm-end.ts';
import { timesLevel } from '../../src/experiment/replay/level-limits.ts';
import { batchOrder } from '../../src/experiment/replay/matrix.ts';
import { healthyBeside, outcomeOf } from '../../src/experiment/replay/outcome.ts';
import {
  firstHarm,
  isContradicted,
  type References,
  wholeBlock,
} from '../../src/experiment/replay/reference.ts';
import { judgeByReference, shareBefore } from '../../src/experiment/replay/verdict.ts';
import { raisedRate } from '../../src/judge/failures/rates.ts';
import { isRaised, isUnlike, usualRange } from '../../src/judge/incidents/unlike.ts';
import { type ArmOutcome, type Cause, EVIDENCE_IDS, type Remedy } from '../../src/model/cause.ts';
import type { ReplayArm } from '../../src/model/replay.ts';
import type { Run, TimeSeries } from '../../src/model/run.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';
import { projectRoot } from '../support/shared-data.ts';

/** Of a run that meets its snapshots, decays no weight, and tells nothing of single tensors. */
const UNSEEN: Pick<Observed, 'mismatches' | 'agreedAt' | 'decays' | 'empty' | 'tensors'> = {
  mismatches: [],
  agreedAt: null,
  decays: [],
  empty: null,
  tensors: [],
};

describe('usual', () => {
  it('is the range of at least four finite values, widened by half of it', () => {
    expect(usualRange([1, 2, 3])).toBeNull();
    expect(usualRange([1, 2, Number.NaN, 3])).toBeNull();
    expect(usualRange([1, 2, 5, 3])).toEqual([-1, 7]);
  });
  it('NaN and Infinity are raised where anything is usual, and nothing is where nothing is known', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 7.01]) {
      expect(isRaised(value, [-1, 7])).toBe(true);
      expect(isRaised(value, null)).toBe(false);
    }
    expect(isRaised(7, [-1, 7])).toBe(false);
  });
  it('what is far below the usual is unlike it too, and is not raised', () => {
    for (const value of [-1.01, 7.01, Number.NaN, Number.NEGATIVE_INFINITY]) {
      expect(isUnlike(value, [-1, 7])).toBe(true);
      expect(isUnlike(value, null)).toBe(false);
    }
    expect([isUnlike(-1, [-1, 7]), isUnlike(7, [-1, 7]), isRaised(-1.01, [-1, 7])]).toEqual([
      false,
      false,
      false,
    ]);
  });
});

it('a gap between two stretches that are no shorter is filled, and a lone batch stays alone', () => {
  expect([...wholeBlock([20, 21, 22, 23, 25, 26, 27])].sort((a, b) => a - b)).toEqual([
    20, 21, 22, 23, 24, 25, 26, 27,
  ]);
  expect([...wholeBlock([5, 40])]).toEqual([5, 40]);
  expect([...wholeBlock([])]).toEqual([]);
  // Every other one; and what is joined is long enough for what comes before it.
  expect([...wholeBlock([2, 4, 6])]).toEqual([2, 3, 4, 5, 6]);
  expect([...wholeBlock([0, 1, 2, 6, 8])]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  // Eight bad batches, and a good one four later that happens to be a little above what is usual.
  const bad = [134, 135, 136, 137, 138, 139, 140, 141];
  expect([...wholeBlock([...bad, 145])]).toEqual([...bad, 145]);
});

describe('a reference loss that stays while the run ends badly', () => {
  const flat = Array.from({ length: 41 }, () => -9.6);
  const later = Array.from({ length: 25 }, (_, k) => ({ index: 15 + k, loss: 0.03 }));
  const told = (end: number, unlike: readonly number[] = [], at = 0.03) =>
    isContradicted(
      {
        later: later.map(({ index }) => ({ index, loss: at })),
        usual: [0, 0.06],
        unlike: new Set(unlike),
        loss: flat,
        harmful: null,
        level: -9.6,
      },
      Array.from({ length: 40 }, (_, i) => (i < 20 ? 0.03 : end)),
    );
  it('is contradicted by batches that were as usual at older weights and are not so now', () => {
    expect(told(3.4)).toBe(true);
    expect(told(Number.NaN)).toBe(true);
  });
  it('is not where their losses are as usual, were high before, or they are unlike', () => {
    expect(told(0.04)).toBe(false);
    expect(told(3.4, [], 3.2)).toBe(false);
    expect(told(3.4, later.map(({ index }) => index).slice(3))).toBe(false);
  });
});

it('a level below zero moves up by a share of its size', () => {
  expect([timesLevel(1.25, 4), timesLevel(1.25, -4), timesLevel(1.25, 0)]).toEqual([5, -3, 0]);
});

describe('the first harmful step', () => {
  const calm = Array.from({ length: 20 }, (_, i) => 0.5 + 0.01 * (i % 3));
  it('is the one whose update raises the reference loss for good', () => {
    expect(firstHarm([...calm, 3, 3, 3, 3], 20)).toBe(19);
  });
  it('is none where the loss stays, or is high for one state only', () => {
    expect(firstHarm([...calm, ...calm], 20)).toBeNull();
    expect(firstHarm([...calm, 3, ...calm], 20)).toBeNull();
  });
  it('is one that leaves no number', () => {
    expect(firstHarm([...calm, Number.NaN, Number.NaN, Number.NaN], 20)).toBe(19);
  });
});

it('the order of a perturbed try moves no batch out of its block, and is another for another seed', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 60 }).chain((count) =>
        fc.tuple(
          fc.constant(count),
          fc
            .tuple(fc.nat(count - 1), fc.nat(count - 1))
            .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
          fc.nat(1000),
        ),
      ),
      ([count, [first, last], seed]) => {
        const order = batchOrder([0, first, last + 1, count], seed + 1)!;
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
        const block = (i: number): number => (i < first ? 0 : i <= last ? 1 : 2);
        for (const [i, from] of order.entries()) expect(block(from)).toBe(block(i));
      },
    ),
  );
  expect(batchOrder([0, 20, 23, 40], 1)).not.toEqual(batchOrder([0, 20, 23, 40], 2));
});

describe('a raised learning rate', () => {
  it('is told by its step and by how many times', () => {
    const rates = Float64Array.of(...new Array(20).fill(0.1), ...new Array(5).fill(4));
    expect(raisedRate(rates, 22)).toMatchObject({ from: 20, before: 0.1 });
    expect(raisedRate(rates, 22)!.times).toBeCloseTo(40);
  });
  it('is none in a warm-up, at a constant rate, or at a fall', () => {
    expect(
      raisedRate(
        Float64Array.from({ length: 30 }, (_, i) => (i + 1) / 30),
        25,
      ),
    ).toBeNull();
    expect(raisedRate(new Float64Array(30).fill(0.1), 25)).toBeNull();
    expect(
      raisedRate(Float64Array.of(...new Array(20).fill(0.1), ...new Array(5).fill(0.01)), 22),
    ).toBeNull();
  });
});

it('an arm holds up to 1.25 times the level, is hurt up to 1.45 times, lost above; frozen and too short say so', () => {
  const references = { level: 1, unlike: new Set<number>() };
  const ended = (final: number, update = 1, after = 30) => {
    const length = 10 + after + 1;
    const referenceLoss = [...new Array(length - 10).fill(1), ...new Array(10).fill(final)];
    const updateNorm = new Array(length).fill(update);
    return outcomeOf({ referenceLoss, updateNorm }, references, 1, 10);
  };
  expect(ended(1.25)).toBe('holds');
  expect(ended(1.3)).toBe('hurt');
  expect(ended(1.46)).toBe('lost');
  expect(ended(Number.NaN)).toBe('lost');
  expect(ended(1, 0.04)).toBe('frozen');
  // What rose first is lost, and stays so for want of updates; what stands where it stood never learnt.
  expect(ended(6, 0.04)).toBe('lost');
  expect(ended(1.4, 0.04)).toBe('frozen');
  expect(ended(1, 1, 19)).toBeNull();
  expect(outcomeOf({ referenceLoss: [1], updateNorm: [1] }, { ...references, level: null }, 1, 0)).toBeNull();
});

describe('an arm that never came down to the level that the recorded run had reached', () => {
  const references = { level: 0.19, unlike: new Set<number>() };
  const to = (from: number, end: number, count: number) =>
    Array.from({ length: count }, (_, i) => from + ((end - from) * i) / (count - 1));
  const ended = (referenceLoss: number[], update = 1) =>
    outcomeOf({ referenceLoss, updateNorm: referenceLoss.map(() => update) }, references, 1, 28);
  it('and never rose only learns more slowly: whether it holds down there was not seen', () => {
    expect(ended(to(0.33, 0.26, 63))).toBe('slower');
    expect(ended(to(0.33, 0.3, 63))).toBe('slower');
    expect(ended(to(0.33, 0.2, 63))).toBe('holds');
    expect(ended(to(0.33, 0.26, 63), 0.04)).toBe('frozen');
    expect(ended(to(0.33, 0.26, 45))).toBeNull();
  });
  it('and rose is harmed, by however little it ends above its start, and where it ends below it', () => {
    expect(ended([...to(0.33, 0.26, 30), ...to(0.33, 0.33, 33)])).toBe('lost');
    expect(ended([...to(0.33, 0.6, 30), ...to(0.6, 0.26, 33)])).toBe('lost');
    expect(ended(to(0.3, 0.33, 63))).toBe('lost');
    expect(ended([...to(0.33, 0.26, 62), Number.NaN])).toBe('lost');
  });
  it('is another than one that had come down and rose again, or stays high after a jump', () => {
    expect(ended([...to(0.33, 0.19, 30), ...to(0.19, 0.26, 33)])).toBe('hurt');
    expect(ended([...to(0.19, 0.19, 29), ...to(0.4, 0.3, 34)])).toBe('lost');
    expect(ended([...to(0.33, 0.19, 28), 9, 3, ...to(1, 0.2, 10), ...to(0.2, 0.19, 23)])).toBe('holds');
  });
  it('is not told as harmed, by arm, remedy or rule', () => {
    const slow = { loss: to(0.33, 0.26, 63), referenceLoss: to(0.33, 0.26, 63), updateNorm: to(1, 1, 63) };
    const lost = [...to(0.33, 0.19, 28), ...to(Number.NaN, Number.NaN, 35)];
    const baseline = { loss: lost, referenceLoss: lost, updateNorm: slow.updateNorm };
    const found: References = {
      ...{
        at: 20,
        later: [],
        usual: [0, 1],
        unlike: new Set<number>(),
        onsetBatch: [],
        before: [0],
        after: [],
      },
      ...{ batches: [], loss: lost, harmful: 27, highest: 0.33, level: 0.19 },
    };
    const end = endsBeside(baseline, found, 28, [])(slow);
    expect(end).toMatchObject({ outcome: null, slower: true, shows: false });
    const told = /not harmed, but learns too slowly to come down to where the run broke/;
    expect(judgeArm(end, found)).toMatchObject({ verdict: 'cannot-tell', why: expect.stringMatching(told) });
    expect(endText(null, end.finalLoss, found, { tried: 0, held: 0 }, { slower: true })).toMatch(told);
    const steps = slow.loss.map((_, i) => i);
    expect(
      judgeByReference({ trace: slow, baseline, references: found, onset: 28, steps, history: [] }),
    ).toMatchObject({ verdict: 'cannot-tell', why: expect.stringMatching(told) });
    const healthy = { ...slow, loss: to(0.33, 0.17, 63), referenceLoss: to(0.33, 0.17, 63) };
    expect(endsBeside(baseline, found, 28, [])(healthy)).toMatchObject({ outcome: 'holds', shows: true });
  });
});

describe('healthy updates', () => {
  const none = { unlike: new Set<number>() };
  const flat = (value: number, count = 60): number[] => new Array(count).fill(value);
  const to = (from: number, end: number): number[] =>
    Array.from({ length: 60 }, (_, i) => end + (from - end) * 0.8 ** i);
  // Weights that begin far too large: only small steps come down from there.
  const slow = { referenceLoss: to(5e5, 0.18), updateNorm: flat(0.2) };
  it('are not asked of a training that falls far below the level: it has learnt', () => {
    const level = 5e5;
    expect(outcomeOf(slow, { ...none, level }, 1e4, 10)).toBe('holds');
    const stuck = { referenceLoss: flat(5e5), updateNorm: flat(1e-4) };
    expect(outcomeOf(stuck, { ...none, level }, 1e4, 10)).toBe('frozen');
    // A little below the level is no more than a rule that holds every update back reaches.
    const idle = { referenceLoss: flat(0.9 * level), updateNorm: flat(1e-4) };
    expect(outcomeOf(idle, { ...none, level }, 1e4, 10)).toBe('frozen');
  });
  it('are those of the best training where the run blew up from its first step on', () => {
    const rising = { referenceLoss: [2, ...flat(5e5, 59)], updateNorm: flat(1e4) };
    const best = { referenceLoss: to(2, 0.18), updateNorm: flat(0.2) };
    const start = { ...none, level: null, blownStart: true };
    const found = healthyBeside(rising, [best], start, rising.updateNorm, 10);
    expect(found.level).toBeCloseTo(0.18);
    expect(outcomeOf(rising, { ...none, level: found.level }, found.usual, 10)).toBe('lost');
    // Where nothing learns, nothing says what would be healthy.
    const stuck = { referenceLoss: flat(2), updateNorm: flat(1e-9) };
    expect(healthyBeside(rising, [stuck], start, rising.updateNorm, 10).level).toBeNull();
  });
  it('stay those of before where the run did not begin with it', () => {
    const lost = { referenceLoss: [...flat(1, 20), ...flat(9, 40)], updateNorm: flat(1) };
    for (const other of [
      { referenceLoss: flat(1), updateNorm: flat(1e-3) },
      { referenceLoss: to(3, 0.3), updateNorm: flat(0.5) },
    ])
      expect(healthyBeside(lost, [other], { ...none, level: 1 }, lost.updateNorm, 19)).toEqual({
        level: 1,
        usual: 1,
        shift: null,
      });
  });
});

it('how much of a peak no rule can take away', () => {
  const calm = new Array(20).fill(1);
  expect(shareBefore([...calm, 10, 2, 1], 20, 20)).toBe(1);
  expect(shareBefore([...calm, 2, 11, 12], 20, 20)).toBeCloseTo(1 / 11);
  expect(shareBefore([...calm, 2, Number.NaN], 20, 20)).toBe(0);
});

describe('from a log alone', () => {
  const series = (name: string, role: TimeSeries['role'], values: readonly number[]): TimeSeries => ({
    name,
    role,
    step: Float64Array.from(values, (_, i) => i),
    value: Float64Array.from(values),
    missing: 0,
    refused: 0,
    attemptOffsets: [0],
    pathOffsets: [0],
  });
  const runOf = (...all: TimeSeries[]): Run => ({
    id: 'r',
    paths: ['r'],
    format: 'csv',
    stepUnit: 'step',
    series: all,
    attempts: [{ index: 0, firstStep: 0, lastStep: 99, reason: 'start' }],
    hyperparameters: new Map(),
    notes: [],
  });
  const jump = (at: number, before: number, after: number) =>
    Array.from({ length: 100 }, (_, i) => (i < at ? before : after));
  const loss = series('loss', 'loss', jump(60, 1, 50));
  it('a rise of the learning rate shortly before the onset is likely', () => {
    const { cause, remedies } = causeFromLog(
      runOf(loss, series('lr', 'learning_rate', jump(58, 0.1, 4))),
      60,
      false,
    );
    expect(cause).toMatchObject({ trigger: 'learning-rate', confidence: 'likely', onsetStep: 60 });
    expect(remedies[0]).toMatchObject({ action: 'lower-learning-rate', tried: null, holds: null });
  });
  it.each([
    ['at a resume', 50, 4],
    ['not where both attempts have it', 50, 0.1],
    ['not of an attempt that begins anew', 0, 4],
  ])('a rise %s', (_, first, rate) => {
    const twice = (one: TimeSeries, before: number, after: number): TimeSeries => ({
      ...one,
      step: Float64Array.from([...Array(60).keys(), ...Array.from({ length: 50 }, (__, i) => first + i)]),
      value: Float64Array.from({ length: 110 }, (__, i) => (i < 60 ? before : after)),
      attemptOffsets: [0, 60],
    });
    const run = runOf(twice(loss, 1, 1), twice(series('lr', 'learning_rate', []), 0.1, rate));
    const attempts = [
      { ...run.attempts[0]!, lastStep: 59 },
      { index: 1, firstStep: first, lastStep: first + 49, reason: 'step-went-back' as const },
    ];
    const { trigger, statement } = causeFromLog({ ...run, attempts }, first + 2, false).cause;
    expect(trigger === 'learning-rate').toBe(first === 50 && rate === 4);
    if (trigger === 'learning-rate') expect(statement).toMatch(/rises 40-fold to 4 at step 50/);
  });
  it('a rise long before or after it says nothing, nor does a constant rate', () => {
    for (const rate of [jump(20, 0.1, 4), jump(70, 0.1, 4), jump(0, 0.1, 0.1)])
      expect(causeFromLog(runOf(loss, series('lr', 'learning_rate', rate)), 60, false).cause).toMatchObject({
        trigger: 'none-found',
        confidence: null,
      });
  });
  describe('a warm-up is a fact and no cause', () => {
    const ramp = (to: number, after = 0.3) =>
      Array.from({ length: 100 }, (_, i) => (i <= to ? 0.001 + (0.299 * i) / to : after));
    const told = (rate: readonly number[]) =>
      causeFromLog(runOf(loss, series('lr', 'learning_rate', rate)), 60, false).cause;
    it('that goes on, or reached its height shortly before', () => {
      expect(told(ramp(60))).toMatchObject({ trigger: 'none-found', confidence: null, mechanism: 'unknown' });
      expect(told(ramp(60)).statement).toMatch(
        /^the learning rate was still rising, from 0\.001 at step 0 to 0\.3 at step 60, its highest so far, when the loss left its usual range at step 60; the log does not show whether that did it$/,
      );
      expect(told(ramp(80)).statement).toMatch(/still rising, from 0\.001 at step 0 to 0\.2252 at step 60/);
      // Printed with few digits.
      expect(told(ramp(99).map((rate) => Math.round(rate * 50) / 50)).statement).toMatch(/its highest/);
      expect(told(ramp(55)).statement).toMatch(/to its highest, 0\.3 at step 55, shortly before/);
      expect(
        told(Array.from({ length: 100 }, (_, i) => (i < 50 ? 0.01 : 0.01 * 1.1 ** (i - 49)))).statement,
      ).toMatch(/from 0\.01 at step 49 to /);
    });
    it('not one that ended long before, nor a rate that stands, falls, wavers, or comes back to a height', () => {
      const rates = [
        ramp(20),
        ramp(45, 0.2),
        jump(0, 0.1, 0.1),
        ramp(99).reverse(),
        Array.from({ length: 100 }, (_, i) => 0.1 + 0.0005 * i),
        Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? 0.1 : 0.1 + 0.002 * i)),
        Array.from({ length: 100 }, (_, i) => 0.01 + 0.01 * (i % 20)),
      ].map(told);
      for (const { statement, evidence } of rates) {
        expect(statement).toMatch(/^the log does not show what changed/);
        expect(evidence).toEqual([]);
      }
    });
    it('beside a capture the fact stays, and replaces nothing that the capture shows', () => {
      const why = causeFromLog(runOf(loss, series('lr', 'learning_rate', ramp(60))), 60, false);
      expect(besideCapture(why, [60, 80], 60).cause.statement).toMatch(
        /^the learning rate was still rising, .*; the capture begins with the incident/,
      );
      const ofCapture = {
        cause: { ...NO_CAUSE.cause, onsetStep: 60, statement: 'of the capture' },
        remedies: [],
      };
      expect(withLog(ofCapture, why, 60).cause.statement).toBe('of the capture');
    });
  });
  it('a gradient norm that was no number before the onset is precision', () => {
    const norms = Array.from({ length: 100 }, (_, i) => (i === 57 ? Number.POSITIVE_INFINITY : 1));
    expect(causeFromLog(runOf(loss, series('grad_norm', 'grad_norm', norms)), 60, false).cause).toMatchObject(
      {
        trigger: 'precision',
        mechanism: 'overflow',
      },
    );
  });
  it('a run that came back needs nothing, whatever caused it', () => {
    const { remedies } = causeFromLog(runOf(loss, series('lr', 'learning_rate', jump(58, 0.1, 4))), 60, true);
    expect(remedies.map(({ action }) => action)).toEqual(['none-needed']);
  });
  it('a calm run has a cause and a remedy too: none', () => {
    expect(NO_CAUSE.cause).toMatchObject({ trigger: 'none-found', mechanism: 'none' });
    expect(NO_CAUSE.remedies[0]!.action).toBe('none-needed');
  });
});

describe('remedies', () => {
  const held = (action: Remedy['action'], interference: number, more: Partial<Remedy> = {}) =>
    untried(action, action, {
      tried: 'closed-loop',
      holds: true,
      outcome: 'holds',
      interference,
      finalLoss: 1,
      ...more,
    });
  it('stand by least interference, then loss; failed ones after, untried ones last', () => {
    const failed = untried('skip-batches', 'f', { tried: 'closed-loop', holds: false, outcome: 'lost' });
    const order = rankRemedies(
      [
        untried('fix-data', 'u'),
        failed,
        held('lower-learning-rate', 0.5),
        held('clip', 0.1, { finalLoss: 2 }),
        held('clip', 0.1, { rule: 'agc:0.01' }),
      ],
      'data',
    );
    expect(order.map(({ action, rule }) => rule ?? action)).toEqual([
      'agc:0.01',
      'clip',
      'lower-learning-rate',
      'skip-batches',
      'fix-data',
    ]);
  });
  it('of equal interference the one that takes the cause back stands first, though another ends lower', () => {
    const rule = held('clip', 0, { rule: 'clippy:paper', finalLoss: 0.1 });
    const before = held('lower-learning-rate', 0, { learningRate: 0.01 });
    const half = held('lower-learning-rate', 0, { learningRateFactor: 0.5, finalLoss: 0.2 });
    const skip = held('skip-batches', 0);
    const state = held('restore-optimizer-state', 0);
    const first = (trigger: Cause['trigger']) => rankRemedies([half, rule, skip, state, before], trigger)[0];
    expect(first('learning-rate')).toBe(before);
    expect(first('data')).toBe(skip);
    expect(first('optimizer-state')).toBe(state);
    expect(first('sharpness')).toBe(rule);
    const late = { ...before, interference: 0.01 };
    expect(rankRemedies([late, rule], 'learning-rate')[0]).toBe(rule);
  });
  const otherwise = {
    lastGoodStep: 9,
    rewindToStep: 0,
    rewindToCheckpoint: null,
    skipSteps: [1, 200],
    learningRateFactor: 0.5,
    why: 'PaLM',
  } as const;
  it('a rewind follows what held, and never what was not tried where something was', () => {
    const skip = held('skip-batches', 0, { skipSteps: [10, 12], from: { step: 5, path: 'a.pt' } });
    expect(wayBack({ lastGoodStep: 9 }, [skip], otherwise)).toMatchObject({
      skipSteps: [10, 12],
      rewindToStep: 5,
      rewindToCheckpoint: 'a.pt',
      learningRateFactor: null,
    });
    // The file is older than the first step that was tried.
    expect(wayBack({ lastGoodStep: 9 }, [skip], otherwise, [{ step: 3, path: 'a.pt' }])).toMatchObject({
      rewindToStep: 3,
    });
    expect(wayBack({ lastGoodStep: 9 }, [held('clip', 0)], otherwise)).toBeNull();
    expect(wayBack({ lastGoodStep: 9 }, [untried('none-needed', 'n')], otherwise)).toBeNull();
    expect(wayBack({ lastGoodStep: 9 }, [untried('rewind', 'r')], otherwise)).toBe(otherwise);
    expect(remedyAdvice([skip])).toEqual(['Skip-batches. Go on from a.pt.']);
  });
});

describe('a cause that was not found says what is missing', () => {
  const told = (more: Partial<DecideInput>): Cause =>
    decideCause({
      onset: 1,
      observed: {
        steps: [101, 102, 103],
        batchIds: [undefined, undefined, undefined],
        loss: [1, 9, 9],
        learningRate: [0.1, 0.1, 0.1],
        gradientNorm: [1, 1, 1],
        updateNorm: [1, 1, 1],
        surprise: [],
        effectiveRate: [],
        ...UNSEEN,
      },
      references: null,
      changes: [],
      arms: [],
      cameBack: false,
      ruleHolds: false,
      shorter: null,
      unrecorded: null,
      hasModel: false,
      ...more,
    });
  it('batches and a model, where there are none', () => {
    expect(told({}).statement).toMatch(
      /; to run experiments, record batches and a model, or use closed_loop in your framework$/,
    );
  });
  it('what else may differ, where only the record is no number', () => {
    const cause = told({
      unrecorded: { trigger: 'precision', at: 1, computed: 1, holds: true, anew: false },
    });
    expect(cause).toMatchObject({ trigger: 'precision', confidence: 'likely' });
    expect(cause.statement).toMatch(
      /in float32 it does not happen; that is not shown .* more than precision$/,
    );
  });
  it('the experiments, where they did not end', () => {
    const steps = Array.from({ length: 40 }, (_, i) => i);
    const ones = steps.map(() => 1);
    const observed = {
      steps,
      batchIds: steps.map(() => undefined),
      loss: ones,
      learningRate: ones,
      gradientNorm: ones,
      updateNorm: steps.map(Number),
      surprise: [],
      effectiveRate: [],
      ...UNSEEN,
    };
    expect(told({ hasModel: true, onset: 12, observed }).statement).toMatch(/did not run to their end/);
  });
  it('steps, where there were too few to judge one', () => {
    expect(told({ hasModel: true }).statement).toMatch(
      /too little was recorded to judge an experiment: 1 step before the incident and 1 clean step after it, where 8 and 20 are needed$/,
    );
  });
  it('clean steps, where enough steps were recorded and most of them on unlike batches', () => {
    const steps = Array.from({ length: 40 }, (_, i) => i);
    const ones = steps.map(() => 1);
    const observed = {
      ...{ steps, batchIds: [], loss: ones, learningRate: ones, gradientNorm: ones, surprise: [] },
      ...{
        updateNorm: ones,
        effectiveRate: [],
        ...UNSEEN,
      },
    };
    const unlike = new Set(steps.filter((i) => i >= 12 && i < 35));
    const references = { unlike, harmful: 12, level: 1, before: [], after: [], onsetBatch: [], loss: ones };
    const given = { hasModel: true, onset: 12, observed, references: references as unknown as References };
    expect(told(given).statement).toMatch(
      /12 steps before the incident and 5 clean steps after it, where 8 and 20 are needed$/,
    );
    const after = endText(null, 2, given.references, { tried: 0, held: 0 });
    expect(after).toMatch(/^fewer than 20 clean steps were recorded after the harm, so that it is not known/);
    expect(endText(null, 2, { ...given.references, level: null }, { tried: 0, held: 0 })).toMatch(
      /^what was usual on batches from before the incident is not known/,
    );
  });
  it('and the resume shortly before, which only the log knows of', () => {
    const why = { cause: told({}), remedies: [] };
    const steps = Float64Array.from([98, 99, 100, 101, 102]);
    const run = {
      ...makeRun('log.jsonl', [makeSeries('loss', 'loss', [1, 1, 1, 1, 9])]),
      attempts: [
        { index: 0, firstStep: 98, lastStep: 100, reason: 'start' as const },
        { index: 1, firstStep: 101, lastStep: 102, reason: 'step-went-back' as const },
      ],
    };
    const series = { ...run.series[0]!, step: steps, attemptOffsets: [0, 3] };
    const ofLog = causeFromLog({ ...run, series: [series] }, 102, false);
    expect(ofLog.cause.trigger).toBe('optimizer-state');
    const { cause } = withLog(why, ofLog, 101);
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /^training was resumed at step 101, and the 2nd loss after that is out of the usual range: compare how the two were launched .*; the incident begins at step 102, so soon after/,
    );
    expect(cause.evidence.map(({ id }) => id)).toContain('resume');
    expect(withLog(why, NO_CAUSE, 101)).toBe(why);
    const shown = { ...why, cause: { ...why.cause, trigger: 'data' as const } };
    expect(withLog(shown, ofLog, 101)).toBe(shown);
    // Of sorted rows the batches of a capture are unlike those before; of a fall for good the experiment knows more.
    const order = (failure: string): Why => ({
      ...ofLog,
      cause: { ...ofLog.cause, trigger: 'order', failure, evidence: [] },
    });
    const sorted = order('saw-tooth');
    expect(withLog(shown, sorted, 101)).toBe(sorted);
    expect(withLog(shown, order('loss-falls-abruptly'), 101)).toBe(shown);
  });
});

describe('an incident right after the first recorded step', () => {
  const count = 40;
  const flat = (value: number): number[] => Array.from({ length: count }, () => value);
  const observed = (more: Partial<DecideInput['observed']> = {}): DecideInput['observed'] => ({
    steps: flat(0).map((_, i) => 100 + i),
    batchIds: [],
    loss: [1, 9, ...flat(99).slice(2)],
    learningRate: flat(0.1),
    gradientNorm: flat(1),
    updateNorm: flat(1),
    surprise: [],
    effectiveRate: [],
    ...UNSEEN,
    ...more,
  });
  const batchesAtStart = [0.9, 1.1].map((loss, index) => ({ index, loss }));
  const references = (more: Partial<References> = {}): References => ({
    at: 0,
    later: batchesAtStart,
    usual: null,
    unlike: new Set(),
    onsetBatch: [],
    before: [0],
    after: [39],
    batches: [],
    loss: [1, 4, ...flat(99).slice(1)],
    harmful: null,
    highest: 4,
    level: null,
    ...more,
  });
  const before = { loss: [0.8, 1, 1.2, 0.9], learningRate: [0.1, 0.1], clipping: null };
  const by: ReplayArm = { kind: 'learning-rate', factor: 0.5 };
  const ending = (end: number, update = 0.5) => ({
    by,
    label: 'shorter steps',
    referenceLoss: flat(end),
    updateNorm: flat(update),
  });
  interface Given {
    readonly before: Before;
    readonly observed: DecideInput['observed'];
    readonly references: References;
    readonly tries: readonly ReturnType<typeof ending>[];
  }
  const told = (given: Partial<Given> = {}) =>
    shorterSteps(
      given.before ?? before,
      given.observed ?? observed(),
      given.references ?? references(),
      1,
      1,
      given.tries ?? [ending(1.1)],
    );
  it('shorter steps from there go on as before: the first try that does tells it', () => {
    expect(told({ tries: [ending(50), { ...ending(1.2), label: 'second' }, ending(1)] })).toEqual({
      by,
      label: 'second',
      first: 1,
      level: 1,
      ofRun: false,
      end: 1.2,
      recordedEnd: 99,
    });
  });
  it('of a noisy run the logged losses are what was usual, not the one state that was recorded', () => {
    const noisy = { ...before, loss: [0.9, 2, 1.8, 2.2, 0.8, 2, 1.9, 2.1] };
    expect(told({ tries: [ending(2)] })).toBeNull();
    expect(told({ before: noisy, tries: [ending(2)] })).toMatchObject({ first: 1, level: 1.95, end: 2 });
    expect(told({ before: noisy, tries: [ending(3)] })).toBeNull();
    // The logged losses of the run alone would be no harm.
    expect(told({ before: noisy, references: references({ loss: flat(2.4) }) })).toBeNull();
  });
  it('a run that is hurt and not lost has to end as far above the try', () => {
    const hurt = references({ loss: [1, ...flat(1.4)] });
    expect(told({ references: hurt, tries: [ending(0.9)] })).toMatchObject({ end: 0.9, recordedEnd: 1.4 });
    expect(told({ references: hurt, tries: [ending(1)] })).toBeNull();
  });
  it('the cause is then sharpness, likely; a change that was seen comes first', () => {
    const input = {
      onset: 1,
      observed: observed(),
      references: references(),
      hasModel: true,
      changes: [],
      arms: [],
      cameBack: false,
      ruleHolds: false,
      shorter: told(),
      unrecorded: null,
    };
    const cause = decideCause(input);
    expect(cause).toMatchObject({ trigger: 'sharpness', confidence: 'likely' });
    expect(cause.statement).toMatch(
      /^the first losses and rates are as logged before, so .* were kept, but maybe not the clipping; with shorter steps .* is 1 at step 100 and 1.1 at the end; without that it ends at 99\. Where clipping was on before step 100, put it back$/,
    );
    const evidence = {
      id: 'optimizer-state',
      statement: 's',
      value: null,
      unit: 'state',
      usual: null,
    } as const;
    const at = { step: 100, batchStep: null };
    const lost = { trigger: 'optimizer-state', from: 0, size: 1, evidence: { ...evidence, at } } as const;
    expect(decideCause({ ...input, changes: [lost] }).trigger).toBe('optimizer-state');
  });
  it('says nothing where the run stays well, as a twin does whose clipping never acted', () => {
    expect(told({ references: references({ loss: flat(1.2) }) })).toBeNull();
  });
  it('says nothing where no try ends as it began: they change nothing, or do not learn', () => {
    expect(told({ tries: [ending(99), ending(Number.NaN)] })).toBeNull();
    expect(told({ tries: [ending(1, 0.01)] })).toBeNull();
  });
  it('says nothing where batches or rate are not those logged before, or nothing was logged', () => {
    const later = batchesAtStart.map(({ index, loss }) => ({ index, loss: loss * 3 }));
    expect(told({ observed: observed({ loss: [3, ...flat(99).slice(1)] }) })).toBeNull();
    expect(told({ references: references({ later }) })).toBeNull();
    expect(told({ before: { ...before, learningRate: [0.02, 0.02] } })).toBeNull();
    expect(told({ before: { ...before, learningRate: [] } })).toBeNull();
    expect(told({ before: { ...before, loss: [1, 1, 1] } })).toBeNull();
  });
  it('needs no log where the capture begins with the run, and none of it where a level is known', () => {
    const fromStart = observed({ steps: flat(0).map((_, i) => i) });
    const nothing = { loss: [], learningRate: [], clipping: null };
    expect(told({ before: nothing, observed: fromStart })).toMatchObject({ ofRun: true });
    expect(told({ before: nothing })).toBeNull();
    expect(told({ references: references({ level: 1 }) })).toBeNull();
  });
});

it('a rate that rose before the first recorded step is known to the log alone', () => {
  const cause: Cause = { ...NO_CAUSE.cause, onsetStep: 104, statement: 'nothing found' };
  const told = (start: number) => {
    const rates = [0.1, 0.1, 0.1, 0.1, 0.1, 4, 4, 4, 4, 4];
    const losses = [1, 1, 1, 1, 1, 1, 1, 1, 1, 9];
    const series = [makeSeries('loss', 'loss', losses), makeSeries('lr', 'learning_rate', rates)];
    const ofLog = causeFromLog(makeRun('log.jsonl', series), 10, false);
    return withLog({ cause, remedies: [] }, ofLog, start);
  };
  expect(told(6).cause).toMatchObject({ trigger: 'learning-rate', confidence: 'likely' });
  expect(told(6).remedies.map(({ action }) => action)).toEqual(['lower-learning-rate']);
  // The capture has seen the rise, and what was tried denies it.
  expect(told(3).cause.trigger).toBe('none-found');
});

describe('the mechanism, where the old optimizer state holds', () => {
  const states = 40;
  const references: References = {
    at: 15,
    later: [],
    usual: [0, 1],
    unlike: new Set([20]),
    onsetBatch: [],
    before: [0, 5, 10, 15],
    after: [25, 30, 35],
    batches: [],
    loss: Array.from({ length: states + 1 }, (_, i) => (i <= 20 ? 1 : 3)),
    harmful: 20,
    highest: 1,
    level: 1,
  };
  const mechanismFor = (rate: (index: number) => number) => {
    const all = Array.from({ length: states }, (_, i) => i);
    return decideCause({
      onset: 20,
      observed: {
        steps: all,
        batchIds: all.map(() => undefined),
        loss: all.map(() => 1),
        learningRate: all.map(() => 0.1),
        gradientNorm: all.map(() => 1),
        updateNorm: all.map(rate),
        surprise: [],
        effectiveRate: all.map(rate),
        ...UNSEEN,
      },
      references,
      hasModel: true,
      changes: [],
      arms: [
        {
          arm: { kind: 'restore-optimizer-state', at: 21 },
          undoes: 'optimizer-state',
          interference: 0,
          skipSteps: null,
          learningRateFactor: null,
          outcome: 'holds',
          finalLoss: 1,
          shows: true,
        },
      ],
      cameBack: false,
      ruleHolds: false,
      shorter: null,
      unrecorded: null,
    }).mechanism;
  };
  it('is that nothing is learnt any more if a step is a third of those before, else the step itself', () => {
    expect(mechanismFor((i) => (i < 20 ? 1 : 0.3))).toBe('poisoned-accumulators');
    expect(mechanismFor((i) => (i < 20 ? 1 : 0.4))).toBe('overshoot');
  });
  it('is unknown where no step before or after has a finite size', () => {
    expect(mechanismFor((i) => (i < 20 ? 1 : Number.NaN))).toBe('unknown');
    expect(mechanismFor((i) => (i < 20 ? Number.NaN : 1))).toBe('unknown');
  });
});

describe('an optimizer state to be put back', () => {
  const resume = { id: 'resume', statement: 's', value: 101, unit: 'step', usual: null } as const;
  const cause: Cause = {
    ...NO_CAUSE.cause,
    trigger: 'optimizer-state',
    onsetStep: 104,
    evidence: [{ ...resume, at: { step: 101, batchStep: null } }],
  };
  const files = [60, 100, 101, 103].map((step) => ({ step, path: `$&-${step}.pt` }));
  const named = (remedy: Remedy, given = files) => withStateFile([remedy], cause, given)[0]!;
  const suggested = suggestionFor(cause, 'step');
  it('lies in the newest file from before it was lost, though later ones come before the onset', () => {
    expect(named(suggested)).toMatchObject({
      statement: 'resume with the optimizer state of before; take it from $&-100.pt, of step 100; not tried',
      from: { step: 100, path: '$&-100.pt' },
    });
  });
  it('lies in no file where each is from after it: then what to save is told', () => {
    const { statement, from } = named(suggested, files.slice(2));
    expect(statement).toMatch(
      /; no checkpoint from before with it was given: without one, warm .*; not tried$/,
    );
    expect(from).toBeNull();
  });
  it('is not looked for in a file that was to go on from and does not have it', () => {
    const carried = { ...suggested, tried: 'closed-loop', from: { step: 104, path: 'weights.pt' } } as const;
    expect(named(carried).from).toEqual({ step: 104, path: '$&-100.pt' });
    expect(named(carried, []).from).toEqual({ step: 104, path: null });
    // An arm goes on from weights of after the incident, which no file with the old state has.
    expect(named({ ...carried, from: { step: 108, path: null } }).from).toEqual({ step: 108, path: null });
  });
  it('is no other remedy', () => {
    const other = untried('clip', 'c');
    expect(named(other)).toBe(other);
  });
});

describe('batches that are unlike those before', () => {
  const count = 45;
  const all = Array.from({ length: count }, (_, i) => i);
  const ones = all.map(() => 1);
  const observed = {
    steps: all.map((i) => 100 + i),
    batchIds: all.map(() => undefined),
    loss: ones,
    learningRate: all.map((i) => (i < 20 ? 0.1 : 4)),
    gradientNorm: ones,
    updateNorm: ones,
    surprise: [],
    effectiveRate: [],
    ...UNSEEN,
  };
  const references = (unlike: readonly number[]): References => ({
    at: 15,
    later: unlike.map((index) => ({ index, loss: 9 })),
    usual: [0, 1],
    unlike: new Set(unlike),
    onsetBatch: [],
    before: [0, 5, 10, 15],
    after: [],
    batches: [],
    loss: [...ones, 1],
    harmful: 20,
    highest: 1,
    level: 1,
  });
  const from = (first: number, last = count - 1): number[] => all.slice(first, last + 1);
  const armFor = (unlike: readonly number[]) => {
    const data = planArms(observed, references(unlike), [], 20).filter(({ undoes }) => undoes === 'data');
    expect(data).toHaveLength(1);
    return data[0]!;
  };
  it('lower rates begin with the first recorded step where no level before is known', () => {
    const lowered = (level: number | null) =>
      planArms(observed, { ...references([]), level }, [], 20)
        .filter(({ undoes }) => undoes === 'sharpness')
        .map(({ training }) => [0, 19, 20].map((index) => training.rate!(index)));
    expect(lowered(1)).toEqual([
      [1, 1, 0.5],
      [1, 1, 0.1],
    ]);
    expect(lowered(null)).toEqual([
      [0.5, 0.5, 0.5],
      [0.1, 0.1, 0.1],
    ]);
  });
  it('have earlier ones in their place where the last twenty recorded ones are, and are left out else', () => {
    for (const left of [[20], from(20, 43), from(26), [...from(20, 30), ...from(32)]])
      expect(armFor(left).arm).toEqual({ kind: 'skip-batches', steps: left.map((i) => 100 + i) });
    const { arm, order } = armFor([3, ...from(25)]);
    expect(arm).toEqual({ kind: 'earlier-batches', steps: [103, ...from(25).map((i) => 100 + i)] });
    expect(order!.filter((index, i) => index === i)).toEqual(from(0, 24).filter((i) => i !== 3));
    expect(order!.slice(25).every((index) => index < 25 && index !== 3)).toBe(true);
    expect(order![3]).not.toBe(3);
  });
  it('do not rule out a learning rate that no arm can judge on them', () => {
    const seen = references(from(20));
    const changes = changesBy(20, observed, seen, []);
    const decided = (ends: Partial<Record<Cause['trigger'], ArmOutcome>>) =>
      decideCause({
        onset: 20,
        observed,
        references: seen,
        hasModel: true,
        changes,
        arms: planArms(observed, seen, changes, 20).map(({ training: _, ...plan }) => {
          const outcome = ends[plan.undoes] ?? null;
          return { ...plan, outcome, finalLoss: 1, shows: outcome === 'holds' };
        }),
        cameBack: false,
        ruleHolds: false,
        shorter: null,
        unrecorded: null,
      });
    expect(decided({ data: 'holds' })).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(decided({ data: 'lost' })).toMatchObject({ trigger: 'learning-rate', confidence: 'likely' });
    expect(decided({ data: 'lost', 'learning-rate': 'lost' }).trigger).toBe('none-found');
  });
});

describe('a rate that rose so far that nothing is learnt at the one of before', () => {
  const steps = Array.from({ length: 60 }, (_, i) => i);
  const ones = steps.map(() => 1);
  const observed = (times: number) => ({
    ...{ steps, batchIds: [], loss: ones, gradientNorm: ones, updateNorm: ones, surprise: [] },
    // A warm-up: from 0.1 at step 5 to `times` as much at step 25.
    learningRate: steps.map((i) => 0.1 * times ** (Math.min(20, Math.max(0, i - 5)) / 20)),
    ...{ effectiveRate: [], ...UNSEEN },
  });
  const references: References = {
    ...{ at: 20, later: [], usual: [0, 1], unlike: new Set(), onsetBatch: [], before: [0], after: [40] },
    ...{ batches: [], loss: ones, harmful: 25, highest: 1, level: 1 },
  };
  it('a batch that a capture names as unlike, where too few came before to say what is usual', () => {
    const unlike = {
      ...references,
      usual: null,
      unlike: new Set([25]),
      later: [{ index: 25, loss: Number.NaN }],
    };
    const [change] = changesBy(25, observed(1), unlike, []);
    expect(change!.evidence.statement).toMatch(
      /^at the weights of step 20 the batch of step 25 has the loss NaN; this/,
    );
  });
  const decided = (times: number, before: ArmOutcome | null, tenth: ArmOutcome) => {
    const seen = observed(times);
    const changes = changesBy(25, seen, references, []);
    expect(changes.map(({ trigger, gradual }) => [trigger, gradual])).toEqual([['learning-rate', true]]);
    const ends = new Map<unknown, ArmOutcome | null>([
      [undefined, before],
      [0.1, tenth],
    ]);
    return decideCause({
      ...{
        onset: 25,
        observed: seen,
        references,
        hasModel: true,
        changes,
        cameBack: false,
        ruleHolds: false,
      },
      ...{ shorter: null, unrecorded: null },
      arms: planArms(seen, references, changes, 25).map(({ training: _, ...plan }) => {
        const rate = plan.undoes === 'learning-rate' || plan.undoes === 'sharpness';
        const outcome = rate && ends.has(plan.arm.factor) ? ends.get(plan.arm.factor)! : 'lost';
        return { ...plan, outcome, finalLoss: 1, shows: outcome === 'holds' };
      }),
    });
  };
  it('is the cause where a rate between the two holds', () => {
    expect(decided(150, 'frozen', 'holds')).toMatchObject({ trigger: 'learning-rate', confidence: 'shown' });
    expect(decided(150, 'frozen', 'holds').statement).toMatch(
      /; at 0\.1 times the learning rate, more than before it rose, the run stays well$/,
    );
  });
  it('is none where what holds is less than the rate of before, or that rate holds nothing', () => {
    expect(decided(8, 'frozen', 'holds').trigger).toBe('sharpness');
    expect(decided(150, 'lost', 'holds').trigger).toBe('sharpness');
    expect(decided(150, 'frozen', 'lost').trigger).toBe('none-found');
  });
});

describe('a run that stays well where it is trained again with the state carried on', () => {
  const STEPS = 60;
  const at = (value: (i: number) => number) => Array.from({ length: STEPS }, (_, i) => value(i));
  const wave = (i: number) => 1 + 0.02 * Math.sin(i);
  const harmed = at((i) => wave(i) * (i >= 20 ? 8 : 1));
  /** `departs`: the step at which the trainings part; with `slots` the optimizer keeps a state. */
  const asked = (
    baseline: readonly number[],
    outcome: ArmOutcome | null,
    { departs = 112, recorded = harmed, agreedAt = null as number | null, slots = true } = {},
  ) =>
    unrecordedIn(
      { baseline: { loss: baseline }, check: { departsAt: departs } } as never,
      { steps: recorded.map((loss, i) => ({ step: 100 + i, loss })) } as never,
      { tensors: [{ slots: slots ? { v: new Float64Array(1) } : {} }] } as never,
      { loss: recorded, agreedAt, mismatches: [] } as never,
      20,
      { outcome },
      [],
    );
  it('has lost the state, though too few clean steps were recorded to judge its end', () => {
    const lost = { trigger: 'optimizer-state', at: 11, computed: wave(12), holds: true };
    expect(asked(at(wave), null)).toEqual(lost);
    expect(asked(at(wave), 'holds')).toEqual(lost);
  });
  it('has not where it is harmed too, or parts from the record after the onset only', () => {
    expect(asked(harmed, null)).toBeNull();
    expect(asked(at(wave), 'lost')).toBeNull();
    expect(asked(at(wave), null, { departs: 125 })).toBeNull();
  });
  describe('or ends above its level without the incident', () => {
    // Up for nine steps and back: its end says nothing.
    const back = at((i) => wave(i) * (i >= 20 && i < 29 ? 8 : 1));
    const parts = { departs: 120, recorded: back };
    it('has lost it where all agreed up to the step before', () => {
      const lost = { trigger: 'optimizer-state', at: 19, computed: wave(20), holds: false };
      expect(asked(at(wave), 'hurt', parts)).toEqual(lost);
    });
    it('has not where the incident happens to it too, or it came off little by little', () => {
      expect(
        asked(
          at((i) => wave(i) * (i >= 21 && i < 30 ? 8 : 1)),
          'hurt',
          parts,
        ),
      ).toBeNull();
      const off = at((i) => wave(i) * (i < 20 ? 1 + 1e-5 * 1.4 ** i : 1.005));
      expect(asked(off, 'hurt', parts)).toBeNull();
    });
    it('has lost it, and not the precision, where its losses are lost after the jump', () => {
      const later = (first: number) => at((i) => (i < 20 ? wave(i) : i < first ? 8 : Number.NaN));
      const told = (first: number) => asked(at(wave), 'holds', { departs: 120, recorded: later(first) });
      expect(told(25)?.trigger).toBe('optimizer-state');
      expect(told(20)?.trigger).toBe('precision');
    });
    it('has something else where the weights go on as the optimizer moves them, or it keeps no state', () => {
      const other = { trigger: 'none-found', at: 19, computed: wave(20), holds: false };
      expect(asked(at(wave), 'hurt', { ...parts, agreedAt: 140 })).toEqual(other);
      expect(asked(at(wave), 'hurt', { ...parts, slots: false })).toEqual(other);
      expect(asked(at(wave), 'hurt', { ...parts, agreedAt: 110 })?.trigger).toBe('optimizer-state');
    });
  });
});

/** What had changed by step 10 of twelve, of which the batches of steps 9 and 10 have these losses at the weights of step 5. */
function changedBy10(
  later: readonly number[],
  learningRate: (step: number) => number = () => 0.1,
  harmful = 10,
  onset = harmful,
) {
  const steps = Array.from({ length: Math.max(12, 9 + later.length) }, (_, i) => i);
  const ones = steps.map(() => 1);
  return changesBy(
    harmful,
    {
      steps,
      batchIds: [],
      loss: ones,
      learningRate: steps.map(learningRate),
      gradientNorm: ones,
      updateNorm: ones,
      surprise: [],
      effectiveRate: ones,
      ...UNSEEN,
    },
    {
      at: 5,
      later: later.map((loss, i) => ({ index: 9 + i, loss })),
      usual: [0, 1],
      unlike: new Set(later.flatMap((loss, i) => (loss <= 1 ? [] : [9 + i]))),
      onsetBatch: [],
      before: [0],
      after: [],
      batches: [],
      loss: [],
      harmful,
      highest: 1,
      level: 1,
    },
    [],
    onset,
  );
}

it('an unlike batch counts up to the onset, though the reference loss wavered a step before it', () => {
  expect(changedBy10([30], undefined, 8).map(({ trigger }) => trigger)).toEqual([]);
  expect(changedBy10([30], undefined, 8, 9).map(({ trigger }) => trigger)).toEqual(['data']);
  expect(changedBy10([0.5, 30], undefined, 8, 9).map(({ trigger }) => trigger)).toEqual([]);
});

describe('a climb after a batch whose loss jumped and came back', () => {
  const steps = Array.from({ length: 60 }, (_, i) => i);
  const wavers = (i: number): number => 1 + 0.05 * Math.sin(3 * i);
  const half: ReplayArm = { kind: 'learning-rate', factor: 0.5 };
  interface Given {
    readonly jump?: number;
    readonly update?: number;
    readonly harmful?: number | null;
    readonly rise?: number;
    readonly arm?: ReplayArm;
    readonly undoes?: Cause['trigger'];
    /** How a training ended that left out the batch of step 20. */
    readonly without?: 'holds' | 'lost';
    /** Loss of the batch of step 20 at the weights of step 15. */
    readonly older?: number;
    readonly outcome?: ArmOutcome | null;
    readonly openFirst?: string | null;
  }
  const decided = ({
    jump = 1e6,
    update = 1,
    harmful = 22,
    rise = 1,
    arm = half,
    undoes = 'sharpness',
    without,
    older,
    outcome = 'holds',
    openFirst = null,
  }: Given) => {
    const ones = steps.map(() => 1);
    const references: References = {
      ...{ at: 15, later: [{ index: 29, loss: 1 }], usual: [0, 2], unlike: new Set(), onsetBatch: [] },
      ...{ before: [0], after: [40], batches: [], harmful, highest: 1, level: 1 },
      loss: steps.map((i) => (harmful === null || i < harmful ? 1 : 3)),
      ...(older === undefined ? {} : { jumped: { index: 20, at: 15, loss: older, usual: [0, 2] as const } }),
    };
    const observed = {
      ...{ steps, batchIds: [], gradientNorm: ones, learningRate: steps.map((i) => rise ** i) },
      loss: steps.map((i) => (i === 20 ? jump : wavers(i) * 1.1 ** Math.max(0, i - 23))),
      updateNorm: steps.map((i) => (i === 19 ? update : 1)),
      ...{
        surprise: [],
        effectiveRate: ones,
        ...UNSEEN,
      },
    };
    return decideCause({
      ...{ onset: 30, observed, references, hasModel: true, cameBack: false, ruleHolds: true, openFirst },
      ...{ shorter: null, unrecorded: null, changes: changesBy(harmful ?? 30, observed, references, [], 30) },
      arms: [
        {
          ...{ arm, undoes, interference: 0.5, skipSteps: null, learningRateFactor: 0.5 },
          ...{ outcome, finalLoss: 1, shows: outcome === 'holds' },
        },
        ...(without === undefined
          ? []
          : [
              {
                ...{ arm: { kind: 'skip-batches', steps: [20] }, undoes: 'data' as const, interference: 0 },
                ...{ skipSteps: [20, 20] as const, learningRateFactor: null, finalLoss: 1 },
                ...{ outcome: without, shows: without === 'holds' },
              },
            ]),
      ],
    });
  };
  it('is shown to be of that batch where the run stays well without it, and denied where it does not', () => {
    const shown = decided({ without: 'holds' });
    expect(shown).toMatchObject({ trigger: 'data', confidence: 'shown' });
    expect(shown.statement).toMatch(/^the loss is 1e6 at step 20 .*; without this batch the run stays well$/);
    const denied = decided({ without: 'lost' });
    expect(denied).toMatchObject({ trigger: 'sharpness', confidence: 'shown' });
    expect(denied.statement).toMatch(
      /^the loss is 1e6 at step 20 .*; without that batch the run is harmed all the same; else the losses .* are as before/,
    );
  });
  it('is of that batch, likely, though a lower rate holds too', () => {
    const cause = decided({});
    expect(cause).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(cause.statement).toMatch(/^the loss is 1e6 at step 20 while .*; the loss climbs from step 30 on$/);
  });
  it('is likely at most, also where other batches are left out, or the weights are unharmed', () => {
    expect(decided({ arm: { kind: 'skip-batches', steps: [40] }, undoes: 'data' })).toMatchObject({
      trigger: 'data',
      confidence: 'likely',
    });
    const unharmed = decided({ harmful: null });
    expect(unharmed).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(unharmed.statement).toMatch(/so the weights are unharmed$/);
  });
  it('is of that batch where its loss is high at the weights of before, and not where the weights made the jump', () => {
    expect(decided({ older: 1e6 })).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(decided({ older: 1 })).toMatchObject({ trigger: 'sharpness', confidence: 'shown' });
    expect(decided({ older: 1e6, outcome: null })).toMatchObject({ trigger: 'data', confidence: 'likely' });
    const unknown = decided({ older: 1, outcome: null });
    expect(unknown).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(unknown.statement).toMatch(
      /the same batch 1 at the weights of step 15, where up to 2 is usual: the weights made/,
    );
  });
  it('is sharpness where no loss jumped, or what led to the jump was a longer step, hurt weights or a rising rate', () => {
    for (const given of [{ jump: 1 }, { update: 50 }, { harmful: 18 }, { rise: 1.03 }])
      expect(decided(given)).toMatchObject({ trigger: 'sharpness', confidence: 'shown' });
  });
  it('is sharpness, likely, where the first recorded batches may be others than those before, and says what to record', () => {
    const open = openFirstSteps([1, 1.1, 0.9, 1], { steps: [500, 501, 502], loss: [3, 3, 3] }, 3);
    const cause = decided({ jump: 1, openFirst: open });
    expect(cause).toMatchObject({ trigger: 'sharpness', confidence: 'likely' });
    expect(cause.statement).toMatch(
      /do no harm; the first recorded losses are 3, .* record from before step 500 on$/,
    );
  });
});

describe('the first recorded steps', () => {
  const before = [1, 1.1, 0.9, 1];
  const open = (loss: readonly number[], logged: readonly number[] = before, first = 500) =>
    openFirstSteps(logged, { steps: loss.map((_, i) => first + i), loss }, loss.length);
  it('go on as before in a healthy twin, and where too high a rate makes the loss grow later', () => {
    expect(open([1, 0.9, 1.1, 1, 1])).toBeNull();
    expect(open([1, 1.1, 0.9, 1, 1, 1.2, 1, 1.1, 4, 20])).toBeNull();
    // One odd batch is not another kind of data.
    expect(open([9, 1, 1, 1, 1])).toBeNull();
  });
  it('are open where their losses are others at once, higher or lower, or nothing is known from before', () => {
    expect(open([2, 2.1, 1.9, 2])).toMatch(
      /^the first recorded losses are 2\.?\d*, where 0\.8 to 1\.2 was usual before/,
    );
    expect(open([0.2, 0.2, 0.2])).toMatch(/^the first recorded losses are 0\.2/);
    expect(open([1, 1, 1], [1, 1])).toMatch(
      /not known: keep the log from before it, or record from before step 500 on$/,
    );
  });
  it('are those of the run where it begins there', () => {
    expect(open([9, 9, 9], [], 0)).toBeNull();
  });
});

describe('a change without which the run is lost all the same', () => {
  const steps = Array.from({ length: 60 }, (_, i) => i);
  const ones = steps.map(() => 1);
  /** Batches of which the loss is hardly above the usual one, and how a training without them, and one at half of the rate, ends. */
  const decided = ({
    own = 1,
    trigger = 'data' as 'data' | 'optimizer-state',
    outcome = 'lost' as ArmOutcome,
    shows = true,
  }) => {
    const references: References = {
      ...{ at: 15, later: [{ index: 20, loss: own }], usual: [0, 2], unlike: new Set([18]), onsetBatch: [] },
      ...{ before: [0], after: [40], batches: [], harmful: 19, highest: 1, level: 1 },
      loss: steps.map((i) => (i < 20 ? 1 : 9)),
    };
    const observed = {
      ...{ steps, batchIds: [], loss: ones, learningRate: ones, gradientNorm: ones, updateNorm: ones },
      ...{ surprise: [], effectiveRate: ones, ...UNSEEN },
      tensors: [],
    };
    const at = { step: 15, batchStep: null };
    const evidence = {
      id: 'batches-unlike',
      statement: 's',
      value: 2.1,
      unit: 'loss',
      usual: null,
      at,
    } as const;
    const ended = { interference: 0, skipSteps: null, learningRateFactor: null, finalLoss: 1 };
    const arm: ReplayArm = { kind: trigger === 'data' ? 'skip-batches' : 'restore-optimizer-state' };
    const half: ReplayArm = { kind: 'learning-rate', factor: 0.5 };
    return decideCause({
      ...{ onset: 20, observed, references, hasModel: true, cameBack: false, ruleHolds: true },
      ...{ shorter: null, unrecorded: null, changes: [{ trigger, from: 18, size: 1, evidence }] },
      arms: [
        { ...ended, arm, undoes: trigger, outcome, shows: outcome === 'holds' },
        { ...ended, arm: half, undoes: 'sharpness', outcome: shows ? 'holds' : 'lost', shows },
      ],
    });
  };
  it('is not what broke it: steps too long for the loss are, likely, where half of the rate holds', () => {
    const cause = decided({});
    expect(cause).toMatchObject({ trigger: 'sharpness', confidence: 'likely' });
    expect(cause.statement).toMatch(
      /^at a lower learning rate .* taken back the run is harmed all the same: s$/,
    );
  });
  it.each([
    ['that rate holds neither', { shows: false }],
    ['the run is hurt and not lost without it', { outcome: 'hurt' as const }],
    ['the batch of the onset is unlike too', { own: 3 }],
  ])('leaves open what did where %s', (_, given) => {
    expect(decided(given)).toMatchObject({ trigger: 'none-found', confidence: null });
  });
  it('takes no state back that was lost unseen', () => {
    const cause = decided({ trigger: 'optimizer-state' });
    expect(cause.trigger).toBe('none-found');
    expect(cause.statement).toMatch(
      /^s; trained again with the state carried on, the run is harmed all the same$/,
    );
  });
});

describe('bad batches of which no single step raised the reference loss', () => {
  const steps = Array.from({ length: 60 }, (_, i) => i);
  const ones = steps.map(() => 1);
  const decided = (end: number, odd = [20], after = [40], loss = 30) => {
    const references: References = {
      ...{ at: 15, later: odd.map((index) => ({ index, loss })), usual: [0, 1] },
      ...{
        unlike: new Set(odd),
        onsetBatch: [],
        before: [0],
        after,
        batches: [],
        harmful: null,
        highest: 1,
        level: 1,
      },
      loss: steps.map((i) => (i < 20 ? 1 : 1 + ((end - 1) * (i - 20)) / 39)),
    };
    const observed = {
      ...{ steps, batchIds: [], loss: ones, learningRate: ones, gradientNorm: ones, updateNorm: ones },
      ...{
        surprise: [],
        effectiveRate: steps.map((i) => (i < 20 ? 1 : 0.1)),
        ...UNSEEN,
      },
    };
    const plan = { interference: 0, skipSteps: null, learningRateFactor: null, finalLoss: 1, shows: true };
    const arm = (kind: string, undoes: Cause['trigger']) =>
      ({ ...plan, arm: { kind }, undoes, outcome: 'holds' }) as const;
    return decideCause({
      ...{ onset: 20, observed, references, hasModel: true, cameBack: false, ruleHolds: false },
      ...{ shorter: null, unrecorded: null, changes: changesBy(20, observed, references, []) },
      arms: [arm('skip-batches', 'data'), arm('restore-optimizer-state', 'optimizer-state')],
    });
  };
  it('did no harm where it ends as it was', () => {
    const cause = decided(1.1);
    expect(cause).toMatchObject({ trigger: 'data', mechanism: 'bad-batch-only', confidence: 'shown' });
    expect(cause.statement).toMatch(/so the weights are unharmed$/);
  });
  it('is not said to be the cause of a high loss where its own is only low', () => {
    const cause = decided(1.1, [20], [40], -30);
    expect(cause.statement).not.toMatch(/unharmed/);
    expect(cause.statement).toMatch(/has the loss -30, where at least 0 is usual/);
  });
  it('may have done some where no batch as before came after: that stands before what is told again where it was tried', () => {
    const told = (odd: number[]) => decided(1.5, odd, []).statement;
    expect(told([20])).toMatch(
      /; this batch is unlike those before; no batch as before came after, so whether the weights are harmed or follow the new data is unknown; without this batch the run stays well$/,
    );
    expect(told([20, 21, 22, 23])).toMatch(
      /, to the last that was recorded; whether the weights are harmed or follow the new data is unknown; without these batches the run stays well$/,
    );
    expect(decided(1.5).statement).not.toMatch(/is unknown/);
  });
  it('did some where it rose little by little: nothing is learnt on poisoned accumulators', () => {
    const cause = decided(1.5);
    expect(cause).toMatchObject({ trigger: 'data', mechanism: 'poisoned-accumulators', confidence: 'shown' });
    expect(cause.statement).toMatch(/; without this batch the run stays well$/);
    expect(cause.evidence[0]!.statement).toMatch(
      /no single step raised .*; it ends at 1\.4.*, where 1 was usual$/,
    );
  });
});

it('the update of the harmful step is told by tensor, the longest first, each against its own past', () => {
  const steps = Array.from({ length: 40 }, (_, i) => i);
  const norms = (usual: number, at12: number) =>
    steps.map((i) => (i === 12 ? at12 : usual + 0.001 * (i % 3)));
  const tensors = [
    { name: 'calm', updateNorm: norms(3, 3) },
    { name: 'user', updateNorm: norms(0.1, 9) },
    { name: 'head', updateNorm: norms(0.2, 0.2) },
    { name: 'bias', updateNorm: norms(0.01, 1) },
  ];
  const told = (given: DecideInput['observed']['tensors']) =>
    decideCause({
      onset: 12,
      observed: {
        ...{ steps, batchIds: [], loss: norms(1, 9), learningRate: norms(1, 1), gradientNorm: norms(1, 9) },
        ...{
          updateNorm: norms(3, 9.5),
          surprise: [],
          effectiveRate: [],
          ...UNSEEN,
          tensors: given,
        },
      },
      ...{ references: null, hasModel: false, changes: [], arms: [], cameBack: false, ruleHolds: false },
      ...{ shorter: null, unrecorded: null },
    }).evidence.find(({ id }) => id === 'update-norm')!.statement;
  expect(told(tensors)).toMatch(
    /is 9\.5 at step 12, .*; by tensor 9 in "user" \(usual up to 0\.103\), 3 in "calm" \(usual up to 3\.003\), 1 in "bias" .*; 2 of 4 tensors are above their usual$/,
  );
  expect(told(tensors.slice(0, 1))).not.toContain('by tensor');
});

it.each([
  [[1.2, 30], 10, '30'],
  [[30, 1.2], 9, '30'],
  [[1.2, Number.NaN], 10, 'NaN'],
])(
  'of unlike batches with the losses %j that of step %i is told and measured, and the first is where it begins',
  (losses, step, loss) => {
    const [data] = changedBy10(losses);
    expect(data).toMatchObject({ trigger: 'data', from: 9, evidence: { at: { step: 5, batchStep: step } } });
    // 0.5 is the middle of what is usual.
    expect(data!.size).toBe(loss === 'NaN' ? Number.POSITIVE_INFINITY : Number(loss) / 0.5);
    expect(data!.evidence.statement).toMatch(
      new RegExp(
        `the batch of step ${step} has the loss ${loss}, .*; 2 batches, 9 to 10, are unlike those before$`,
      ),
    );
  },
);

it.each([
  ['stays', (step: number) => (step < 9 ? 0.1 : 4), /and was 0\.1 before; it is still 4 at step 11$/],
  [
    'falls back',
    (step: number) => (step === 9 ? 4 : 0.1),
    /and was 0\.1 before; it was high for one step, and is 0\.1 from step 10 on$/,
  ],
  [
    'falls back unseen',
    (step: number) => (step === 9 ? 4 : step === 10 ? Number.NaN : 0.1),
    /and was 0\.1 before; it is 0\.1 from step 11 on$/,
  ],
  [
    'rises on',
    (step: number) => (step < 9 ? 0.1 : 4 * 2 ** (step - 9)),
    /and was 0\.1 before; it kept rising, to 16 at step 11$/,
  ],
  [
    'is higher at the end, not all the way',
    (step: number) => (step < 9 ? 0.1 : [4, 3, 9][step - 9]!),
    /and was 0\.1 before; it is even higher, 9 at step 11$/,
  ],
  [
    'sinks slowly',
    (step: number) => (step < 9 ? 0.1 : 4 / (step - 8)),
    /and was 0\.1 before; it is still high, 1\.333 at step 11$/,
  ],
  [
    'is not known later',
    (step: number) => (step < 9 ? 0.1 : step === 9 ? 4 : Number.NaN),
    /and was 0\.1 before$/,
  ],
])('a learning rate that rose and %s says so', (_, rate, told) => {
  expect(changedBy10([], rate)[0]!.evidence.statement).toMatch(told);
});

it('of unlike batches it is said which they are, and that they are over where that was seen', () => {
  const [usual, odd] = [0.5, 30];
  const told = (losses: readonly number[]) => changedBy10(losses)[0]!.evidence.statement;
  expect(told([odd])).toMatch(/; this batch is unlike those before$/);
  expect(told([odd, odd, usual, usual, usual, usual])).toMatch(
    /; 2 batches, 9 to 10, are unlike those before; the 4 after them are as usual$/,
  );
  // Three are no more than chance.
  expect(told([odd, odd, usual, usual, usual])).toMatch(/unlike those before$/);
  expect(told([odd, odd, odd, odd])).toMatch(
    /; 4 batches, 9 to 12, are unlike those before, to the last that was recorded$/,
  );
  expect(told([odd, usual, odd, usual])).toMatch(/; 2 batches, 9 and 11, are unlike those before$/);
});

it('a batch whose loss is no number is the largest change', () => {
  const found = changedBy10([Number.NaN], (i) => (i < 10 ? 0.1 : 1));
  const sizes = new Map(found.map(({ trigger, size }) => [trigger, size]));
  expect(sizes.get('learning-rate')).toBeCloseTo(10);
  expect(sizes.get('data')).toBe(Number.POSITIVE_INFINITY);
});

it('a remedy says in how many other orders it held, or that none was tried', () => {
  const told = (tried: number, held: number) => endText('holds', 1, null, { tried, held });
  expect(told(3, 3)).toMatch(/^it holds \(also in 3 of 3 other orders of the batches\)/);
  expect(told(3, 0)).toMatch(
    /^it holds in the order that was recorded, and in 0 of 3 other orders of the batches: /,
  );
  expect(told(0, 0)).toMatch(/^it holds \(not tried in other orders of the batches\)/);
});

describe('a run that came back by itself', () => {
  const steps = Array.from({ length: 42 }, (_, i) => i);
  const references: References = {
    at: 15,
    later: [],
    usual: [0, 1],
    unlike: new Set(),
    onsetBatch: [],
    before: [0, 5, 10, 15],
    after: [25, 30, 35],
    batches: [],
    loss: Array.from({ length: 43 }, () => 1),
    harmful: null,
    highest: 1,
    level: 1,
  };
  /** Losses with a spike at the onset, and the end as before. */
  const losses = (spike: number): number[] => steps.map((i) => (i === 20 ? spike : 1 + 0.01 * (i % 3)));
  const trained = (spike: number, end = 1) => ({
    loss: losses(spike),
    updateNorm: steps.map(() => 1),
    referenceLoss: steps.map(() => end),
  });
  const ends = (asItWas: ReturnType<typeof trained>) => endsBeside(asItWas, references, 20, []);

  it('an arm shows nothing by an end that came anyway: its spike has to be gone', () => {
    const endOf = ends(trained(9));
    expect(endOf(trained(9))).toEqual({ outcome: 'holds', finalLoss: 1, shows: false });
    expect(endOf(trained(1))).toEqual({ outcome: 'holds', finalLoss: 1, shows: true });
    expect(endOf(trained(Number.NaN)).shows).toBe(false);
    // The loss on a batch that is left out is nothing that the training took.
    expect(endOf(trained(9), new Set([20])).shows).toBe(true);
  });
  it('where the run without it is lost, the end shows it', () => {
    const endOf = ends(trained(9, 3));
    expect(endOf(trained(9)).shows).toBe(true);
    expect(endOf(trained(1, 3)).shows).toBe(false);
  });

  const halfRate: DecideInput['arms'][number] = {
    arm: { kind: 'learning-rate', factor: 0.5 },
    undoes: 'sharpness',
    interference: 0.5,
    skipSteps: null,
    learningRateFactor: 0.5,
    outcome: 'holds',
    finalLoss: 1,
    shows: false,
  };
  const calm = {
    steps,
    batchIds: [],
    loss: losses(9),
    learningRate: steps.map(() => 0.1),
    gradientNorm: steps.map(() => 1),
    updateNorm: steps.map(() => 1),
    surprise: [],
    effectiveRate: steps.map(() => 1),
    ...UNSEEN,
  };
  const told = (more: Partial<DecideInput>): Cause =>
    decideCause({
      onset: 20,
      observed: calm,
      references,
      hasModel: true,
      changes: [],
      arms: [halfRate],
      cameBack: true,
      ruleHolds: false,
      shorter: null,
      unrecorded: null,
      ...more,
    });
  it('has no sharpness shown by half of the rate where the spike is as without it', () => {
    const cause = told({});
    expect(cause).toMatchObject({ trigger: 'none-found', mechanism: 'bad-batch-only', confidence: null });
    expect(cause.statement).toMatch(/under everything tried the incident happens all the same$/);
    const slow = told({ arms: [{ ...halfRate, outcome: 'lost' }], cameBack: false, slower: true });
    expect(slow.statement).toMatch(/under everything tried the run is harmed or learns too slowly$/);
  });
  it('has it where the spike is gone', () => {
    expect(told({ arms: [{ ...halfRate, shows: true }] })).toMatchObject({
      trigger: 'sharpness',
      confidence: 'shown',
    });
  });
  it('has none where another step has as high a loss and the weights never felt it', () => {
    const observed = { ...calm, loss: steps.map((i) => (i === 20 || i === 35 ? 2 : 1 + 0.01 * (i % 3))) };
    const found = told({ observed, arms: [{ ...halfRate, shows: true }] });
    expect(found).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(found.statement).toMatch(/, so no step was too long: the losses of single batches vary as much$/);
  });
  it.each([
    [
      1,
      /^the losses of the batches at earlier weights, the learning rate and the optimizer state are as before/,
    ],
    // A warm-up: too slow for a change, and no rate that is as before.
    [
      1.01,
      /weights and the optimizer state are as before step 20; the learning rate rises from 0\.1 at step 0 to 0\.122/,
    ],
    [0.99, /weights and the optimizer state are as before step 20; at a lower/],
  ])('sharpness says of the rate only what is so: times %f at each step', (times, said) => {
    const observed = { ...calm, learningRate: steps.map((i) => 0.1 * times ** i) };
    expect(told({ observed, arms: [{ ...halfRate, shows: true }] }).statement).toMatch(said);
  });
  it('has a lost optimizer state likely at most: it is put back after the incident only', () => {
    const statement = 'the state is another one';
    const evidence = { id: 'optimizer-state', statement, value: null, unit: 'state', usual: null } as const;
    const lost = {
      trigger: 'optimizer-state',
      from: 0,
      size: 1,
      evidence: { ...evidence, at: { step: 0, batchStep: null } },
    } as const;
    expect(told({ changes: [lost] })).toMatchObject({ trigger: 'optimizer-state', confidence: 'likely' });
    // Nothing is said to be taken back by an arm that takes back another thing.
    const arm: ReplayArm = { kind: 'restore-optimizer-state', at: 25 };
    const restored = { ...halfRate, arm, undoes: 'optimizer-state' as const, outcome: 'lost' as const };
    const triggerBy = (arms: DecideInput['arms']) => told({ changes: [lost], cameBack: false, arms }).trigger;
    expect(triggerBy([halfRate])).toBe('optimizer-state');
    expect(triggerBy([halfRate, restored])).toBe('none-found');
  });
  it('has one that was lost before the capture likely, whatever the arms show: none of them takes it back', () => {
    const statement = 'the optimizer had taken no step at step 0';
    const evidence = { id: 'optimizer-state', statement, value: null, unit: 'state', usual: null } as const;
    const lost = { trigger: 'optimizer-state', from: 0, size: 1 } as const;
    const before = {
      ...lost,
      evidence: { ...evidence, at: { step: 0, batchStep: null } },
      beforeRecord: true,
    } as const;
    const arm: ReplayArm = { kind: 'restore-optimizer-state', at: 25 };
    const restored = { ...halfRate, arm, undoes: 'optimizer-state' as const, shows: true };
    for (const arms of [[restored], [{ ...restored, shows: false, outcome: 'lost' as const }]]) {
      const cause = told({ changes: [before], cameBack: false, arms });
      expect(cause).toMatchObject({ trigger: 'optimizer-state', confidence: 'likely' });
      expect(cause.statement).toMatch(/; no experiment takes back what lies before the capture$/);
    }
  });
});

it('docs/cause.md has a section for each kind of evidence', () => {
  const page = readFileSync(join(projectRoot, 'docs/cause.md'), 'utf8');
  for (const id of EVIDENCE_IDS) expect(page).toContain(`\`${id}\``);
});

it('a rate is pasted in four digits, and one that was kept in 32 bits as it was written', () => {
  expect(pasteRate('jax', Math.fround(0.003), null)).toBe('learning_rate=0.003,  # of the optimizer');
  expect(pasteRate('keras-fit', 0.008811021183672723, null)).toBe('optimizer.learning_rate = 0.008811');
  expect(pasteRate('torch', 1.5e-7, null)).toContain('= 1.5e-7');
});

it('groups with rates of their own get each its own back, where the loop knows them', () => {
  const shares = groupShares([{ learningRates: [0.001, 0.005, 0.001] }]);
  expect(pasteRate('torch', 0.001, null, shares)).toBe(
    'for group, rate in zip(optimizer.param_groups, [0.001, 0.005, 0.001]): group["lr"] = rate',
  );
  for (const loop of ['lightning', 'transformers'] as const)
    expect(pasteRate(loop, 0.001, null, shares)).toContain('[0.001, 0.005, 0.001]): g["lr"] = rate');
  for (const loop of ['lightning-manual', 'keras'] as const)
    expect(pasteRate(loop, 0.001, null, shares)).toBeNull();
  const alike = groupShares([{ learningRates: [0.001, 0.001] }]);
  expect(pasteRate('torch', 0.001, null, alike)).toBe(
    'for group in optimizer.param_groups: group["lr"] = 0.001',
  );
});

it('lines that lower by a factor are those that python/tests/test_stories.py pastes into trainers that resume', () => {
  const held = readFileSync(join(projectRoot, 'python/tests/test_stories.py'), 'utf8');
  for (const line of [
    pasteDecay('transformers', 0.01),
    pasteDecay('lightning', 0.01),
    pasteRate('lightning', null, 0.01),
    pasteRate('lightning-manual', null, 0.01),
  ])
    expect(held).toContain(`"""${line}"""`);
});

it('lines for TensorFlow.js are JavaScript, and set the rate of every optimizer of tf.train', async () => {
  const require = createRequire(import.meta.url);
  const tf = require('@tensorflow/tfjs-core') as typeof Tf;
  require('@tensorflow/tfjs-backend-cpu');
  await tf.setBackend('cpu');
  const rates = [tf.train.sgd(1), tf.train.adam(1), tf.train.rmsprop(1)].map((optimizer) => {
    new Function('optimizer', pasteRate('tfjs', 0.25, null)!)(optimizer);
    // One step with a gradient of 1: what SGD moves is its rate.
    const variable = tf.variable(tf.scalar(0));
    optimizer.applyGradients([{ name: variable.name, tensor: tf.scalar(1) }]);
    return Math.abs(variable.dataSync()[0]!);
  });
  expect(rates.map((moved) => moved > 0.2 && moved < 1)).toEqual([true, true, true]);
  for (const [steps, left] of [
    [
      [3, 4, 5],
      [0, 1, 2, 6],
    ],
    [
      [1, 4],
      [0, 2, 3, 5, 6],
    ],
  ] as const) {
    const loop = `const left = []; for (let step = 0; step < 7; step++) { ${pasteSkip('tfjs', steps)} left.push(step); } return left;`;
    expect(new Function(loop)()).toEqual(left);
  }
});

it('a lower rate that nobody tried has its line too, where the rate of before is known', () => {
  const cause = { ...NO_CAUSE.cause, trigger: 'learning-rate' as const };
  const evidence = [{ at: { step: 120, batchStep: null } }] as unknown as typeof cause.evidence;
  const known = { learningRate: 0.003, paste: 'learning_rate=0.003' };
  expect(suggestionFor({ ...cause, evidence }, 'step', known)).toMatchObject({ ...known, tried: null });
  expect(suggestionFor({ ...cause, evidence }, 'step').paste).toBeNull();
});
