import { arrayOf, type Column } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { MAD_TO_SIGMA, medianOf } from '../../model/order-statistics.ts';
import type { Run } from '../../model/run.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { type LogEvidence, lastBefore, levelBefore, levelFrom, spreadOf } from './log-evidence.ts';

/** Points before and after a change that make its levels, and over which it has to last. */
const LEVEL = 50;
/** A smaller factor is noise or a slow change. */
const LEAST = 1.8;
/** Shares within which a factor is a number of the configuration: of exact norms, and of noisy ones, by twice their error. */
const [EQUAL, AT_MOST] = [0.03, 0.1];
/** Norms after a change that all leave the range before, and share of the level after it that does. */
const [FIRST, BEYOND] = [5, 0.9];
/** Share within which its levels before and at the end are steady. */
const STEADY = 0.3;
/** Share within which the two hundred norms before have the level of the last fifty of them. */
const EARLIER = 0.5;
/** Standard errors by which the loss may have risen, or times its level: larger gradients cost it a little. */
const [UNMOVED, MOVED] = [3, 1.25];
/** Share of its level that a loss which still learns may come down to meanwhile. */
const LEARNS = 0.8;

/** Settings that a wrong reduction multiplies by: ranks, accumulated batches, the loss scale. */
const NUMBERS =
  /world_?size|num_?(gpus|devices|processes|nodes|ranks)|n_?(gpu|procs)|nproc|accum|micro_?batch|gradient_?steps|loss_?scale/i;

