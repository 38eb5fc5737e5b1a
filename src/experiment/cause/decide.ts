/** From what changed and how the arms ended to the trigger and the mechanism. */

import { jumpOf } from '../../judge/incidents/jump.ts';
import { endLevel } from '../../judge/incidents/losses.ts';
import {
  isRaised,
  isUnlike,
  LEAST_EARLIER,
  LEAST_STATES,
  USUAL,
  usualRange,
} from '../../judge/incidents/unlike.ts';
import type { Cause, CauseEvidence, Mechanism, Trigger } from '../../model/cause.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import { medianOf } from '../../model/order-statistics.ts';
import type { ArmEnd } from '../replay/arm-end.ts';
import { HOLDS, timesLevel } from '../replay/level-limits.ts';
import { LEAST_AFTER } from '../replay/outcome.ts';
import type { References } from '../replay/reference.ts';
import { type Unrecorded, unseenWords } from './as-computed.ts';
import type { Change } from './change.ts';
import { missingStateWords, risenRate, TO_THE_END } from './changes.ts';
import { isJumpOfWeights, newsWords, updateBefore } from './jump.ts';
import type { Observed } from './observe.ts';
import type { PlannedArm } from './plan.ts';
import type { ShorterSteps } from './shorter-steps.ts';

export interface DecideInput {
  /** Position of the onset. */
  readonly onset: number;
  readonly observed: Observed;
  /** null without a model and batches, or where no batch lies before the incident. */
  readonly references: References | null;
  /** Whether the capture brings a model and its batches. */
  readonly hasModel: boolean;
  readonly changes: readonly Change[];
  /** Arms that were trained, with their end; empty without. */
  readonly arms: readonly (Omit<PlannedArm, 'training'> & ArmEnd)[];
  /** Whether the run held under the recorded clipping, with nothing changed. */
  readonly cameBack: boolean;
  /** Where the data stay as they changed: how the run ended against the best training on them; null where that is not known. */
  readonly afterShift?: ArmEnd['outcome'];
  /** Whether the closed loop of any rule shows that it takes the incident back. */
  readonly ruleHolds: boolean;
  /** Whether anything that was tried neither held nor was harmed, but only learnt more slowly. */
  readonly slower?: boolean;
  /** Where fewer states came before than make a level: what shorter steps did to the same batches; null where that is not known. */
  readonly shorter: ShorterSteps | null;
  /** What is open about the data of the first recorded steps, by {@link openFirstSteps}; null or left out where they are as before. */
  readonly openFirst?: string | null;
  /** What the recorded run had and the same training from the same batches, computed anew and well, has not; null where they agree. */
  readonly unrecorded:
    | (Unrecorded & {
        /** Whether from an optimizer that begins anew before the step at which they part the recorded gradients give the recorded losses. */
        readonly anew: boolean;
      })
    | null;
}

/** Share of the earlier size of a step for a gradient under which nothing is learnt any more. */
const POISONED = 1 / 3;

/** What is weighed of a capture's incident. */
interface Weighed {
  readonly input: DecideInput;
  /** Position of the first harmful step, or of the onset. */
  readonly until: number;
  /** What changed, the largest first, without what is denied. */
  readonly bySize: readonly Change[];
  /** A batch that nothing but its recorded loss speaks against, where the training without it did not hold. */
  readonly denied: Change | undefined;
  /** What an arm that held takes back. */
  readonly held: ReadonlySet<Trigger>;
  readonly between: number | null;
  readonly shown: readonly Change[];
  readonly made: Made;
}

/** The cause of a capture's incident. */
export function decideCause(input: DecideInput): Cause {
  const weighed = weigh(input);
  if (input.unrecorded !== null) return fromUnrecorded(input, input.unrecorded, weighed.made);
  return (
    fromUnharmed(weighed) ??
    fromShown(weighed) ??
    fromUnjudged(weighed) ??
    fromOpen(weighed) ??
    fromAll(weighed)
  );
}

