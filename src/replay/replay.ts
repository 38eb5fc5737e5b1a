/** Replay of a capture without its model: as recorded, and rolled forward with the recorded gradients (open loop). */
import type { Capture } from '../captures/read.ts';
import type { Finding } from '../model/finding.ts';
import type { ClippyDetails, ReplayEntry, ReplayMode, ThresholdSweep } from '../model/replay.ts';
import { type ClippyThresholds, clippyFactor } from '../rules/clippy.ts';
import { chooseRule, optionsOf, type RuleChoice } from '../rules/parse.ts';
import type { SeenTensor } from '../rules/rule.ts';
import { type Precision, sumOfSquares, type Values } from '../tensor/values.ts';
import { type CaptureIncident, incidentOfCapture } from './capture-incident.ts';
import { type Followed, follow, type Prepared } from './follow.ts';
import { copyTensors, learningRateNote, prepareReplay } from './from-capture.ts';
import { createStepper, type StepObserver, type Stepper, type StepRecord, type TensorState } from './step.ts';
import { incidentUpdates, judgeEstimate } from './verdict.ts';

export interface ReplaySettings {
  readonly mode: Exclude<ReplayMode, 'closed-loop'>;
  readonly rules: readonly RuleChoice[];
  readonly precision?: Precision;
  /** What-if: one entry for each rule and multiplier. Default 1 alone. */
  readonly learningRateMultipliers?: readonly number[];
  /** Onset of the incident where a log tells it better than the recorded losses. */
  readonly onsetStep?: number;
  readonly progress?: (done: number, total: number, what: string) => void;
}

export interface ReplayResult {
  readonly entries: readonly ReplayEntry[];
  /** A rebuilt run that misses a snapshot. */
  readonly findings: readonly Finding[];
  readonly notes: readonly string[];
  readonly snapshots: number;
  readonly onsetStep: number | null;
  /** Norm of the unclipped update at each recorded state. */
  readonly unclippedNorm: readonly number[];
}

/** σ below which a tensor counts as frozen. */
const FROZEN = 1e-3;
/** Share of the steps before the incident up to which acting is an emergency. */
const SAFETY_NET = 0.2;
/** Thresholds that a sweep tries: 1-2-5 steps over ten decades. */
const SWEEP = [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3].flatMap((e) =>
  [1, 2, 5].map((digit) => Number(`${digit}e${e}`)),
);

/**
 * Replays a capture under rules.
 *
 * `as-recorded`: at every recorded state the factors that each rule would have had, exact. `open-loop`: each rule takes its own
 * steps along the recorded gradients, exact until the first step that it changes.
 *
 * Non-finite gradients and states are data: after a non-finite state all arrays hold NaN.
 *
 * @throws rule-undefined and what reading the capture throws
 */
