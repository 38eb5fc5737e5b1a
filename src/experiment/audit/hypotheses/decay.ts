/** Weight decay: coupled for decoupled or the other way round, or of another size. */
import { formatNumber } from '../../../model/format-number.ts';
import { decayOf } from '../../../step/optimizers/registry.ts';
import { bestFactor, fitOf } from '../evaluate.ts';
import type { Course } from '../simulate.ts';
import { factorWords, type Hypothesis, NO_FACTOR } from './hypothesis.ts';

const THROUGHOUT = { event: false, global: false, at: null } as const;

/** Decays that are tried where none was declared. */
const SIZES = Array.from({ length: 61 }, (_, k) => 10 ** (-6 + k / 7.5));

export const decayKind: Hypothesis = ({ declared, traces, few, from, to }) => {
  const [first] = traces;
  if (first === undefined) return [];
  const kind = decayOf(first.choice);
  if (kind === 'direction') return [];
  const other = kind === 'gradient' ? 'parameters' : 'gradient';
  const course: Course = { ...declared, decayKind: other };
  const isDeclared = declared.decay(from, first.group) > 0;
  // Where none is declared at these steps, as much as explains them.
  const size = isDeclared
    ? null
    : bestFactor((k) => fitOf(few, { ...course, decay: () => k }, to).deviation, SIZES).factor;
  const what = size === null ? 'weight decay' : `weight decay of ${formatNumber(size)}`;
  return [
    {
      ...THROUGHOUT,
      cause: 'decay-kind',
      factor: null,
      course: size === null ? course : { ...course, decay: () => size },
      statement: `${what} is ${other === 'gradient' ? 'added to the gradient (L2)' : 'taken off the weights (decoupled)'}, where ${isDeclared ? (other === 'gradient' ? 'decoupled decay was declared' : 'L2 decay was declared') : 'the decay of the optimizer is 0'}`,
      fix:
        other === 'gradient'
          ? 'use AdamW, or decoupled_weight_decay=True, and add no L2 term to the gradient or the loss'
          : 'use the coupled optimizer (Adam instead of AdamW), or declare decoupled decay',
    },
  ];
};

/** A mean deviation below this is rounding. */
const ROUNDING = 0.6;

export const decayFactor: Hypothesis = ({ declared, few, to, from }) => {
  const [first] = few;
  if (first === undefined) return [];
  const meant = declared.decay(from, first.group);
  const course = (times: number): Course =>
    meant > 0
      ? { ...declared, decay: (step, group) => times * declared.decay(step, group) }
      : { ...declared, decay: () => times };
  const deviationOf = (k: number): number => fitOf(few, course(k), to).deviation;
  const { factor } = bestFactor(
    deviationOf,
    meant > 0 ? [1e-9, ...Array.from({ length: 97 }, (_, k) => 2 ** ((k - 48) / 4))] : SIZES,
  );
  if (meant > 0 && Math.abs(factor - 1) < NO_FACTOR) return [];
  // A factor that rounding does not tell from 0 is 0.
  const none = meant > 0 && (factor < 1e-6 || (factor < 0.01 && deviationOf(0) < ROUNDING));
  const size = meant > 0 ? factor * meant : factor;
  return [
    {
      ...THROUGHOUT,
      cause: 'decay-factor',
      factor: none ? 0 : meant > 0 ? factor : null,
      course: none ? { ...declared, decay: () => 0 } : course(factor),
      statement: none
        ? `no weight decay acts (declared: ${formatNumber(meant)})`
        : meant > 0
          ? `weight decay acts at ${formatNumber(size)}, ${factorWords(factor)} times the declared ${formatNumber(meant)}`
          : `weight decay of ${formatNumber(size)} acts, and none was declared`,
      fix: 'set weight_decay of this parameter group to what is meant, and apply it in one place only',
    },
  ];
};