function weigh(input: DecideInput): Weighed {
  const { onset, observed, references, changes, arms } = input;
  const { steps } = observed;
  const until = references?.harmful ?? onset;
  const held = new Set(arms.filter(({ shows }) => shows).map(({ undoes }) => undoes));
  const between = rateBetween(input, until);
  if (between !== null) held.add('learning-rate');
  // A batch that nothing but its recorded loss speaks against is held by the training that left it out.
  const without = (change: Change) =>
    arms.find(
      ({ arm, undoes }) => undoes === change.trigger && arm.steps?.includes(steps[change.from]!) === true,
    );
  const denied = changes.find(
    (change) =>
      change.recorded === true && (without(change)?.outcome ?? null) !== null && !without(change)!.shows,
  );
  const bySize = changes.filter((change) => change !== denied).sort((a, b) => b.size - a.size);
  const shown = bySize.filter(
    (change) =>
      held.has(change.trigger) &&
      isTakenBack(change, input) &&
      (change.recorded !== true || without(change)?.shows === true),
  );
  const mechanism = mechanismOf(input, held);
  const evidence = evidenceOf(input, until);
  const made: Made = (trigger, confidence, statement, also = []) => ({
    trigger,
    alsoTriggers: also,
    mechanism,
    step: references?.harmful == null ? null : steps[references.harmful]!,
    onsetStep: steps[onset]!,
    confidence,
    statement,
    evidence,
  });
  return { input, until, bySize, denied, held, between, shown, made };
}

/** Triggers of the changes after the first, but for its own. */
const othersOf = (list: readonly Change[]): Trigger[] =>
  [...new Set(list.slice(1).map(({ trigger }) => trigger))].filter((trigger) => trigger !== list[0]!.trigger);

/** The recorded run had what the same training computed anew has not. */
function fromUnrecorded(
  { observed, changes }: DecideInput,
  unrecorded: NonNullable<DecideInput['unrecorded']>,
  made: Made,
): Cause {
  const { trigger, at, holds, anew } = unrecorded;
  if (trigger === 'none-found') return made(trigger, null, unseenWords(unrecorded, observed));
  const known = changes.find((change) => change.trigger === trigger);
  const step = observed.steps[at];
  return trigger === 'precision'
    ? made(
        trigger,
        'likely',
        `${known?.evidence.statement ?? 'the recorded losses end as no number'}; trained again from the same batches in float32 it does not happen; that is not shown as the cause, for this training may differ from the recorded one in more than precision`,
      )
    : made(
        trigger,
        anew ? 'shown' : 'likely',
        `trained again from the same state, batches and learning rates, the run goes on as recorded up to step ${step}, and then ${holds ? 'it stays well' : 'the incident does not happen'}: ${anew ? `from an optimizer that begins anew before step ${step} the recorded gradients give the recorded losses, so that its state was lost there` : 'none of these changed, which leaves the optimizer state, or weights that were loaded'}`,
      );
}

/** The loss is high on batches that explain it, and stays as it was on those from before. */
function fromUnharmed({ input: { references }, bySize, made }: Weighed): Cause | null {
  if (references === null || !isUnharmed(references)) return null;
  const data = bySize.find(explainsHigh);
  return data === undefined
    ? null
    : made(
        'data',
        data.recorded === true ? 'likely' : 'shown',
        `${data.evidence.statement}; on batches from before the loss stays as it was, so the weights are unharmed`,
      );
}

/** What changed and, put back alone, holds. */
function fromShown({ input, shown, between, made }: Weighed): Cause | null {
  const { references, afterShift = null } = input;
  const [first] = shown;
  return first === undefined
    ? null
    : made(
        first.trigger,
        confidenceOf(references, afterShift),
        `${first.evidence.statement}${openWords(first, references, afterShift)}; ${undoneWords(first, between, references)}`,
        othersOf(shown),
      );
}

/** Precision, which has no arm and is never shown; and all where no arm could be judged. */
function fromUnjudged({ input, bySize, made }: Weighed): Cause | null {
  const { references, arms, shorter, observed } = input;
  const precision = bySize.find(({ trigger }) => trigger === 'precision');
  if (precision !== undefined) return made('precision', 'likely', precision.evidence.statement);
  const judged = arms.some(({ outcome }) => outcome !== null);
  if (references !== null && references.level !== null && judged) return null;
  const [largest] = bySize;
  if (largest !== undefined)
    return made(
      largest.trigger,
      'likely',
      `${largest.evidence.statement}${largest.trigger === 'weight-decay' ? lessDecayWords(shorter, observed.steps) : ''}`,
      othersOf(bySize),
    );
  return shorter === null ? fromSteps(input, made) : fromShorterSteps(shorter, observed.steps, made);
}

