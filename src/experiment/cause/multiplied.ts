/** Gradients that something multiplied between the loss and the step: the recorded ones against those that the model gives. */
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective } from '../../differentiate/autodiff/open-objective.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { Capture } from '../../read/captures/read.ts';
import { alongRecorded } from '../replay/along-recorded.ts';
import type { MultipliedGradients } from '../replay/closed-loop.ts';
import type { Prepared } from '../replay/follow.ts';
import type { Change } from './change.ts';

/** Share of a gradient up to which another one is off by rounding alone, and what a factor has to differ from 1. */
const ROUNDING = 3e-3;
const OTHER = 0.05;
/** How far factors of two steps may be apart. */
const ONE_FACTOR = 1e-2;

interface Sources {
  readonly capture: Capture;
  readonly prepared: Prepared;
  readonly model: MatchedObjective;
  batch(index: number): Promise<Batch>;
}

/**
 * @param at position of a step whose gradient is looked at, with the one before and the one after it
 * @returns what the recorded gradient of the step and of the one after it is of the computed one, a single factor, where that of the
 * step before is the computed one; null where that is not so, or a tensor has no dense gradient
 */
export async function multipliedGradients(sources: Sources, at: number): Promise<MultipliedGradients | null> {
  const { capture, model } = sources;
  if (at < 1 || at + 1 >= capture.steps.length) return null;
  const weights: Float32Array[] = [];
  await alongRecorded(sources, at + 2, (index, tensors) => {
    if (index >= at - 1) weights.push(model.flatten(tensors.map(({ w }) => w)));
  });
  const factors: number[] = [];
  for (const [k, flat] of weights.entries()) factors.push(await factorAt(sources, at - 1 + k, flat));
  const [before, factor, after] = factors;
  const isOne = Math.abs(before! - 1) <= ONE_FACTOR;
  const isOther = Math.abs(factor! - 1) >= OTHER;
  const lasts = after === undefined || Math.abs(after / factor! - 1) <= ONE_FACTOR;
  return isOne && isOther && lasts ? { from: at, factor: factor! } : null;
}

/** The factor of a step's gradient; NaN where no factor makes one of the other. */
async function factorAt(
  { capture, model, batch }: Sources,
  index: number,
  flat: Float32Array,
): Promise<number> {
  const { gradients } = await capture.step(index, 'float32');
  if (gradients.some(({ absent, rows }) => absent === true || rows !== undefined)) return Number.NaN;
  const recorded = model.flatten(gradients.map(({ values }) => values));
  const { gradient } = await model.objective.gradient(flat, [await batch(index)]);
  let [product, own, there] = [0, 0, 0];
  for (const [i, g] of gradient.entries()) {
    product += g * recorded[i]!;
    own += g ** 2;
    there += recorded[i]! ** 2;
  }
  const off = Math.sqrt(Math.max(0, 1 - product ** 2 / (own * there)));
  return off <= ROUNDING ? product / own : Number.NaN;
}

/** The gradients as what changed. */
export function multipliedChange({ from, factor }: MultipliedGradients, { steps }: Capture): Change {
  const { step } = steps[from]!;
  const times = formatNumber(factor);
  return {
    trigger: 'code',
    from,
    size: Math.max(factor, 1 / factor),
    written: true,
    setBack: {
      words: `each gradient that of its loss, and not ${times} times it,`,
      rate: null,
      rates: (recorded) => recorded,
    },
    evidence: {
      id: 'gradient-norm',
      statement: `the recorded gradient is ${times} times that of the loss on the recorded batch from step ${step} on, and was that of the loss before`,
      value: factor,
      unit: 'ratio',
      usual: [1, 1],
      at: { step, batchStep: step },
    },
  };
}
