import { arrayOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { largest } from '../../model/order-statistics.ts';
import { optimizerNameOf } from '../../model/run-settings.ts';
import { levelSaysLittle } from '../incidents/verdict.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import { BETTER, type LogEvidence, levelBefore, levelFrom, rateEvidence } from './log-evidence.ts';

/** Times its first value that the loss rises in its first tenth where the first steps destroyed the weights. */
const DESTROYED = 2;
/** A gradient norm below this share of its first values is practically 0. */
const NO_GRADIENT = 1e-3;
/** Classes whose chance level is named: of more, any loss is near the logarithm of some number. */
const CLASSES = 12;
/** Share of a chance level within which a loss is at it. */
const AT_CHANCE = 0.005;
/** Points of a level. */
const LEVEL = 20;

/** Rates above which adaptive optimizers seldom train: each entry moves by about the rate in a step. */
const LARGE_FOR_ADAM = 0.02;

const ONE_BATCH =
  'train on one batch alone for 200 steps: if its loss falls to near 0, labels or inputs do not belong together; if it does not, no gradient gets through';

export const deadFromTheStart: KnownFailure = {
  id: 'dead-from-the-start',
  title: 'Nothing is learnt from the start',
  symptoms: [
    'not learning',
    'does not learn',
    'learns nothing',
    'plateau',
    'flat',
    'stuck',
    'chance',
    'not converging',
    'dead relu',
    'dead units',
    'loss does not decrease',
    'lr 0',
    'frozen',
  ],
  docs: {
    summary: 'The loss ends where an untrained network begins.',
    evidence: `The verdict is \`never-learned\`, or no rise lasts and no level of ${LEVEL} losses is better than the first loss; the last level is enough where the first ${LEVEL} losses rise above ${DESTROYED} times all later ones. A rise of the first tenth above ${DESTROYED} times the first loss speaks for the learning rate; a gradient norm that is 0, or below ${NO_GRADIENT} of its first values, for units or initial weights that pass no gradient; a rate of 0 for the schedule. Otherwise the cause stays open.`,
    notThis:
      'Fine-tuning from good weights, noisy labels and a loss near its floor are flat, too; a first rise that the loss makes up for is a warm-up that was too short.',
    whatToDo: `One test decides most: ${ONE_BATCH} (rate, initial weights, frozen or detached parameters). Begin again; there is nothing to go back to.`,
  },
  look(log) {
    if (log.loss === null) return null;
    if (isNeverBetter(log)) return byFirstRise(log);
    if (log.judged?.verdict.class !== 'never-learned') return null;
    return byZeroRate(log) ?? byFirstRise(log) ?? byNoGradient(log) ?? open(log);
  },
};

/**
 * Whether a run that is well now, by its rises, ends as high as its first loss: every level of it, or the last one where the first
 * steps threw the loss up; not where a level says little.
 */
function isNeverBetter({ run, judged, loss }: LogEvidence): boolean {
  const { value } = loss!;
  const first = value.find(Number.isFinite);
  const series = judged?.loss?.series;
  const isCalm = judged?.verdict.class === 'micro-divergence' || judged?.verdict.class === 'healthy';
  if (!isCalm || series === undefined || levelSaysLittle(run, series)) return false;
  if (first === undefined || value.length < 5 * LEVEL) return false;
  // What throws a run out is far above all that its noise does later.
  const [start, later] = [arrayOf(value.subarray(0, LEVEL)), arrayOf(value.subarray(LEVEL))];
  const isThrown = largest(start) >= DESTROYED * largest(later);
  // What it learnt for a while is lost again.
  if (isThrown && levelBefore(value, value.length) >= BETTER * first) return true;
  for (let at = 0; at + LEVEL <= value.length; at += LEVEL)
    if (levelFrom(value, at, LEVEL) < BETTER * first) return false;
  return judged!.verdict.class !== 'healthy' || isThrown;
}

/** "2.303 is ln 10: chance, if there are 10 classes", as a clause; empty where it is no chance level. */
function chanceClause(level: number): string {
  for (let classes = 2; classes <= CLASSES; classes++) {
    const chance = Math.log(classes);
    if (Math.abs(level - chance) <= AT_CHANCE * chance)
      return `; it ends at ${formatNumber(level)}, near ln ${classes}, which is chance if there are ${classes} classes`;
  }
  return '';
}

function byZeroRate({ run, rates, loss }: LogEvidence): FoundFailure | null {
  if (rates === null || rates.value.length === 0 || rates.value.some((rate) => rate !== 0)) return null;
  const statement = `the learning rate "${rates.name}" is 0 at every point, so no weight changes`;
  return {
    trigger: 'learning-rate',
    confidence: 'likely',
    step: loss!.step.at(0) ?? null,
    factor: 0,
    lead: 'the learning rate is 0',
    statement,
    evidence: [rateEvidence(statement, 0, rates.step.at(0)!)],
    remedy: {
      action: 'fix-code',
      statement: `look at the base rate, the warm-up and the order of \`optimizer.step()\` and \`scheduler.step()\`, then begin again; the rate printed in the first ${run.stepUnit}s has to rise above 0`,
    },
  };
}

function byFirstRise({ run, loss, rates }: LogEvidence): FoundFailure | null {
  const { step, value } = loss!;
  const first = value.find(Number.isFinite);
  const tenth = Math.max(3, Math.floor(value.length / 10));
  let peak = 0;
  for (let i = 0; i < Math.min(tenth, value.length); i++) if (!(value.at(i)! <= value.at(peak)!)) peak = i;
  if (first === undefined || !(first > 0) || value.at(peak)! < DESTROYED * first) return null;
  const end = levelBefore(value, value.length);
  const rate = rates === null ? undefined : rates.value.filter((one) => one > 0).at(-1);
  const kind = optimizerNameOf(run.hyperparameters);
  const large =
    rate !== undefined && kind !== undefined && /ada|lamb|lion|rmsprop/.test(kind) && rate >= LARGE_FOR_ADAM;
  const lead =
    rate === undefined
      ? 'the learning rate, which is not logged, was too high for the first steps'
      : `the learning rate, ${formatNumber(rate)}, was too high for the first steps${large ? ` (with ${kind} each entry moves by about that much in a step)` : ''}`;
  const rise = `the loss rises from ${formatNumber(first)} to ${formatNumber(value.at(peak)!)} at ${run.stepUnit} ${step.at(peak)} and ends no better than at the start`;
  return {
    trigger: 'learning-rate',
    confidence: 'likely',
    step: step.at(0) ?? null,
    lead,
    statement: `${rise}${chanceClause(end)}`,
    evidence: [
      {
        id: 'loss-level',
        statement: rise,
        value: value.at(peak)!,
        unit: 'loss',
        usual: null,
        at: { step: step.at(peak)!, batchStep: null },
      },
    ],
    remedy: {
      action: 'lower-learning-rate',
      ...(rate === undefined ? {} : { learningRate: rate / 10 }),
      learningRateFactor: 0.1,
      statement: `begin again with a tenth of the rate${rate === undefined ? '' : ` (${formatNumber(rate / 10)})`} and a warm-up; 100 steps confirm it: the loss does not rise. If it still learns nothing, ${ONE_BATCH}`,
    },
  };
}

function byNoGradient({ run, norms, loss }: LogEvidence): FoundFailure | null {
  if (norms === null || norms.value.length < 8) return null;
  const [first, last] = [levelFrom(norms.value, 0, 5), levelBefore(norms.value, norms.value.length)];
  if (!(last <= NO_GRADIENT * first)) return null;
  const statement = `the gradient norm is ${formatNumber(last)} at the end${first > 0 ? `, ${formatNumber(first)} at first` : ' and at first'}`;
  return {
    trigger: 'initialisation',
    confidence: 'likely',
    step: norms.step.at(0)!,
    lead: 'almost no gradient gets through',
    statement: `${statement}; units that are dead (a ReLU whose input is below 0 for every row) or saturated pass none${chanceClause(levelBefore(loss!.value, loss!.value.length))}`,
    evidence: [
      {
        id: 'gradient-norm',
        statement,
        value: last,
        unit: 'norm',
        usual: null,
        at: { step: norms.step.at(-1)!, batchStep: null },
      },
    ],
    remedy: {
      action: 'fix-code',
      statement: `count the zeros after each activation on one batch: a layer that is all zeros is the one; then begin again with other initial weights or biases, or a lower rate at the start. Print p.grad.norm() of each tensor at ${run.stepUnit} 0 to confirm it`,
    },
  };
}

function open({ loss, rates }: LogEvidence): FoundFailure {
  const level = levelBefore(loss!.value, loss!.value.length);
  const rate = rates?.value.find((one) => one > 0);
  const candidates = `a learning rate that is far too low or too high${rate === undefined ? '' : ` (it is ${formatNumber(rate)})`}, initial weights or dead units that pass no gradient, or labels that do not belong to their rows`;
  return {
    trigger: 'none-found',
    confidence: null,
    step: loss!.step.at(0) ?? null,
    statement: `the log does not tell which of these it is: ${candidates}${chanceClause(level)}`,
    evidence: [],
    remedy: { action: 'fix-code', statement: ONE_BATCH },
  };
}