/** Steps after the onset at which weights that a step threw out show it. */
const SHOWS = 5;

/**
 * Whether the weights were never thrown out, not for a step, and the loss was no higher than at other steps: on batches from before it is as
 * usual right after the onset, and at the end.
 */
function areCalm({ references, onset, observed: { loss } }: DecideInput): boolean {
  if (references === null || !isUnharmed(references)) return false;
  const usual = usualRange(references.loss.slice(Math.max(0, onset - USUAL), onset + 1));
  const right = references.loss.slice(onset, onset + SHOWS);
  const others = [...loss.slice(0, onset), ...loss.slice(onset + SHOWS)];
  return (
    usual !== null &&
    right.every((one) => Number.isFinite(one) && !isRaised(one, usual)) &&
    Math.max(...loss.slice(onset, onset + SHOWS)) <= Math.max(...others)
  );
}

const isSudden = ({ gradual }: Change): boolean => gradual !== true;

/** What no arm took back, or none could judge, is not ruled out by the others; nor is what lies before the capture. */
function fromOpen({ input: { arms, cameBack }, bySize, made }: Weighed): Cause | null {
  const open = bySize
    .filter(isSudden)
    .find(
      ({ trigger, recorded, written }) =>
        recorded === true ||
        !arms.some(
          ({ undoes, outcome }) =>
            undoes === trigger && (written === true ? isHarmed(outcome) : outcome !== null),
        ),
    );
  if (open !== undefined) return made(open.trigger, 'likely', open.evidence.statement);
  const earlier = bySize.find(({ beforeRecord }) => beforeRecord === true);
  return earlier === undefined || cameBack
    ? null
    : made(
        earlier.trigger,
        'likely',
        `${earlier.evidence.statement}; no experiment takes back what lies before the capture`,
      );
}

/** All that changed was taken back, and the run is harmed all the same. */
function fromAll({ input, until, bySize, denied, held, made }: Weighed): Cause {
  const { observed, references, changes, cameBack, afterShift = null, openFirst = null } = input;
  const sudden = bySize.filter(isSudden);
  const asBefore = `${denied === undefined ? '' : `${denied.evidence.statement}; without that batch the run is harmed all the same; else `}${unchangedWords(observed, until)}`;
  if (sudden.length === 0 && areCalm(input))
    return made(
      'none-found',
      null,
      `${asBefore}; on batches from before the loss stays as it was at every state, so no step was too long: the losses of single batches vary as much`,
    );
  if (sudden.length === 0 && held.has('sharpness'))
    return made(
      'sharpness',
      // What the first recorded rows are alike to is what they are compared with.
      openFirst === null ? confidenceOf(references, afterShift) : 'likely',
      `${asBefore}; at a lower learning rate the same batches do no harm${openFirst === null ? '' : `; ${openFirst}`}`,
    );
  if (sudden.length === 0 && input.ruleHolds)
    return made('sharpness', 'likely', `${asBefore}; with smaller steps the same batches do no harm`);
  const all = cameBack ? 'the incident happens all the same' : 'the run is harmed all the same';
  const [largest] = bySize;
  if (held.has('sharpness') && areDenied(input, sudden))
    return made(
      'sharpness',
      'likely',
      `at a lower learning rate the same batches do no harm, and with what else changed taken back ${all}: ${largest!.evidence.statement}`,
    );
  const lost = changes.find(({ trigger }) => trigger === 'optimizer-state');
  // The arm restores the state after the incident, so it cannot show that a lost state caused it.
  if (cameBack && lost !== undefined)
    return made(
      'optimizer-state',
      'likely',
      `${lost.evidence.statement}; the run came back by itself, so that no experiment shows what it did`,
    );
  const takenBack =
    largest?.trigger === 'optimizer-state' ? 'trained again with the state carried on' : 'taken back';
  return made(
    'none-found',
    null,
    largest === undefined
      ? `nothing that changed before the incident was found, and under everything tried ${input.slower === true && !cameBack ? 'the run is harmed or learns too slowly' : all}`
      : `${largest.evidence.statement}; ${takenBack}, ${all}`,
  );
}

