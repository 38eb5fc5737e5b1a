import { describe, expect, it } from 'vitest';
import {
  AS_GIVEN,
  BLOCK,
  type Moved,
  type MoveNumbers,
  move,
  type WideDirection,
} from '../../src/experiment/audit/move-kernel.ts';
import type { Options } from '../../src/model/options.ts';
import type { Slots } from '../../src/step/optimizers/optimizer.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';

/** What is done with the direction. */
function plain(
  { w, size, largest, drift }: Moved,
  direction: Float64Array,
  { step, shrink, share, systematic, forget }: MoveNumbers,
): void {
  for (let i = 0; i < w.length; i++) {
    const moved = step * direction[i]!;
    const old = w[i]!;
    const next = old - shrink * old - moved;
    w[i] = next;
    const [length, faded] = [Math.abs(moved), forget * size[i]!];
    const recent = length < faded ? faded : length;
    size[i] = recent;
    const [before, after] = [Math.abs(old), Math.abs(next)];
    const most = before < after ? after : before;
    if (most > largest[i]!) largest[i] = most;
    drift[i] = drift[i]! + recent * systematic + share * before;
  }
}

function drawn(n: number, seed: number): Moved & { readonly gradient: Float64Array } {
  let state = seed;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  const wide = (): Float64Array => Float64Array.from({ length: n }, next);
  const narrow = (): Float32Array => Float32Array.from({ length: n }, () => Math.abs(next()));
  return { gradient: wide(), w: wide(), size: narrow(), largest: narrow(), drift: narrow() };
}

const NUMBERS: MoveNumbers = {
  ...{ factor: 1, bound: Number.POSITIVE_INFINITY, coupled: 0, added: 0 },
  ...{ step: 0.3, shrink: 0.01, share: 0.02, systematic: 1.01, forget: 0.9 },
};

describe('the loop of an audit in WebAssembly', () => {
  it.each([1, 7, BLOCK, BLOCK + 3, 2 * BLOCK])('moves %d entries to the bits of the plain loop', (n) => {
    for (const odd of [0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      const [a, b] = [drawn(n, 3), drawn(n, 3)];
      for (const one of [a, b]) one.gradient[n - 1] = odd;
      for (let round = 0; round < 3; round++) {
        move(a, [{ gradient: a.gradient, direction: AS_GIVEN, numbers: NUMBERS }]);
        plain(b, b.gradient, NUMBERS);
      }
      expect(a).toEqual(b);
    }
  });

  it.each<[string, Options]>([
    ['sgd', {}],
    ['sgd', { momentum: 0.9 }],
    ['sgd', { momentum: 0.9, nesterov: true }],
    ['adagrad', {}],
    ['adam', {}],
    ['adam', { amsgrad: true }],
    ['rmsprop', {}],
    ['rmsprop', { momentum: 0.9 }],
    ['rmsprop', { centered: true, momentum: 0.9 }],
  ])('moves weights and state by %s %o in float64 as its plain loop does', (name, given) => {
    const { optimizer, options } = chooseOptimizer(name, given);
    const n = BLOCK + 5;
    const [a, b] = [drawn(n, 7), drawn(n, 7)];
    const slotsOf = (): Slots =>
      Object.fromEntries(
        optimizer.slots(options).map((one) => [one.name, new Float64Array(n).fill(one.initial)]),
      );
    const [ofA, ofB] = [slotsOf(), slotsOf()];
    const numbers = { ...NUMBERS, factor: 0.7, bound: 0.4, coupled: 0.1, added: 0.05 };
    const contexts = [1, 2, 3, 4].map((step) => ({ learningRate: 0.3, step }));
    // All of them while a block is in the cache, and the last one alone.
    const steps = contexts.map((context) => {
      const direction = optimizer.kernel!(ofA, options, context) as unknown as WideDirection;
      return { gradient: a.gradient, direction, numbers };
    });
    move(a, steps.slice(0, 3));
    move(a, steps.slice(3));
    for (const context of contexts) {
      const x = b.gradient.map((g, i) => Math.max(-0.4, Math.min(0.4, 0.7 * g)) + 0.1 * b.w[i]!);
      optimizer.direction(x, x, ofB, options, context);
      plain(
        b,
        x.map((r, i) => r + 0.05 * b.w[i]!),
        numbers,
      );
    }
    expect(a).toEqual(b);
    expect(ofA).toEqual(ofB);
  });
});
