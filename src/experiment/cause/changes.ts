/** What had changed by the first harmful step: the candidates for a trigger, each with its size and its evidence. */

import { CHANGE_WINDOW, RATE_RISE, raisedRate } from '../../judge/failures/rates.ts';
import { jumpOf } from '../../judge/incidents/jump.ts';
import { isRaised, USUAL, usualRange } from '../../judge/incidents/unlike.ts';
import type { Finding } from '../../model/finding.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { stretchWords } from '../../model/stretches.ts';
import type { References } from '../replay/reference.ts';
import type { Change } from './change.ts';
import { isJumpOfWeights, newsWords, updateBefore } from './jump.ts';
import type { Observed } from './observe.ts';
import { strongDecay } from './strong-decay.ts';

/** Steps over which a rate may have risen step by step. */
const SLOW_WINDOW = 20;

/**
 * A rate that rose step by step to more than it was twenty steps before.
 *
 * @returns the first position at which it is raised, the rate that it rose from, and over how many steps; null where it did not
 */
export function risenRate(
  rates: readonly number[],
  until: number,
): { readonly from: number; readonly before: number; readonly over: number } | null {
  const start = Math.max(0, until - SLOW_WINDOW);
  const before = rates[start]!;
  const from = rates.findIndex((rate, i) => i > start && i <= until && rate >= RATE_RISE * before);
  return before > 0 && from > 0 ? { from, before, over: until - start } : null;
}

/** A state of the optimizer that does not follow from the steps before; `step` is where it is reported. */
const lostState = (statement: string, step: number | null): Change => ({
  trigger: 'optimizer-state',
  from: 0,
  size: 1,
  evidence: {
    id: 'optimizer-state',
    statement,
    value: null,
    unit: 'state',
    usual: null,
    at: { step, batchStep: null },
  },
});

/**
 * @param until position of the first harmful step, or of the onset where there is none
 * @param references null without a model
 * @param onset position of the onset
 */
export function changesBy(
  until: number,
  observed: Observed,
  references: References | null,
  skipped: readonly number[],
  onset = until,
): Change[] {
  const { steps } = observed;
  const changes: Change[] = [];
  const rates = Float64Array.from(observed.learningRate);
  // The harm may last only from a step well after the onset.
  const rate = raisedRate(rates, until) ?? raisedRate(rates, onset);
  if (rate !== null)
    changes.push({
      trigger: 'learning-rate',
      from: rate.from,
      size: rate.times,
      evidence: {
        id: 'learning-rate',
        statement: `the learning rate is ${formatNumber(observed.learningRate[rate.from]!)} at step ${steps[rate.from]} and was ${formatNumber(rate.before)} before${laterRate(observed, rate)}`,
        value: observed.learningRate[rate.from]!,
        unit: 'learning rate',
        usual: usualRange(observed.learningRate.slice(0, rate.from)),
        at: { step: steps[rate.from]!, batchStep: null },
      },
    });
  const risen = references === null || rate !== null ? null : risenRate(observed.learningRate, until);
  if (risen !== null)
    changes.push({
      trigger: 'learning-rate',
      from: risen.from,
      size: observed.learningRate[risen.from]! / risen.before,
      gradual: true,
      evidence: {
        id: 'learning-rate',
        statement: `the learning rate rises from ${formatNumber(risen.before)} at step ${steps[Math.max(0, until - SLOW_WINDOW)]} to ${formatNumber(observed.learningRate[until]!)} at step ${steps[until]}`,
        value: observed.learningRate[until]!,
        unit: 'learning rate',
        usual: null,
        at: { step: steps[risen.from]!, batchStep: null },
      },
    });
  changes.push(...writtenBy(observed, until));
  const decay = strongDecay(observed, until, rate !== null || risen !== null);
  if (decay !== null) changes.push(decay);
  // The loss on reference batches may have wavered a step before: what broke the run is not later than the onset.
  const data = references === null ? null : unlikeData(references, steps, until, Math.max(until, onset));
  if (data !== null) changes.push(data);
  const jump =
    references === null || data !== null || isJumpOfWeights(references)
      ? null
      : jumpBefore(observed, until, onset);
  if (jump !== null) changes.push(jump);
  const broken = observed.gradientNorm.findIndex(
    (norm, i) => i <= until && i < observed.loss.length && !Number.isFinite(norm),
  );
  if (broken >= 0 && Number.isFinite(observed.loss[broken]!))
    changes.push({
      trigger: 'precision',
      from: broken,
      size: Number.POSITIVE_INFINITY,
      evidence: {
        id: 'non-finite-gradient',
        statement: `the gradient of step ${steps[broken]} is not finite while its loss is ${formatNumber(observed.loss[broken]!)}`,
        value: null,
        unit: 'norm',
        usual: usualRange(observed.gradientNorm.slice(0, broken)),
        at: { step: steps[broken]!, batchStep: steps[broken]! },
      },
    });
  const recent = skipped.filter(
    (step) => step <= steps[until]! && step > steps[Math.max(0, until - CHANGE_WINDOW)]! - 1,
  );
  if (recent.length >= 2)
    changes.push({
      trigger: 'precision',
      from: Math.max(
        0,
        steps.findIndex((step) => step >= recent[0]!),
      ),
      size: recent.length,
      evidence: {
        id: 'skipped-steps',
        statement: `the loss scaler skipped ${recent.length} steps shortly before, from step ${recent[0]} on`,
        value: recent.length,
        unit: 'steps',
        usual: null,
        at: { step: recent[0]!, batchStep: null },
      },
    });
  // A setting that was written explains weights that the settings of the first step do not give.
  if (!changes.some(({ written }) => written === true)) changes.push(...mismatchOf(observed));
  const { empty } = observed;
  if (empty !== null && (empty.known === 'stored' || empty.known === 'follows') && until <= CHANGE_WINDOW)
    changes.push({
      ...lostState(
        `the optimizer had taken no step at step ${empty.before}, ${countedPlain(until, 'step')} before${empty.known === 'stored' ? '' : ': from such a state the recorded gradients give the recorded weights'}; the steps count on, so that its state was lost, as at a resume that loads the weights alone, or the training is a new one`,
        empty.before,
      ),
      beforeRecord: true,
    });
  return changes;
}