/** Without clean batches from after the incident, harm is not distinguished from a drift that the run learns. */
const confidenceOf = (
  references: References | null,
  afterShift: ArmEnd['outcome'],
): Exclude<Cause['confidence'], null> =>
  afterShift !== null || (references?.after.length ?? 0) > 0 ? 'shown' : 'likely';

/**
 * Whether what changed is not what broke the run: with each change taken back it is lost all the same, and the batch of the onset is as usual at weights
 * from before the harm.
 */
function areDenied({ onset, references, arms }: DecideInput, changes: readonly Change[]): boolean {
  const own = references?.later.find(({ index }) => index === onset);
  return (
    own !== undefined &&
    !isUnlike(own.loss, references!.usual) &&
    changes.length > 0 &&
    changes.every(
      // No arm takes a state back that was lost unseen.
      ({ trigger }) =>
        trigger !== 'optimizer-state' &&
        arms.some(({ undoes, outcome }) => undoes === trigger && outcome === 'lost'),
    )
  );
}

/**
 * Factor of a lower rate that holds and is still above that of before a rise, where at the rate of before nothing is learnt or nobody
 * can tell: taking back a part of the rise is enough. null where none is.
 */
function rateBetween({ observed, changes, arms }: DecideInput, until: number): number | null {
  const { learningRate } = observed;
  const rise = changes.find(({ trigger, written }) => trigger === 'learning-rate' && written !== true);
  const whole = arms.find(({ undoes }) => undoes === 'learning-rate');
  if (rise === undefined || (whole?.outcome ?? 'frozen') !== 'frozen') return null;
  const before = learningRate[rise.from]! / rise.size;
  const held = arms.find(
    ({ undoes, shows, learningRateFactor }) =>
      undoes === 'sharpness' && shows && learningRateFactor! * learningRate[until]! > before,
  );
  return held?.learningRateFactor ?? null;
}

/** How much a rate may differ and be as before. */
const SAME_RATE = 1.01;

/** What is as before the first harmful step; a rate that rises a little at each step, as in a warm-up, is not. */
function unchangedWords({ steps, learningRate }: Observed, until: number): string {
  const [first, last] = [learningRate[0]!, learningRate[until]!];
  const rate =
    last > SAME_RATE * first
      ? `; the learning rate rises from ${formatNumber(first)} at step ${steps[0]} to ${formatNumber(last)}`
      : '';
  // Only its loss is known of a batch: one that has a usual loss may be unusual all the same.
  const same = Math.max(first / last, last / first) <= SAME_RATE;
  const what = `the losses of the batches at earlier weights${same ? ', the learning rate' : ''} and the optimizer state`;
  return `${what} are as before step ${steps[until]}${rate}`;
}

const UNDONE: Readonly<Record<Change['trigger'], string>> = {
  data: 'without these batches the run stays well',
  'learning-rate': 'at the earlier learning rate the run stays well',
  'weight-decay': 'with less weight decay the run stays well',
  'optimizer-state': 'with the earlier optimizer state the run stays well',
  precision: 'with it taken back the run stays well',
  code: 'with it taken back the run stays well',
};

/** That the run stays well where the change is taken back, or a part of it. */
function undoneWords(
  { trigger, recorded }: Change,
  between: number | null,
  references: References | null,
): string {
  if (trigger === 'learning-rate' && between !== null)
    return `at ${between} times the learning rate, more than before it rose, the run stays well`;
  return trigger === 'data' && (recorded === true || references?.unlike.size === 1)
    ? 'without this batch the run stays well'
    : UNDONE[trigger];
}

/**
 * Under drift a healthy net gets worse on old data while it learns the new: what is unknown where none came back. It is put
 * before the effect of undoing the change, which the page repeats with its numbers.
 */
