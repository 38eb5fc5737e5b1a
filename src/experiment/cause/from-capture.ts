/**
 * What a capture says where no experiment can be made here: by the closed loops of the user's own framework where it stores some,
 * else what the recorded steps suggest, which is never more than likely.
 */

import { raisedRate } from '../../judge/failures/rates.ts';
import { isRaised, USUAL, usualRange } from '../../judge/incidents/unlike.ts';
import type { Cause, Remedy } from '../../model/cause.ts';
import { countedPlain, formatNumber } from '../../model/format-number.ts';
import type { ReplayEntry } from '../../model/replay.ts';
import { trainingLoopOf } from '../../model/training-loop.ts';
import type { CaptureManifest } from '../../read/captures/manifest.ts';
import type { Capture } from '../../read/captures/read.ts';
import { firstNotFinite } from '../../step/tensor/values.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import { departureOf } from '../replay/recorded-loops.ts';
import { unseenWords } from './as-computed.ts';
import type { Change } from './change.ts';
import { changesBy, missingStateWords } from './changes.ts';
import { decideCause } from './decide.ts';
import { suggestionFor, type Why } from './from-log.ts';
import { causeOfLoops } from './from-recorded.ts';
import { newsWords, updateBefore } from './jump.ts';
import { type Observed, observe } from './observe.ts';
import { groupShares, pasteDecay, pasteRate, pasteSkip } from './paste.ts';
import { CAME_BACK, untried } from './remedies.ts';
import type { RemedyContext } from './tried.ts';

const cameBack = untried('none-needed', CAME_BACK);

/**
 * Of an incident that begins at a step which the loss scaler skipped: no parameter moved there, so the computation itself
 * broke. A finite loss far above those before it is not an overflow, which only follows. If no unusual update led to it, the
 * batch is the cause; if one did, the reason for its length is unknown.
 */
async function causeOfSkips(capture: Capture, onsetStep: number): Promise<Cause | null> {
  const { skips } = capture.manifest;
  const from = skips.findIndex(({ step }) => step === onsetStep);
  if (from < 0) return null;
  const { loss, lossScale, nonFinite } = skips[from]!;
  const count = skips.length - from;
  const [tensor, ...others] = nonFinite;
  const where =
    tensor === undefined
      ? ''
      : `, where the gradient of "${tensor}"${others.length === 0 ? '' : ` and ${others.length} more`} is not finite`;
  const scale = lossScale === null ? '' : ` at a loss scale of ${formatNumber(lossScale)}`;
  const forward = loss !== null && !Number.isFinite(loss);
  const how = forward ? ' in the forward pass already, which no loss scale mends' : '';
  const moves = capture.steps.some(({ step }) => step > onsetStep) ? '' : ', and no parameter moves';
  const skipped = `the loss scaler skipped ${countedPlain(count, 'step')} from step ${onsetStep} on${scale}${where}: numbers overflow${how}${moves}`;
  const rise = loss === null ? null : await riseBefore(capture, loss, onsetStep);
  const trigger = rise === null ? 'precision' : rise.update === null ? 'data' : 'none-found';
  const follows = `what overflows follows from it; ${skipped}`;
  const statement =
    rise === null
      ? skipped
      : rise.update === null
        ? `${newsWords(loss!, onsetStep)}, so the batch is the likely cause, and ${follows}`
        : `the loss is ${formatNumber(loss!)} at step ${onsetStep} already, after the update before it was ${formatNumber(rise.update.last)}, where up to ${formatNumber(rise.update.usual[1])} is usual; what made that step so long is not known, and ${follows}`;
  return {
    trigger,
    alsoTriggers: trigger === 'data' ? ['precision'] : [],
    mechanism: 'overflow',
    step: null,
    onsetStep,
    confidence: trigger === 'none-found' ? null : 'likely',
    statement,
    evidence: [
      {
        id: 'skipped-steps',
        statement: skipped,
        value: count,
        unit: 'steps',
        usual: null,
        at: { step: onsetStep, batchStep: onsetStep },
      },
    ],
  };
}

/**
 * Of a loss that is a number and far above those of the steps before: the update that led to it, null where that is of the usual size.
 * Null of any other loss, and where the updates are not known.
 */
async function riseBefore(
  capture: Capture,
  loss: number,
  step: number,
): Promise<{ readonly update: ReturnType<typeof updateBefore> } | null> {
  const after = capture.steps.findIndex((one) => one.step > step);
  const at = after < 0 ? capture.steps.length : after;
  const before = capture.steps.slice(Math.max(0, at - USUAL), at).flatMap((one) => one.loss ?? []);
  if (!Number.isFinite(loss) || !isRaised(loss, usualRange(before))) return null;
  const observed = await observe(capture, await prepareReplay(capture, 'float32', null));
  const update = missingStateWords(observed) === null ? updateBefore(observed.updateNorm, at) : null;
  if (update === null) return null;
  return { update: isRaised(update.last, update.usual) ? update : null };
}

/** Row of an entry of a tensor whose first dimension counts rows. */
const rowOf = (entry: number, entries: number, [rows = 1]: readonly number[]): number =>
  Math.floor((entry * rows) / entries);