export async function replayCapture(capture: Capture, settings: ReplaySettings): Promise<ReplayResult> {
  const precision = settings.precision ?? 'float32';
  const prepared = await prepareReplay(capture, precision);
  prepared.notes.push(...learningRateNote(capture));
  const { setup } = prepared;
  const multipliers = settings.learningRateMultipliers ?? [1];
  const stepperOf = (rule: RuleChoice, multiplier: number): Stepper =>
    createStepper({ rule, optimizers: setup.optimizers, precision, learningRateMultiplier: multiplier });
  const tracks = settings.rules.flatMap((rule) =>
    multipliers.map((multiplier) => createTrack(stepperOf(rule, multiplier), multiplier, prepared, capture)),
  );

  const asRecorded = settings.mode === 'as-recorded';
  const unclippedStepper = stepperOf(NONE, 1);
  const unclipped: Values[] = prepared.tensors.map(({ w }) => w.slice());
  const unclippedNorm: number[] = [];
  const gradientNorm: number[] = [];
  const directionMax: number[] = [];
  let largest = 0;
  const observer: StepObserver = {
    directed: (_t, direction) => {
      largest = largestMagnitude(direction, largest);
    },
    moved: (t, move) => unclipped[t]!.set(move),
  };
  const followed = await follow(capture, prepared, {
    precision,
    visit: (_index, step, tensors) => {
      largest = 0;
      const record = unclippedStepper.step(tensors, step.gradients, step.learningRates, true, observer);
      unclippedNorm.push(record.updateNorm);
      gradientNorm.push(Math.sqrt(step.gradients.reduce((sum, { values }) => sum + sumOfSquares(values), 0)));
      directionMax.push(largest);
      if (!asRecorded) return;
      for (const track of tracks) track.dryStep(step.gradients, step.learningRates, tensors, unclipped);
    },
    progress: (done, total) => settings.progress?.(done, total, 'as recorded'),
  });
  if (!asRecorded)
    for (const track of tracks) {
      const tensors = copyTensors(prepared.tensors);
      for (let index = 0; index < capture.steps.length; index++) {
        const step = await capture.step(index, precision);
        const record = track.realStep(step.gradients, step.learningRates, tensors);
        settings.progress?.(index + 1, capture.steps.length, `open loop, ${track.stepper.rule.label}`);
        if (!record.finite) break;
      }
    }

  const { onset, unknown } = incidentOf(capture, settings.onsetStep);
  const updates = onset === null ? null : incidentUpdates(unclippedNorm, onset);
  const sweeps =
    updates === null || updates.last >= followed.walked
      ? new Map<Track, ThresholdSweep>()
      : await sweepAll(capture, prepared, tracks, precision, updates);
  const steps = capture.steps.map(({ step }) => step);
  const padded = (values: readonly number[]): number[] =>
    steps.map((_, i) => (i < values.length ? values[i]! : Number.NaN));
  const baseline = padded(unclippedNorm);
  const losses = capture.steps.map(({ loss }) => loss ?? Number.NaN);

  const entries = tracks.map((track): ReplayEntry => {
    const { stepper, multiplier } = track;
    const firstChanged = firstChangedStep(track, followed, setup.clipping);
    const updateNorm = padded(track.updateNorm);
    const engaged = track.engaged.map(Boolean);
    const judged = judgeEstimate({
      steps,
      onset,
      unknown,
      firstChanged,
      updateNorm,
      unclipped: baseline,
      learningRateMultiplier: multiplier,
    });
    const firstEngaged = engaged.indexOf(true);
    const before = onset === null ? engaged : engaged.slice(0, onset);
    const share = before.filter(Boolean).length / Math.max(before.length, 1);
    const sweep = sweeps.get(track);
    return {
      mode: settings.mode,
      rule: stepper.rule.rule.id,
      label: stepper.rule.label,
      options: {
        ...(stepper.rule.preset === undefined ? {} : { preset: stepper.rule.preset }),
        ...stepper.rule.options,
      },
      optimizer: {
        name: stepper.optimizers[0]!.optimizer.id,
        learningRate: capture.steps[0]!.learningRates[0]!,
        ...stepper.optimizers[0]!.options,
      },
      learningRateMultiplier: multiplier,
      onsetStep: onset === null ? null : steps[onset]!,
      steps,
      loss: asRecorded ? losses : null,
      minClipFactor: padded(track.minClipFactor),
      updateNorm,
      ...(asRecorded ? { keptUpdate: padded(track.kept), cosine: padded(track.cosine) } : {}),
      gradientNorm: padded(gradientNorm),
      directionMax: padded(directionMax),
      firstEngagedStep: firstEngaged < 0 ? null : steps[firstEngaged]!,
      firstChangedStep: firstChanged === null ? null : steps[firstChanged]!,
      engagedFraction: engaged.filter(Boolean).length / Math.max(engaged.length, 1),
      ended: endOf(asRecorded ? followed : { walked: track.updateNorm.length, finite: track.finite }, steps),
      ...judged,
      bottleneck: track.bottleneck(),
      character: firstEngaged < 0 ? 'idle' : share <= SAFETY_NET ? 'safety-net' : 'step-limiter',
      tensors: track.tensors(onset),
      ...(track.clippy === null ? {} : { clippy: track.clippy() }),
      ...(sweep === undefined ? {} : { sweep }),
      source: 'computed',
    };
  });
  return {
    entries,
    findings: followed.findings,
    notes: prepared.notes,
    snapshots: followed.snapshots,
    onsetStep: onset === null ? null : steps[onset]!,
    unclippedNorm: baseline,
  };
}

const NONE = chooseRule('none', {});

/** The larger of `floor` and the largest |value|; NaN if one is. */
function largestMagnitude(values: Values, floor: number): number {
  let largest = floor;
  for (let i = 0; i < values.length; i++) {
    const size = Math.abs(values[i]!);
    if (size > largest || Number.isNaN(size)) largest = size;
    if (Number.isNaN(largest)) return largest;
  }
  return largest;
}