function openWords(
  { trigger, evidence }: Change,
  references: References | null,
  afterShift: ArmEnd['outcome'],
): string {
  if (trigger !== 'data' || references?.after.length !== 0) return '';
  if (afterShift !== null)
    return afterShift === 'holds'
      ? '; the weights follow the new data: no training that was tried is far better there and on batches from before'
      : '; the weights are harmed: another training is far better both on the new data and on batches from before';
  const known = evidence.statement.endsWith(TO_THE_END) ? '' : 'no batch as before came after, so ';
  return `; ${known}whether the weights are harmed or follow the new data is unknown`;
}

/** Why no experiment showed it, and what to record. */
function notShown({ onset, observed, hasModel, references }: DecideInput): string {
  if (!hasModel)
    return 'to run experiments, record batches and a model, or use closed_loop in your framework';
  const from = references?.harmful ?? onset;
  const after = observed.steps.filter((_, i) => i > from && references?.unlike.has(i) !== true).length;
  return onset < LEAST_STATES || after < LEAST_AFTER
    ? `too little was recorded to judge an experiment: ${countedPlain(onset, 'step')} before the incident and ${countedPlain(after, 'clean step')} after it, where ${LEAST_STATES} and ${LEAST_AFTER} are needed`
    : 'the experiments did not run to their end (`--verbose` says why)';
}
type Made = (
  trigger: Trigger,
  confidence: Cause['confidence'],
  statement: string,
  also?: readonly Trigger[],
) => Cause;

/** The change is before the first recorded step and is not among what was compared: the steps are too long for this loss. */
function fromShorterSteps(shorter: ShorterSteps, steps: readonly number[], made: Made): Cause {
  const { ofRun } = shorter;
  const same = ofRun
    ? `the loss rises from the first steps of the run on, with nothing changed`
    : `the first losses and rates are as logged before, so weights, data and rate were kept, but maybe not the clipping`;
  const back = ofRun ? '' : `. Where clipping was on before step ${steps[0]}, put it back`;
  return made('sharpness', 'likely', `${same}; ${noHarmWords(shorter, steps)}${back}`);
}

/** How the run ends with shorter steps, and without. */
const noHarmWords = (
  { label, first, level, end, recordedEnd }: ShorterSteps,
  [step]: readonly number[],
): string =>
  `with ${label} the same batches do no harm: the loss on reference batches is ${formatNumber(first)} at step ${step} and ${formatNumber(end)} at the end${level > first ? `, where ${formatNumber(level)} was usual in the log` : ''}; without that it ends at ${formatNumber(recordedEnd)}`;

/** The same as a clause, where less weight decay is what does no harm. */
const lessDecayWords = (shorter: ShorterSteps | null, steps: readonly number[]): string =>
  shorter !== null && 'kind' in shorter.by && shorter.by.kind === 'weight-decay'
    ? `; ${noHarmWords(shorter, steps)}`
    : '';

/** What the recorded steps alone suggest. */
function fromSteps(input: DecideInput, made: Made): Cause {
  const { onset, observed } = input;
  const { steps, updateNorm, loss, learningRate } = observed;
  const unknown = (why: string): Cause => made('none-found', null, `${why}; ${notShown(input)}`);
  const missing = missingStateWords(observed);
  if (missing !== null) return unknown(missing);
  const jump = jumpOf(loss, onset);
  if (jump === null)
    return unknown(
      onset < LEAST_EARLIER
        ? `the incident begins at step ${steps[onset]}, so soon after the first step of the capture that its usual values are unknown`
        : `the learning rate did not jump, and the loss climbs to step ${steps[onset]} without a jump, so no single batch is the cause`,
    );
  const update = updateBefore(updateNorm, jump);
  const told = `the loss is ${formatNumber(loss[jump]!)} at step ${steps[jump]}`;
  if (update === null)
    return unknown(`${told}, and fewer steps were recorded before than tell what was usual`);
  if (isRaised(update.last, update.usual))
    return unknown(
      `${told}, after the update of step ${steps[jump - 1]} was ${formatNumber(update.last)}, where up to ${formatNumber(update.usual[1])} is usual; what made that step so long is not known, and the learning rate did not jump`,
    );
  const calm = newsWords(loss[jump]!, steps[jump]!);
  const { references } = input;
  if (references !== null && isJumpOfWeights(references)) {
    const { at, loss: before, usual } = references.jumped!;
    return unknown(
      `${calm}, and that of the same batch ${formatNumber(before)} at the weights of step ${steps[at]}, where up to ${formatNumber(usual![1])} is usual: the weights made the jump, not the batch, and what made them was not found`,
    );
  }
  const growth = growthAfter(loss, jump);
  if (growth >= GROWING)
    return unknown(
      `${calm}, and grows at each of the ${growth} steps after it: steps are too long for the loss there, and whether that batch or the learning rate began it does not show`,
    );
  const rise = risenRate(learningRate, jump);
  if (rise !== null)
    return unknown(
      `${calm}, and the learning rate rises from ${formatNumber(rise.before)} to ${formatNumber(learningRate[jump]!)} in the ${rise.over} steps before: the batch or the rate`,
    );
  if (!Number.isFinite(loss[jump]!))
    return unknown(
      `${calm}: either its batch or the loss function gives no number there (log(0), a division by 0, an overflow)`,
    );
  const then = jump === onset ? '' : `; the loss climbs from step ${steps[onset]} on`;
  return made('data', 'likely', `${calm}, so the batch is the likely cause${then}; ${notShown(input)}`);
}