/** Settings that the record states to have changed at or shortly before a position. */
const writtenBy = ({ settings = [] }: Observed, until: number): Change[] =>
  settings.filter(({ from }) => from <= until && from > until - SLOW_WINDOW);

/** A snapshot that the recorded steps do not lead to; not from a state that the capture lacks, which says nothing of the run. */
function mismatchOf({ mismatches: [mismatch], empty }: Observed): Change[] {
  return mismatch === undefined || empty?.known === 'misses'
    ? []
    : [lostState(mismatchWords(mismatch), mismatch.steps?.[0] ?? null)];
}

/**
 * What of the run up to a position is not known because the optimizer's state from before it is not in the capture, and what to record
 * to know it; null where the state is there.
 */
export function missingStateWords({ empty }: Pick<Observed, 'empty'>): string | null {
  if (empty === null || empty.known === 'stored' || empty.known === 'follows') return null;
  const stores = `the capture stores no state of the optimizer before step ${empty.before}`;
  const record = 'record state/<slot>/<name> in initial.safetensors';
  if (empty.known === 'unknown')
    return `${stores}, and cannot tell whether it was lost there or only not recorded: ${record}, or param/<name> before a later step`;
  return empty.known === 'counted'
    ? `${stores}, though it had taken steps, so the size of its updates is not known: ${record}`
    : `from an optimizer that had taken no step before step ${empty.before} the recorded gradients do not give the recorded weights: its state, or a setting, is not in the capture, so the size of its updates is not known; ${record}`;
}

/**
 * A batch whose loss jumped before the onset, and came back: that it hurt the weights shows in a climb later. Batches from
 * the onset on are compared with those before it, so this one is not among them.
 *
 * @param until position of the first harmful step: a jump after it is of weights that were hurt before
 */
function jumpBefore(
  { steps, loss, updateNorm, learningRate }: Observed,
  until: number,
  onset: number,
): Change | null {
  const at = jumpOf(loss, onset);
  if (at === null || at === onset || at > until || risenRate(learningRate, at) !== null) return null;
  const update = updateBefore(updateNorm, at);
  if (update === null || isRaised(update.last, update.usual)) return null;
  const usual = usualRange(loss.slice(Math.max(0, at - USUAL), at))!;
  return {
    trigger: 'data',
    from: at,
    recorded: true,
    size: Number.isFinite(loss[at]!) ? loss[at]! / ((usual[0] + usual[1]) / 2) : Number.POSITIVE_INFINITY,
    evidence: {
      id: 'batches-unlike',
      statement: `${newsWords(loss[at]!, steps[at]!)}, so the batch is the likely cause; the loss climbs from step ${steps[onset]} on`,
      value: loss[at]!,
      unit: 'loss',
      usual,
      at: { step: steps[at]!, batchStep: steps[at]! },
    },
  };
}

/** A state that does not give what followed, without the words of a capture's check. */
const mismatchWords = ({ message, steps }: Finding): string =>
  steps === null
    ? message
    : `between steps ${steps[0]} and ${steps[1]} the recorded gradients and the optimizer's state of before do not give the weights that followed`;