/** A batch whose values are not all finite, where its loss is not; null where they are, or it was not recorded. */
async function brokenBatch(capture: Capture, at: number): Promise<Change | null> {
  const { loss, step } = capture.steps[at]!;
  if (loss === null || Number.isFinite(loss)) return null;
  for (const [name, { data, shape }] of await capture.batch(at)) {
    if (!(data instanceof Float32Array || data instanceof Float64Array)) continue;
    const entry = firstNotFinite(data);
    if (entry < 0) continue;
    return {
      trigger: 'data',
      from: at,
      size: Number.POSITIVE_INFINITY,
      evidence: {
        id: 'batches-unlike',
        statement: `the batch of step ${step} holds values that are no numbers: ${data[entry]} in row ${rowOf(entry, data.length, shape)} of "${name}", counted from 0`,
        value: null,
        unit: 'loss',
        usual: null,
        at: { step, batchStep: step },
      },
    };
  }
  return null;
}

/**
 * @param onsetStep of the leading incident, as the capture counts steps
 * @param loops that the user's own framework ran and stored
 * @returns null where the capture does not hold the onset
 * @throws what reading the capture throws
 */
export async function causeOfCapture(
  context: RemedyContext & { readonly capture: Capture },
  onsetStep: number | null,
  recovered: boolean,
  loops: readonly ReplayEntry[] = [],
): Promise<Why | null> {
  const { capture } = context;
  if (onsetStep !== null) {
    const skipped = await causeOfSkips(capture, onsetStep);
    if (skipped !== null)
      return {
        cause: skipped,
        remedies: [recovered ? cameBack : suggestionFor(skipped, 'step')],
      };
  }
  const onset = capture.steps.findIndex(({ step }) => step === onsetStep);
  if (onset < 1) return null;
  const prepared = await prepareReplay(capture, 'float32', null);
  const observed = await observe(capture, prepared);
  const shown = causeOfLoops(context, prepared, observed, onset, loops);
  if (shown !== null) return shown;
  const broken = await brokenBatch(capture, onset);
  const found = changesBy(onset, observed, null, capture.manifest.skipped);
  const changes = broken === null ? found : [broken, ...found];
  const departed = changes.length === 0 ? departureOf(capture, loops, onset) : null;
  if (departed !== null) {
    const { at, computed } = departed;
    const cause: Cause = {
      trigger: 'none-found',
      alsoTriggers: [],
      mechanism: 'unknown',
      step: observed.steps[at]!,
      onsetStep: observed.steps[onset]!,
      confidence: null,
      statement: unseenWords({ at: at - 1, computed }, observed),
      evidence: [],
    };
    return { cause, remedies: recovered ? [cameBack] : [] };
  }
  const cause = decideCause({
    onset,
    observed,
    references: null,
    hasModel: false,
    changes,
    arms: [],
    cameBack: recovered,
    ruleHolds: false,
    shorter: null,
    unrecorded: null,
  });
  const { manifest } = capture;
  return {
    cause,
    remedies: recovered
      ? [cameBack]
      : [
          (broken !== null && cause.trigger === 'data' ? withoutBatch(broken, manifest) : null) ??
            suggestionOf(changes, cause, manifest) ??
            suggestionFor(
              cause,
              'step',
              cause.trigger === 'weight-decay'
                ? lessDecay(manifest, changes)
                : rateBefore(capture, observed, onset),
            ),
        ],
  };
}

/** To leave out a batch with values that are no numbers. */
function withoutBatch({ evidence: { at } }: Change, { framework, trainer }: CaptureManifest): Remedy {
  const step = at.step!;
  return untried(
    'skip-batches',
    `leave out batch ${step}, or that row of it, and go on from a checkpoint before step ${step}; a check where batches are made finds others`,
    { skipSteps: [step, step], paste: pasteSkip(trainingLoopOf(framework, trainer), [step]) },
  );
}

/** What to do about a setting that the record states to have changed; null where it is not the cause. */
function suggestionOf(
  changes: readonly Change[],
  { trigger, statement }: Cause,
  { framework, trainer }: CaptureManifest,
): Remedy | null {
  const own = changes.find(
    (change) =>
      change.written === true &&
      change.trigger === trigger &&
      statement.startsWith(change.evidence.statement),
  );
  if (own === undefined || trigger === 'code') return null;
  const { step } = own.evidence.at;
  return trigger === 'weight-decay'
    ? untried(
        'lower-weight-decay',
        `go back to a checkpoint before step ${step} and set the weight decay back${own.decayFactor === 0 ? ' at every step, whatever sets it' : ''}; not tried`,
        {
          ...(own.decayFactor === undefined
            ? {}
            : {
                weightDecayFactor: own.decayFactor,
                paste: pasteDecay(trainingLoopOf(framework, trainer), own.decayFactor),
              }),
        },
      )
    : untried(
        'lower-learning-rate',
        `lower the learning rate of these parameters from step ${step} on, for a start to that of the others; not tried`,
      );
}

/** How much less weight decay to take, with its line for the loop that was recorded. */
function lessDecay({ framework, trainer }: CaptureManifest, changes: readonly Change[]) {
  const factor = changes.find(({ decayFactor }) => decayFactor !== undefined)?.decayFactor;
  return factor === undefined
    ? null
    : { weightDecayFactor: factor, paste: pasteDecay(trainingLoopOf(framework, trainer), factor) };
}

/** The rate of before a rise, with its line for the loop that was recorded. */
function rateBefore({ manifest, steps }: Capture, { learningRate }: Observed, onset: number) {
  const { framework, trainer } = manifest;
  const raised = raisedRate(Float64Array.from(learningRate), onset);
  return raised === null
    ? null
    : {
        learningRate: raised.before,
        paste: pasteRate(trainingLoopOf(framework, trainer), raised.before, null, groupShares(steps)),
      };
}