/** Steps in a row at which a loss grows that no batch explains: of 57 made runs with bad batches none grew at more than ten of the 15 after them. */
const GROWING = 10;

/** Steps right after a position at each of which the loss grows, and is a number. */
function growthAfter(loss: readonly number[], at: number): number {
  let k = at;
  while (Number.isFinite(loss[k + 1]) && loss[k + 1]! > loss[k]!) k++;
  return k - at;
}

/** Whether an arm takes the change back: not one from before the record; of a setting that was written its own, where the run stays well. */
function isTakenBack(
  { beforeRecord, written, decayFactor, from }: Change,
  { arms, observed: { steps } }: DecideInput,
): boolean {
  if (beforeRecord === true) return false;
  const own = ({ arm, shows }: DecideInput['arms'][number]): boolean =>
    arm.kind === 'settings' && arm.at === steps[from] && shows;
  return written !== true || decayFactor !== undefined || arms.some(own);
}

const isHarmed = (outcome: ArmEnd['outcome']): boolean => outcome === 'lost' || outcome === 'hurt';

/** Whether batches explain a high loss: those whose own is low do not. */
const explainsHigh = ({ trigger, low }: Change): boolean => trigger === 'data' && low !== true;

/** Whether no step raised the loss on reference batches permanently, and many small ones did not either. */
const isUnharmed = ({ harmful, level, loss }: References): boolean =>
  harmful === null && level !== null && endLevel(loss) <= timesLevel(HOLDS, level);

function mechanismOf(
  { onset, observed, references, changes, arms, unrecorded, afterShift = null }: DecideInput,
  held: ReadonlySet<Trigger>,
): Mechanism {
  if (unrecorded?.trigger === 'precision' || changes.some(({ trigger }) => trigger === 'precision'))
    return 'overflow';
  if (references === null || references.level === null) return 'unknown';
  if (isUnharmed(references) || afterShift === 'holds') return 'bad-batch-only';
  const restored = arms.some(
    ({ undoes, outcome, shows }) => undoes === 'optimizer-state' && (shows || outcome === 'hurt'),
  );
  if (!restored || held.size === 0) return 'overshoot';
  const rate = observed.effectiveRate.filter((_, i) => !references.unlike.has(i));
  const before = medianOf(observed.effectiveRate.slice(0, onset));
  const share = medianOf(rate.slice(-10)) / before;
  // Without a finite update on either side it is unknown how far one still goes.
  if (Number.isNaN(share)) return 'unknown';
  return share < POISONED ? 'poisoned-accumulators' : 'overshoot';
}