export const gradientNormFactor: KnownFailure = {
  id: 'gradient-norm-times-k',
  title: 'The gradient norm is k times as large from one step on',
  symptoms: [
    'gradient accumulation',
    'accumulation',
    'grad norm',
    'all-reduce',
    'allreduce',
    'ranks',
    'world size',
    'ddp',
    'loss scale',
    'sum instead of mean',
    'not divided',
  ],
  docs: {
    summary:
      'The gradient norm is multiplied by a factor at one step and to the end, under a loss that hardly moves.',
    evidence: `The median of ${LEVEL} logged norms after a point is at least ${LEAST} times that of the ${LEVEL} before, the first ${FIRST} norms after it and ${100 * BEYOND} % of the ${LEVEL} are outside of those before. The end of the run is within ${100 * STEADY} % of that level. The loss has no incident before that is not over, and rises by less than ${UNMOVED} standard errors or ${Math.round(100 * (MOVED - 1))} %, and does not fall to ${LEARNS} of its level. The factor is within ${100 * EQUAL} % of a setting, or within twice its error, ${100 * AT_MOST} % at most: ranks, accumulated batches, the loss scale; else the cause stays open.`,
    notThis: 'A norm that grows slowly, as in many healthy runs.',
    whatToDo:
      'Look at the reduction: a sum over ranks or accumulated batches where a mean was before, a scaled gradient that is clipped or stepped before it is unscaled. A recorded capture confirms it: the audit divides the gradient by that of the mean loss of the batches.',
  },
  look(log) {
    const { run, loss, norms } = log;
    if (norms === null || loss === null) return null;
    const until = log.onsetStep === null ? norms.value.length : lastBefore(norms, log.onsetStep) + 1;
    const at = changeIn(norms.value, until);
    if (at === null || !lossStays(log, norms.step.at(at)!)) return null;
    const [before, after] = [levelBefore(norms.value, at, LEVEL), levelFrom(norms.value, at, LEVEL)];
    const factor = after / before;
    const setting = settingOf(run, factor, errorOf(norms.value, at));
    const step = norms.step.at(at)!;
    const statement = `the gradient norm becomes ${formatNumber(factor, 'brief')} times as large at ${run.stepUnit} ${step} (${formatNumber(before)} before, ${formatNumber(after)} from there on) while the loss hardly moves`;
    const evidence: FoundFailure['evidence'] = [
      {
        id: 'gradient-norm',
        statement,
        value: after,
        unit: 'norm',
        usual: null,
        at: { step, batchStep: null },
      },
    ];
    if (setting === null)
      return {
        trigger: 'none-found',
        confidence: null,
        step,
        factor,
        statement: `${statement}; it stays so, and no setting in the log is that number`,
        evidence,
        remedy: {
          action: 'fix-code',
          statement: `look at what changed at ${run.stepUnit} ${step}: ${factor > 1 ? `a sum over batches or ranks in place of their mean (\`(loss / n).backward()\`, n near ${formatNumber(Math.round(factor))})` : 'ranks, accumulated batches'}, the loss scale, the reduction of the loss, the mode of the model (model.train()); the gradient of one batch, computed before and after that change, confirms the factor ${formatNumber(factor, 'brief')}`,
        },
      };
    const { name, value } = setting;
    return {
      trigger: 'code',
      confidence: 'likely',
      lead: 'gradients are summed where they were averaged, or the other way round',
      step,
      factor: factor > 1 ? value : 1 / value,
      statement: `${statement}; ${name} is ${value}`,
      evidence,
      remedy: {
        action: 'fix-code',
        statement: `look at what changed in accumulation, reduction over ranks and unscaling at ${run.stepUnit} ${step}; the gradient of one batch, computed with and without it, confirms the factor ${formatNumber(factor, 'brief')}`,
      },
    };
  },
};

/** The setting that a factor, or its inverse, is within an error, the nearest first; null without one. */
function settingOf(
  { hyperparameters }: Run,
  factor: number,
  error: number,
): { readonly name: string; readonly value: number } | null {
  const within = Math.max(EQUAL, Math.min(AT_MOST, 2 * error));
  const times = Math.max(factor, 1 / factor);
  const near = [...hyperparameters]
    .map(([name, value]) => ({ name, value: Number(value), off: Math.abs(times / Number(value) - 1) }))
    .filter(({ name, value, off }) => NUMBERS.test(name) && value >= LEAST && off <= within)
    .sort((a, b) => a.off - b.off);
  return near[0] ?? null;
}

/** Standard error of the ratio of the two levels around a position, as a share of it, by the noise of the norms. */
function errorOf(norms: Column, at: number): number {
  const before = spreadOf(norms.subarray(at - LEVEL, at));
  const after = spreadOf(norms.subarray(at, at + LEVEL));
  // The error of a median of noise is a quarter more than that of a mean.
  return 1.25 * Math.sqrt((before ** 2 + after ** 2) / LEVEL);
}

/** Position from which on the norms are k times as large to the end; null without one. */
function changeIn(column: Column, end: number): number | null {
  const value = arrayOf(column);
  for (let at = LEVEL; at + LEVEL <= end; at++) {
    const ratio = value[at]! / value[at - 1]!;
    if (!(ratio >= LEAST / 1.4 || ratio <= 1.4 / LEAST)) continue;
    // Few jumps of noise leave all that was before, and asking costs less than two medians.
    if (!isApart(value, at, ratio > 1 ? 1 : -1)) continue;
    const [before, after] = [
      medianOf(value.subarray(at - LEVEL, at)),
      medianOf(value.subarray(at, at + LEVEL)),
    ];
    const factor = after / before;
    if (!(factor >= LEAST || factor <= 1 / LEAST)) continue;
    // What was larger for a while and is as before is no lasting change.
    const wasSo = Math.abs(levelBefore(value, at, 4 * LEVEL) / before - 1) <= EARLIER;
    if (wasSo && Math.abs(levelBefore(value, end, LEVEL) / after - 1) <= STEADY) return at;
  }
  return null;
}

/** Whether the first norms from a position on lie beyond every finite one of the level before it, and nine of ten after them. */
function isApart(value: Float64Array, at: number, sign: number): boolean {
  let highest = Number.NEGATIVE_INFINITY;
  for (let k = at - LEVEL; k < at; k++)
    if (Number.isFinite(value[k]!)) highest = Math.max(highest, sign * value[k]!);
  let beyond = 0;
  for (let k = at; k < at + LEVEL; k++) {
    if (sign * value[k]! > highest) beyond++;
    else if (k < at + FIRST) return false;
  }
  return beyond >= BEYOND * LEVEL;
}

/** Whether the loss around a step has the same level before and after it, by its noise. */
function lossStays({ loss }: LogEvidence, step: number): boolean {
  const at = loss!.step.findIndex((one) => one >= step);
  if (at < LEVEL || at + LEVEL > loss!.value.length) return false;
  const [before, after] = [loss!.value.subarray(at - LEVEL, at), loss!.value.subarray(at, at + LEVEL)];
  const [a, b] = [medianOf(before), medianOf(after)];
  const noise = MAD_TO_SIGMA * medianOf(before.map((one) => Math.abs(one - a)));
  // The error of a median of noise is a quarter more than that of a mean. A loss that still learns may come down.
  const error = 1.25 * noise * Math.sqrt(2 / LEVEL);
  return b <= Math.max(a + UNMOVED * error, MOVED * a) && b >= Math.min(a - UNMOVED * error, LEARNS * a);
}