/** Unlike batches shortly before a position as a change; null where there are none. */
function unlikeData(
  references: References,
  steps: readonly number[],
  until: number,
  last: number,
): Change | null {
  const unlike = unlikeBy(references, until, last);
  const [first] = unlike;
  if (first === undefined) return null;
  const { usual } = references;
  // The loss that is farthest out is named: the first may be hardly outside.
  const worst = unlike.reduce((a, b) => (outside(a.loss, usual) >= outside(b.loss, usual) ? a : b));
  // A capture that names batches as unlike may hold too few to say what is usual.
  const middle = usual === null ? 0 : (usual[0] + usual[1]) / 2;
  const areLow = usual !== null && unlike.every(({ loss }) => loss <= usual[1]);
  return {
    trigger: 'data',
    ...(areLow ? { low: true } : {}),
    from: first.index,
    // NaN and infinity are as unlike as a loss can be.
    size: Number.isFinite(worst.loss)
      ? 1 + Math.abs(worst.loss - middle) / Math.abs(middle)
      : Number.POSITIVE_INFINITY,
    evidence: {
      id: 'batches-unlike',
      statement: `at the weights of step ${steps[references.at]} the batch of step ${steps[worst.index]} has the loss ${formatNumber(worst.loss)}${usualWords(worst.loss, usual)}; ${unlikeWords(references, steps)}`,
      value: worst.loss,
      unit: 'loss',
      usual,
      at: { step: steps[references.at]!, batchStep: steps[worst.index]! },
    },
  };
}

/** The side of the usual range on which a loss lies outside, as a clause. */
function usualWords(loss: number, usual: References['usual']): string {
  if (usual === null) return '';
  return loss < usual[0]
    ? `, where at least ${formatNumber(usual[0])} is usual`
    : `, where up to ${formatNumber(usual[1])} is usual`;
}

/** How far a loss lies outside of what is usual; itself where that is not known, and most where it is not finite. */
function outside(loss: number, usual: References['usual']): number {
  if (!Number.isFinite(loss)) return Number.POSITIVE_INFINITY;
  return usual === null ? loss : Math.max(loss - usual[1], usual[0] - loss);
}

/** The unlike batches that steps by `last` were taken on, no more than ten before `until`. */
const unlikeBy = ({ unlike, later }: References, until: number, last: number) =>
  later.filter(({ index }) => unlike.has(index) && index <= last && index >= until - CHANGE_WINDOW);

/** Batches after the unlike ones that it takes to say that they are over. */
const USUAL_AGAIN = 4;

/** How a clause on unlike batches ends where none as before is known to have come back. */
export const TO_THE_END = 'to the last that was recorded';

/** How many batches are unlike those before, which, and whether they are over before the record is. */
function unlikeWords({ unlike, later }: References, steps: readonly number[]): string {
  const last = Math.max(...unlike);
  const which = stretchWords([...unlike].sort((a, b) => a - b).map((index) => steps[index]!));
  const one = unlike.size === 1;
  const count = one
    ? 'this batch is'
    : `${unlike.size} batches${which.all ? `, ${which.text},` : ` ${which.text}`} are`;
  const words = `${count} unlike those before`;
  const after = later.filter(({ index }) => index > last).length;
  // Where the record ends among them, they need not end there.
  if (after === 0 && unlike.size >= USUAL_AGAIN) return `${words}, ${TO_THE_END}`;
  return after < USUAL_AGAIN ? words : `${words}; the ${after} after ${one ? 'it' : 'them'} are as usual`;
}

/** Whether a rate that rose is still as high at the end, as a clause; nothing where it rose at the last step. */
function laterRate({ learningRate, steps }: Observed, { from, before }: { from: number; before: number }) {
  const end = learningRate.length - 1;
  const last = learningRate[end]!;
  if (from === end || !Number.isFinite(last)) return '';
  // Half of the way between both, as rates go: by factors.
  const high = Math.sqrt(before * learningRate[from]!);
  if (last > high) {
    const since = learningRate.slice(from).filter(Number.isFinite);
    const rose = last >= RATE_RISE * learningRate[from]!;
    if (rose && since.every((rate, i) => i === 0 || rate >= since[i - 1]!))
      return `; it kept rising, to ${formatNumber(last)} at step ${steps[end]}`;
    const as = rose ? 'even higher, ' : last < learningRate[from]! ? 'still high, ' : 'still ';
    return `; it is ${as}${formatNumber(last)} at step ${steps[end]}`;
  }
  const lastHigh = learningRate.findLastIndex((rate) => rate > high);
  // The first that is known again: the last one is.
  const back = learningRate.findIndex((rate, i) => i > lastHigh && Number.isFinite(rate));
  const then = `${formatNumber(learningRate[back]!)} from step ${steps[back]} on`;
  return steps[back] === steps[from]! + 1 ? `; it was high for one step, and is ${then}` : `; it is ${then}`;
}
