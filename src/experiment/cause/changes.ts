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
  const rates = ratesBy(observed, references, until, onset);
  const changes = [...rates, ...writtenBy(observed, until, references)];
  const add = (change: Change | null) => change !== null && changes.push(change);
  add(strongDecay(observed, until, rates.length > 0));
  // The loss on reference batches may have wavered a step before: what broke the run is not later than the onset.
  const data =
    references === null ? null : unlikeData(references, observed.steps, until, Math.max(until, onset));
  add(data);
  if (references !== null && data === null && !isJumpOfWeights(references))
    add(jumpBefore(observed, until, onset));
  add(brokenGradient(observed, until));
  add(skippedBefore(observed, skipped, until));
  // A setting that was written explains weights that the settings of the first step do not give.
  if (!changes.some(({ written }) => written === true)) changes.push(...mismatchOf(observed));
  add(emptyState(observed, until));
  return changes;
}

/** The learning rate, where it rose at once, or step by step. */
function ratesBy(
  observed: Observed,
  references: References | null,
  until: number,
  onset: number,
): readonly Change[] {
  const { steps, learningRate } = observed;
  const told = (from: number, size: number, gradual: boolean, statement: string, at = from): Change => ({
    trigger: 'learning-rate',
    from,
    size,
    ...(gradual ? { gradual } : {}),
    evidence: {
      id: 'learning-rate',
      statement,
      value: learningRate[at]!,
      unit: 'learning rate',
      usual: gradual ? null : usualRange(learningRate.slice(0, from)),
      at: { step: steps[from]!, batchStep: null },
    },
  });
  const known = Float64Array.from(learningRate);
  // The harm may last only from a step well after the onset.
  const rate = raisedRate(known, until) ?? raisedRate(known, onset);
  if (rate !== null) {
    const { from, times, before } = rate;
    const statement = `the learning rate is ${formatNumber(learningRate[from]!)} at step ${steps[from]} and was ${formatNumber(before)} before${laterRate(observed, rate)}`;
    return [told(from, times, false, statement)];
  }
  const risen = references === null ? null : risenRate(learningRate, until);
  if (risen === null) return [];
  const { from, before } = risen;
  const statement = `the learning rate rises from ${formatNumber(before)} at step ${steps[Math.max(0, until - SLOW_WINDOW)]} to ${formatNumber(learningRate[until]!)} at step ${steps[until]}`;
  return [told(from, learningRate[from]! / before, true, statement, until)];
}

/** A gradient that is not finite under a finite loss. */
function brokenGradient({ steps, loss, gradientNorm }: Observed, until: number): Change | null {
  const at = gradientNorm.findIndex((norm, i) => i <= until && i < loss.length && !Number.isFinite(norm));
  if (at < 0 || !Number.isFinite(loss[at]!)) return null;
  return {
    trigger: 'precision',
    from: at,
    size: Number.POSITIVE_INFINITY,
    evidence: {
      id: 'non-finite-gradient',
      statement: `the gradient of step ${steps[at]} is not finite while its loss is ${formatNumber(loss[at]!)}`,
      value: null,
      unit: 'norm',
      usual: usualRange(gradientNorm.slice(0, at)),
      at: { step: steps[at]!, batchStep: steps[at]! },
    },
  };
}

/** Steps that the loss scaler skipped shortly before. */
function skippedBefore({ steps }: Observed, skipped: readonly number[], until: number): Change | null {
  const recent = skipped.filter(
    (step) => step <= steps[until]! && step > steps[Math.max(0, until - CHANGE_WINDOW)]! - 1,
  );
  const [first] = recent;
  if (recent.length < 2) return null;
  return {
    trigger: 'precision',
    from: Math.max(
      0,
      steps.findIndex((step) => step >= first!),
    ),
    size: recent.length,
    evidence: {
      id: 'skipped-steps',
      statement: `the loss scaler skipped ${recent.length} steps shortly before, from step ${first} on`,
      value: recent.length,
      unit: 'steps',
      usual: null,
      at: { step: first!, batchStep: null },
    },
  };
}

/** An optimizer that had taken no step shortly before. */
function emptyState({ empty }: Observed, until: number): Change | null {
  if (empty === null || (empty.known !== 'stored' && empty.known !== 'follows') || until > CHANGE_WINDOW)
    return null;
  const how =
    empty.known === 'stored' ? '' : ': from such a state the recorded gradients give the recorded weights';
  const statement = `the optimizer had taken no step at step ${empty.before}, ${countedPlain(until, 'step')} before${how}; the steps count on, so that its state was lost, as at a resume that loads the weights alone, or the training is a new one`;
  return { ...lostState(statement, empty.before), beforeRecord: true };
}

/**
 * Settings that the record states to have changed up to a position. One that changed long before stays in force, so an arm is asked: where
 * ends can be judged it is a candidate, and a cause only if the arm shows it.
 */
function writtenBy(
  { settings = [] }: Observed,
  until: number,
  references: References | null,
): readonly Change[] {
  const judged = references !== null && references.level !== null;
  return settings.flatMap((change): Change[] => {
    const { from, setBack } = change;
    if (from > until) return [];
    if (from > until - SLOW_WINDOW) return [change];
    return judged && setBack !== undefined ? [{ ...change, gradual: true }] : [];
  });
}

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