/** What was measured, the decisive first. */
function evidenceOf({ onset, observed, references, changes }: DecideInput, until: number): CauseEvidence[] {
  const { steps } = observed;
  const evidence: CauseEvidence[] = [];
  const add = (
    id: CauseEvidence['id'],
    statement: string,
    value: number,
    unit: string,
    usual: readonly [number, number] | null,
    step: number | null,
    batchStep: number | null = null,
  ) => evidence.push({ id, statement, value, unit, usual, at: { step, batchStep } });
  if (references !== null) {
    const { onsetBatch, usual, loss, harmful, level, before, after } = references;
    const older = onsetBatch.filter(({ index }) => index < onset);
    const [near] = older;
    if (near !== undefined)
      add(
        'batch-at-older-state',
        `the batch of step ${steps[onset]} has the loss ${older.map(({ index, loss: found }) => `${formatNumber(found)} at the weights of step ${steps[index]}`).join(', ')}${usual === null ? '' : `, where up to ${formatNumber(usual[1])} is usual`}`,
        near.loss,
        'loss',
        usual,
        steps[near.index]!,
        steps[onset]!,
      );
    const shown = `${before.length + after.length} reference batches (steps ${[...before, ...after].map((index) => steps[index]).join(', ')})`;
    if (harmful === null && level !== null)
      add(
        'reference-loss',
        `on ${shown} no ${isUnharmed(references) ? '' : 'single '}step raised the loss permanently; it ends at ${formatNumber(endLevel(loss))}, where ${formatNumber(level)} was usual`,
        endLevel(loss),
        'loss',
        usualRange(loss.slice(Math.max(0, onset - USUAL), onset)),
        steps.at(-1)!,
      );
    else if (harmful !== null)
      add(
        'reference-loss',
        `on ${shown} the loss is ${formatNumber(loss[harmful]!)} before step ${steps[harmful]} and ${formatNumber(loss[harmful + 1]!)} after it; it ends at ${formatNumber(endLevel(loss))}${level === null ? '' : `, where ${formatNumber(level)} was usual`}`,
        loss[harmful + 1]!,
        'loss',
        usualRange(loss.slice(Math.max(0, harmful - 19), harmful + 1)),
        steps[harmful]!,
      );
  }
  evidence.push(...changes.map(({ evidence: one }) => one));
  const at = references?.harmful ?? onset;
  for (const [id, values, what] of [
    ['update-norm', observed.updateNorm, 'the norm of the update'],
    ['gradient-norm', observed.gradientNorm, 'the norm of the gradient'],
    ['surprise', observed.surprise, 'the largest gradient over the root of the second moment before it'],
  ] as const) {
    const value = values[at];
    const usual = usualRange(values.slice(Math.max(0, at - USUAL), at));
    if (value === undefined || usual === null || Number.isNaN(value)) continue;
    add(
      id,
      `${what} is ${formatNumber(value)} at step ${steps[at]}, where up to ${formatNumber(usual[1])} is usual${id === 'update-norm' ? byTensor(observed, at) : ''}`,
      value,
      id === 'surprise' ? 'ratio' : 'norm',
      usual,
      steps[at]!,
      steps[at]!,
    );
  }
  const rates = observed.effectiveRate;
  const calm = medianOf(rates.slice(Math.max(0, until - USUAL), until));
  const end = medianOf(rates.slice(-10));
  if (Number.isFinite(calm) && Number.isFinite(end) && rates.length - until > 10)
    add(
      'effective-rate',
      `a gradient of norm 1 moves the weights by ${formatNumber(end)} at the end and moved them by ${formatNumber(calm)} before step ${steps[until]}`,
      end / calm,
      'ratio',
      null,
      steps.at(-1)!,
    );
  return evidence;
}

/** Tensors whose update is named. */
const NAMED = 3;

/** The tensors that most of an update is in, as a clause: each with what is usual of it. */
function byTensor({ tensors }: Observed, at: number): string {
  if (tensors.length < 2) return '';
  const found = tensors.map(({ name, updateNorm }) => ({
    name,
    norm: updateNorm[at]!,
    usual: usualRange(updateNorm.slice(Math.max(0, at - USUAL), at)),
  }));
  const largest = found.sort((a, b) => b.norm - a.norm).slice(0, NAMED);
  const raised = found.filter(({ norm, usual }) => isRaised(norm, usual)).length;
  const parts = largest.map(
    ({ name, norm, usual }) =>
      `${formatNumber(norm)} in "${name}"${usual === null ? '' : ` (usual up to ${formatNumber(usual[1])})`}`,
  );
  return `; by tensor ${parts.join(', ')}; ${raised} of ${tensors.length} tensors are above their usual`;
}