/** The incident of the capture; one that a log tells better where it lies in the recorded steps. */
function incidentOf(capture: Capture, onsetStep: number | undefined): CaptureIncident {
  const { steps } = capture;
  // An incident of the log that lies outside of the capture is not the one that was recorded.
  return onsetStep !== undefined && onsetStep >= steps[0]!.step && onsetStep <= steps.at(-1)!.step
    ? { onset: steps.findIndex(({ step }) => step >= onsetStep), unknown: null }
    : incidentOfCapture(capture);
}

/** Where the run under the rule departs from the recorded one. */
function firstChangedStep(track: Track, followed: Followed, clipping: RuleChoice): number | null {
  const { stepper, multiplier } = track;
  if (multiplier !== 1 || track.optimizerDiffers) return 0;
  const sameRule = stepper.rule.label === clipping.label;
  if (sameRule) return null;
  const first = track.engaged.findIndex((engaged, i) => engaged || followed.recorded[i]?.engaged === true);
  return first < 0 ? null : first;
}

function endOf(
  { walked, finite }: Pick<Followed, 'walked' | 'finite'>,
  steps: readonly number[],
): ReplayEntry['ended'] {
  return { reason: finite ? 'completed' : 'non-finite', step: steps[Math.max(0, walked - 1)]! };
}

type Track = ReturnType<typeof createTrack>;

/** What one rule (at one multiplier) did, step by step. */
function createTrack(stepper: Stepper, multiplier: number, prepared: Prepared, capture: Capture) {
  const names = prepared.tensors.map(({ name }) => name);
  const minClipFactor: number[] = [];
  const updateNorm: number[] = [];
  const kept: number[] = [];
  const cosine: number[] = [];
  const engaged: boolean[] = [];
  const smallest = names.map(() => ({ factor: Number.POSITIVE_INFINITY, step: 0 }));
  /** Factors of each tensor at each step: a number for each, whatever the size of the tensor. */
  const history: Float64Array[] = [];
  let bottleneck: StepRecord['bottleneck'] | null = null;
  let finite = true;
  const details = stepper.rule.rule.id === 'clippy' ? createClippyDetails(stepper, names) : null;
  const optimizerDiffers = stepper.optimizers.some(
    ({ options }, group) =>
      JSON.stringify(options) !== JSON.stringify(prepared.setup.optimizers[group]!.options),
  );

  const note = (record: StepRecord): StepRecord => {
    const { step } = capture.steps[minClipFactor.length]!;
    minClipFactor.push(record.minFactor);
    updateNorm.push(record.updateNorm);
    engaged.push(record.engaged);
    history.push(record.factors.slice());
    finite = record.finite;
    record.factors.forEach((factor, t) => {
      if (factor < smallest[t]!.factor) smallest[t] = { factor, step };
    });
    if (record.engaged && !(bottleneck !== null && bottleneck.factor <= record.bottleneck.factor))
      bottleneck = record.bottleneck;
    return record;
  };

  return {
    stepper,
    multiplier,
    minClipFactor,
    updateNorm,
    kept,
    cosine,
    engaged,
    optimizerDiffers,
    /** Whether the parameters are finite after the last step. */
    get finite() {
      return finite;
    },
    dryStep(
      gradients: Parameters<Stepper['step']>[1],
      rates: readonly number[],
      tensors: readonly TensorState[],
      unclipped: readonly Values[],
    ): void {
      let dot = 0;
      let own = 0;
      let other = 0;
      const record = stepper.step(tensors, gradients, rates, true, {
        ...details?.observer,
        moved: (t, move) => {
          const reference = unclipped[t]!;
          for (let i = 0; i < move.length; i++) {
            const a = move[i]!;
            const b = reference[i]!;
            dot += a * b;
            own += a * a;
            other += b * b;
          }
        },
      });
      note(record);
      kept.push(other === 0 ? 1 : Math.sqrt(own / other));
      cosine.push(own === 0 || other === 0 ? 1 : dot / Math.sqrt(own * other));
    },
    realStep(
      gradients: Parameters<Stepper['step']>[1],
      rates: readonly number[],
      tensors: readonly TensorState[],
    ): StepRecord {
      return note(stepper.step(tensors, gradients, rates, false, details?.observer));
    },
    bottleneck: () =>
      bottleneck === null
        ? null
        : { tensor: names[bottleneck.tensor]!, index: bottleneck.index, factor: bottleneck.factor },
    tensors: (onset: number | null) =>
      names.map((tensor, t) => ({
        tensor,
        ...smallest[t]!,
        atIncident: onset === null ? Number.NaN : (history[onset]?.[t] ?? Number.NaN),
      })),
    clippy: details === null ? null : details.result,
  };
}

