/** The weights were written between steps: all multiplied by one factor, or rounded to a narrower type. */
import { formatNumber } from '../../../model/format-number.ts';
import { fitOf } from '../evaluate.ts';
import { toBfloat16 } from '../rounding.ts';
import { type Course, type Trace, toleranceOf, walkTrace } from '../simulate.ts';
import { factorWords, type Hypothesis, NO_FACTOR } from './hypothesis.ts';

/** All weights are multiplied by one factor before a step of the stretch, or right before the snapshot. */
export const allScaled: Hypothesis = ({ declared, few, traces, from, to, capture }) => {
  const course = (at: number, factor: number): Course => ({
    ...declared,
    before: (step, { w }) => {
      if (step === at) for (let i = 0; i < w.length; i++) w[i] = w[i]! * factor;
    },
  });
  const tried = [];
  for (let at = from + 1; at <= to; at++) {
    const factor = scaleAt(few, declared, (k) => course(at, k), to);
    tried.push({ at, factor, deviation: fitOf(few, course(at, factor), to).deviation });
  }
  const best = tried.reduce((a, b) => (b.deviation < a.deviation ? b : a));
  if (!Number.isFinite(best.factor) || Math.abs(best.factor - 1) < NO_FACTOR) return [];
  const step = capture.steps[best.at]!.step;
  return [
    {
      cause: 'all-scaled',
      factor: best.factor,
      course: course(
        best.at,
        scaleAt(traces, declared, (k) => course(best.at, k), to),
      ),
      event: true,
      global: false,
      at: best.at,
      statement: `something multiplied the weights by ${factorWords(best.factor)} before step ${step}`,
      fix: 'find what writes to the weights between optimizer.step() and the next forward pass: an average of weights that is swapped in, weight tying, a loader, a constraint',
    },
  ];
};

/** The factor by weighted least squares: Gauss–Newton from 1, since the weights are all but linear in it. */
function scaleAt(
  traces: readonly Trace[],
  declared: Course,
  course: (factor: number) => Course,
  to: number,
): number {
  const STEP = 1e-3;
  let factor = 1;
  for (let round = 0; round < 3; round++) {
    let above = 0;
    let below = 0;
    for (const trace of traces) {
      const snapshot = trace.snapshots.get(to);
      if (snapshot === undefined) continue;
      const here = walkTrace(trace, course(factor), to);
      const there = walkTrace(trace, course(factor * (1 + STEP)), to);
      const plain = walkTrace(trace, declared, to);
      for (let i = 0; i < snapshot.length; i++) {
        const weight = 1 / toleranceOf(plain, i) ** 2;
        const slope = (there.w[i]! - here.w[i]!) / (factor * STEP);
        above += weight * slope * (snapshot[i]! - here.w[i]!);
        below += weight * slope * slope;
      }
    }
    if (!(below > 0)) return Number.NaN;
    factor += above / below;
  }
  return factor;
}

const toFloat16 = (x: number): number => {
  // Eleven significant bits; subnormal below 2^-14.
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x) || 1)), -14);
  const unit = 2 ** (exponent - 10);
  return Math.round(x / unit) * unit;
};

/** Weights that are stored wide are rounded to a narrow type after every step. */
export const rounded: Hypothesis = ({ declared, few }) => {
  if (few.some(({ unit }) => unit > 2 ** -20)) return [];
  return (
    [
      ['bfloat16', toBfloat16],
      ['float16', toFloat16],
    ] as const
  ).map(([name, round]) => ({
    cause: 'rounded' as const,
    factor: null,
    course: { ...declared, round },
    event: false,
    global: false,
    at: null,
    mayMiss: 0.01,
    statement: `the weights are rounded to ${name} after each step (units of ${formatNumber(name === 'bfloat16' ? 2 ** -8 : 2 ** -11)} of their size)`,
    fix: 'keep a float32 copy of the weights for the optimizer (autocast instead of model.to(…))',
  }));
};
