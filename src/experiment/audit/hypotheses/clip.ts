/** The clip: it does not act, it takes another norm or another limit, or it acts before the loss scale is divided out. */
import { formatNumber } from '../../../model/format-number.ts';
import { ruleInForce } from '../../../step/rules/choice.ts';
import { declaredCourse } from '../chain.ts';
import { clipFactor, type DeclaredClip, declaredClip } from '../declared.ts';
import { bestFactor, fitOf } from '../evaluate.ts';
import type { Course } from '../simulate.ts';
import { type Candidate, type Case, factorWords, type Hypothesis, NO_FACTOR } from './hypothesis.ts';

const THROUGHOUT = { event: false, global: true, at: null } as const;
/** A factor at which no gradient is clipped. */
const NO_CLIP = 1e-30;
/** Loss scales that are in use go as far. */
const LARGEST_SCALE = 2 ** 24;
/** Ranks that one model may be sharded over. */
const MOST_RANKS = 1024;
const CALL = 'clip_grad_norm_(…)';

/** Clipping was declared, and the step used the gradients without it. */
export const clipInactive: Hypothesis = ({ clip, declared }) =>
  clip === null
    ? []
    : [
        {
          ...THROUGHOUT,
          cause: 'clip-inactive',
          factor: null,
          course: { ...declared, factor: () => 1, bound: Number.POSITIVE_INFINITY },
          statement: `the clip does not act (declared: ${clip.label})`,
          fix: 'call the clip between loss.backward() and optimizer.step(), on the parameters of this optimizer, with the limit that was declared; or tell the recorder that nothing clips',
        },
      ];

/** The clip sees the norm c times as large as it is, or its limit is that of 1/c. */
export const clipNormFactor: Hypothesis = (one) => {
  const { clip, capture, survey, few, to } = one;
  if (clip === null) return undeclaredClip(one);
  const course = (factor: number): Course =>
    clip.scope === 'entry'
      ? { ...one.declared, bound: clip.limit / factor }
      : declaredCourse(capture, clip, survey, () => factor);
  const deviationOf = (c: number): number => fitOf(few, course(c), to).deviation;
  const { factor, deviation } = bestFactor(deviationOf, undefined, LARGEST_SCALE);
  const found = course(factor);
  const acts = survey.gradients.some(
    (step, k) =>
      k >= one.from &&
      step.some(
        (seen, tensor) => seen !== null && (found.factor(k, tensor) < 1 || seen.largest > found.bound),
      ),
  );
  // A limit that no gradient reaches is a clip that does not act: so is one that is met and fits no better.
  if (Math.abs(factor - 1) < NO_FACTOR || !acts || !(deviation < 0.99 * deviationOf(NO_CLIP))) return [];
  const shards = 1 / factor ** 2;
  const whole = Math.round(shards);
  const ofShard = whole >= 2 && whole <= MOST_RANKS && Math.abs(shards / whole - 1) < 1e-3;
  if (isLossScale(factor)) return [scaledClip(factor, found)];
  const why = ofShard ? `: the norm of one of ${whole} shards?` : '';
  return [
    {
      ...THROUGHOUT,
      cause: 'clip-norm-factor',
      factor,
      course: found,
      statement: `the clip uses ${factorWords(factor)} times the gradient norm, or a limit of ${formatNumber(clip.limit / factor)} instead of ${formatNumber(clip.limit)}${why}`,
      fix: ofShard
        ? 'reduce the squared norm over all ranks before the clip, or call the clip of the sharding framework (model.clip_grad_norm_ or torch.nn.utils.clip_grad_norm_ on DTensors)'
        : `compare the limit and the norm in the call ${CALL} with what was declared to the recorder`,
    },
  ];
};

/** Loss scales are powers of two; smaller ones may be a factor of another kind. */
const LEAST_SCALE = 128;

const isLossScale = (factor: number): boolean =>
  factor > LEAST_SCALE / 2 &&
  2 ** Math.round(Math.log2(factor)) >= LEAST_SCALE &&
  Math.abs(factor / 2 ** Math.round(Math.log2(factor)) - 1) < 1e-3;

/** A clip that sees a norm that is as much too large as a loss scale would make it, where no scale was recorded. */
const scaledClip = (factor: number, course: Course): Candidate => ({
  ...THROUGHOUT,
  cause: 'clip-before-unscale',
  factor,
  course,
  isGuess: true,
  statement: `the clip uses ${factorWords(factor)} times the gradient norm, a power of two as loss scales are: the clip acts on gradients that still carry the loss scale`,
  fix: `call scaler.unscale_(optimizer) before ${CALL}, and compare its limit with what was declared to the recorder`,
});

/** No clipping was declared, and a limit on the norm explains the weights. */
function undeclaredClip({ declared, survey, few, to }: Case): readonly Candidate[] {
  const { norms } = survey;
  const finite = norms.filter((norm) => Number.isFinite(norm) && norm > 0).sort((a, b) => a - b);
  const middle = finite[Math.floor(finite.length / 2)];
  if (middle === undefined) return [];
  const course = (limit: number): Course => {
    const clip = declaredClip(ruleInForce({ of: 'all', limit })) as DeclaredClip;
    return { ...declared, factor: (step) => clipFactor(clip, norms[step]!) };
  };
  const { factor } = bestFactor((c) => fitOf(few, course(c * middle), to).deviation);
  const limit = factor * middle;
  return [
    {
      ...THROUGHOUT,
      cause: 'clip-norm-factor',
      factor: null,
      course: course(limit),
      statement: `the gradient norm is clipped at ${formatNumber(limit)}, and no clipping was declared`,
      fix: `tell the recorder: clipping="${ruleInForce({ of: 'all', limit: Number(formatNumber(limit)) }).label}"; or remove the clip, if none was meant`,
    },
  ];
}

/** The clip sees gradients that still carry the loss scale. */
export const clipBeforeUnscale: Hypothesis = ({ capture, clip, survey }) => {
  const scaled = capture.steps.some(({ lossScale = 1 }) => lossScale !== 1);
  if (!scaled || clip === null || clip.scope === 'entry') return [];
  const scaleOf = (step: number): number => capture.steps[step]!.lossScale ?? 1;
  return [
    {
      ...THROUGHOUT,
      cause: 'clip-before-unscale',
      factor: scaleOf(0),
      course: declaredCourse(capture, clip, survey, scaleOf),
      statement: 'the clip acts on gradients that still carry the loss scale',
      fix: `call scaler.unscale_(optimizer) before ${CALL}`,
    },
  ];
};