/** What sets Clippy's factor, gathered while it is measured. */
function createClippyDetails(stepper: Stepper, names: readonly string[]) {
  const thresholds = stepper.rule.options as unknown as ClippyThresholds;
  let best: { factor: number } & Omit<ClippyDetails, 'frozen'> = {
    factor: 1,
    dominatedBy: null,
    parameter: null,
    update: null,
  };
  const frozen = new Map<number, { steps: number; factor: number; absoluteThreshold: number }>();
  const partsAt = (seen: SeenTensor, i: number) => ({
    variableRelativeThreshold: thresholds.variableRelativeThreshold * Math.abs(seen.w[i]!),
    absoluteThreshold: thresholds.absoluteThreshold,
    accumulatorRelativeThreshold:
      thresholds.accumulatorRelativeThreshold > 0
        ? thresholds.accumulatorRelativeThreshold / Math.sqrt(seen.accumulator![i]! + seen.epsilonInRoot)
        : 0,
  });
  const observer: StepObserver = {
    measured(t, seen, factor) {
      if (factor < best.factor) {
        const { index } = clippyFactor(seen.w, seen.x, thresholds, seen.accumulator, seen.epsilonInRoot);
        const parts = Object.entries(partsAt(seen, index)).sort((a, b) => b[1] - a[1]);
        best = {
          factor,
          dominatedBy: parts[0]![0] as keyof ClippyThresholds,
          parameter: seen.w[index]!,
          update: seen.x[index]!,
        };
      }
      if (!(factor < FROZEN)) return;
      // σ = 1 once λ_abs covers what the other thresholds leave of every |Δ|.
      let needed = 0;
      for (let i = 0; i < seen.x.length; i++) {
        const { variableRelativeThreshold, accumulatorRelativeThreshold } = partsAt(seen, i);
        const rest = Math.abs(seen.x[i]!) - variableRelativeThreshold - accumulatorRelativeThreshold;
        if (rest > needed) needed = rest;
      }
      const known = frozen.get(t);
      frozen.set(t, {
        steps: (known?.steps ?? 0) + 1,
        factor: Math.min(known?.factor ?? 1, factor),
        absoluteThreshold: Math.max(known?.absoluteThreshold ?? 0, needed),
      });
    },
  };
  const result = (): ClippyDetails => ({
    dominatedBy: best.dominatedBy,
    parameter: best.parameter,
    update: best.update,
    frozen: [...frozen].map(([t, found]) => ({ tensor: names[t]!, ...found })),
  });
  return { observer, result };
}

/** Every rule that has a threshold, at other values of it, at the states of the incident's updates. */
async function sweepAll(
  capture: Capture,
  prepared: Prepared,
  tracks: readonly Track[],
  precision: Precision,
  updates: { readonly first: number; readonly last: number; readonly usual: number },
): Promise<Map<Track, ThresholdSweep>> {
  const swept = tracks.filter(({ stepper, multiplier }) => stepper.rule.rule.sweepOption && multiplier === 1);
  const trials = swept.map((track) => {
    const { rule } = track.stepper;
    const option = rule.rule.sweepOption!;
    const spec = optionsOf(rule.rule).find(({ name }) => name === option)!;
    const values = SWEEP.filter((value) => spec.type === 'number' && value <= spec.max);
    return {
      track,
      option,
      values,
      steppers: values.map((value) =>
        createStepper({
          rule: { ...rule, options: { ...rule.options, [option]: value } },
          optimizers: prepared.setup.optimizers,
          precision,
        }),
      ),
      largest: values.map(() => 0),
    };
  });
  await follow(capture, prepared, {
    precision,
    until: updates.last + 1,
    visit: (index, step, tensors) => {
      if (index < updates.first) return;
      for (const { steppers, largest } of trials)
        for (const [k, stepper] of steppers.entries()) {
          const { updateNorm } = stepper.step(tensors, step.gradients, step.learningRates, true);
          if (!(updateNorm <= largest[k]!)) largest[k] = updateNorm;
        }
    },
  });
  const limit = 2 * updates.usual;
  return new Map(
    trials.map(({ track, option, values, largest }) => {
      const held = values.filter((_, k) => largest[k]! <= limit);
      return [track, { option, values, updateNorm: largest, limit, largest: held.at(-1) ?? null }];
    }),
  );
}
