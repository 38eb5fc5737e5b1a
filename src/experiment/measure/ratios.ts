/**
 * The ratio of the top eigenvalue to the stability limit on single batches at one state: on several from before an incident,
 * on the one that came in, and there under each clipping rule. One ratio alone explains nothing: healthy runs have it too.
 */
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import { scaledOperator } from '../../differentiate/curvature/operator.ts';
import { topEigenpairs } from '../../differentiate/curvature/top-eigenpairs.ts';
import { isRaised, usualRange } from '../../judge/incidents/unlike.ts';
import type { RatioSpread } from '../../model/curvature.ts';
import { NO_CLIPPING } from '../../step/rules/choice.ts';
import { createStepper, type Stepper } from '../replay/step.ts';
import { type StepUnderRule, stepUnderRule } from '../replay/under-rule.ts';
import { inverseRoots, isPreconditioned, limitOf, productsAt } from './curvature.ts';
import type { CurvaturePoint } from './point.ts';

/** A recorded batch and its step. */
export interface BatchOfStep {
  readonly step: number;
  readonly batch: Batch;
}

/** What a search takes where one ratio of many is wanted. */
export const SEARCH = { method: 'lanczos', count: 1, tolerance: 1e-2, seed: 0 } as const;

/**
 * Ratios at a point on each of some batches alone.
 *
 * @param before batches from before the incident
 * @param incoming the batch of the incident's first harmful step; null without an incident
 * @param beforeProduct called before each product; what it throws ends the measurement
 * @throws what the model and the search throw
 */
export async function ratioSpread(
  point: CurvaturePoint,
  before: readonly BatchOfStep[],
  incoming: BatchOfStep | null,
  beforeProduct: () => void,
): Promise<Omit<RatioSpread, 'rules'>> {
  const stepper = createStepper({
    rule: NO_CLIPPING,
    optimizers: point.optimizers!,
    precision: 'float32',
  });
  const on = async ({ step, batch }: BatchOfStep) => {
    const { ratio } = await ratioOn(point, stepper, batch, beforeProduct);
    return { batchStep: step, ratio };
  };
  const ratios: { batchStep: number; ratio: number | null }[] = [];
  for (const one of before) ratios.push(await on(one));
  const usual = usualRange(ratios.map(({ ratio }) => ratio ?? Number.NaN));
  const news = incoming === null ? null : await on(incoming);
  return {
    before: ratios,
    usual,
    incoming: news,
    unusual: usual === null || news?.ratio == null ? null : isRaised(news.ratio, usual),
  };
}

/** Of each rule the ratio at a point on a batch, its factors held, and the norm of the update that it lets through. */
export async function ratiosUnderRules(
  point: CurvaturePoint,
  steppers: readonly Stepper[],
  batch: Batch,
  beforeProduct: () => void,
): Promise<RatioSpread['rules']> {
  const rules: RatioSpread['rules'][number][] = [];
  for (const stepper of steppers) {
    const { ratio, updateNorm } = await ratioOn(point, stepper, batch, beforeProduct);
    rules.push({ rule: stepper.rule.label, ratio, updateNorm });
  }
  return rules;
}

async function ratioOn(
  point: CurvaturePoint,
  stepper: Stepper,
  batch: Batch,
  beforeProduct: () => void,
): Promise<{ readonly ratio: number | null; readonly updateNorm: number }> {
  const { model, tensors, learningRates } = point;
  const { objective } = model;
  const w = model.flatten(tensors.map((tensor) => tensor.w));
  beforeProduct();
  const { gradient, loss } = await objective.gradient(w, [batch]);
  const gradients = tensors.map((tensor) => new Float32Array(tensor.w.length));
  model.unflatten(gradient, gradients);
  const under = stepUnderRule(stepper, tensors, gradients, learningRates!, loss);
  const { updateNorm } = under;
  if (gradient.some((g) => !Number.isFinite(g))) return { ratio: null, updateNorm };
  const clipped: CurvaturePoint = {
    ...point,
    optimizers: under.optimizers,
    learningRates: under.learningRates,
  };
  const { limit } = limitOf(clipped);
  const scale = limit === undefined ? null : scaleOf(clipped, under);
  if (limit === undefined || scale === null) return { ratio: null, updateNorm };
  const whole = productsAt(objective, w, [batch], { beforeProduct });
  const found = await topEigenpairs(scaledOperator(whole, scale), SEARCH);
  const top = found.pairs[0]!;
  return { ratio: top.converged ? top.value / limit.limit : null, updateNorm };
}

/** √(f/P) over all parameters, in the model's order: f are the rule's factors, P is 1 where the optimizer divides by nothing. */
function scaleOf(point: CurvaturePoint, { taken, factors }: StepUnderRule): Float64Array | null {
  const roots = isPreconditioned(point) ? inverseRoots(point, taken) : factors.map((one) => one.map(() => 1));
  const scales = factors.map((own, t) => own.map((factor, i) => Math.sqrt(factor) * roots[t]![i]!));
  return scales.every((one) => one.every(Number.isFinite))
    ? Float64Array.from(point.model.flatten(scales))
    : null;
}
