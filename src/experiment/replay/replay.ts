/** Replay of a capture without its model: as recorded, and rolled forward with the recorded gradients (open loop). */
import { availableParallelism } from 'node:os';
import type { Finding } from '../../model/finding.ts';
import type { ReplayEntry, ReplayMode, ThresholdSweep } from '../../model/replay.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { OptimizerChoice } from '../../step/optimizers/registry.ts';
import { NO_CLIPPING, type RuleChoice, ruleMembers } from '../../step/rules/choice.ts';
import { elementsOf, type Precision } from '../../step/tensor/values.ts';
import { LEAST_PARTS, PART } from '../../step/threads/in-parts.ts';
import { openThreads } from '../../step/threads/pool.ts';
import { workerFile } from '../../step/threads/start-thread.ts';
import type { StepObserver } from './bench.ts';
import { type CaptureIncident, incidentOf } from './capture-incident.ts';
import {
  actsOnGradients,
  type Followed,
  type FollowSettings,
  follow,
  type Look,
  type Prepared,
} from './follow.ts';
import { learningRateNote, prepareReplay } from './from-capture.ts';
import { createRoom } from './room.ts';
import { createStepper } from './step.ts';
import { sweepAll } from './sweep.ts';
import { copyTensors, type SummedGradient, withSums } from './tensors.ts';
import { createTrack, type Track } from './track.ts';
import { incidentUpdates, judgeEstimate } from './verdict.ts';
import { useWritten } from './written-options.ts';

export interface ReplaySettings {
  readonly mode: Exclude<ReplayMode, 'closed-loop'>;
  readonly rules: readonly RuleChoice[];
  readonly precision?: Precision;
  /** What-if: one entry for each rule and multiplier. Default 1 alone. */
  readonly learningRateMultipliers?: readonly number[];
  /** Onset of the incident if a log shows it more exactly than the recorded losses. */
  readonly onsetStep?: number;
  readonly progress?: (done: number, total: number, what: string) => void;
  /** Threads to use, this one included. Default: as many as the machine has and as there is work for. No number depends on it. */
  readonly threads?: number;
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

/** Share of the steps before the incident up to which acting is an emergency. */
const SAFETY_NET = 0.2;
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
  const count =
    settings.threads ?? Math.min(availableParallelism(), MOST_THREADS, 1 + threadsWorth(capture, settings));
  const threads = openThreads(workerFile('experiment/replay/parts.worker'), count - 1);
  try {
    return await replayUnderRules(capture, settings);
  } finally {
    await threads.close();
  }
}

/**
 * Entries of all steps under all rules that make up for starting a thread: 0.3 s of work. A thread takes 0.1 s of a processor more
 * than it takes over.
 */
const WORTH_A_THREAD = 2e8;
/** Each takes 15 MB, and the memory that all of them read is one. */
const MOST_THREADS = 16;

/** For how many further threads there is work. */
function threadsWorth({ manifest, steps }: Capture, { rules, precision }: ReplaySettings): number {
  // No kernel takes float64.
  if (precision === 'float64') return 0;
  const sizes = manifest.parameters.map(({ shape }) => elementsOf(shape));
  const large = sizes.filter((n) => n > (LEAST_PARTS - 1) * PART);
  const entries = large.reduce((sum, n) => sum + n, 0) * steps.length * (1 + rules.length);
  return Math.floor(entries / WORTH_A_THREAD);
}

async function replayUnderRules(capture: Capture, settings: ReplaySettings): Promise<ReplayResult> {
  const precision = settings.precision ?? 'float32';
  const asRecorded = settings.mode === 'as-recorded';
  const prepared = await prepareReplay(
    capture,
    precision,
    asRecorded ? null : 'they cannot be rolled forward',
  );
  const { withoutFormula } = prepared.setup;
  prepared.notes.push(...learningRateNote(capture));
  const multipliers = withoutFormula === null ? (settings.learningRateMultipliers ?? [1]) : [1];
  const rules = withoutFormula === null ? settings.rules : settings.rules.filter(actsOnGradients);
  if (rules.length < settings.rules.length)
    prepared.notes.push(
      `no formula is known for the steps of ${withoutFormula}, so rules that act on the update are left out: ${settings.rules
        .filter((rule) => !rules.includes(rule))
        .map(({ label }) => label)
        .join(', ')}`,
    );
  // The tracks of recorded states work on one tensor at a time, each after the other.
  const room = createRoom(precision);
  const tracks = rules.flatMap((rule) =>
    multipliers.map((learningRateMultiplier) => {
      const { optimizers } = prepared.setup;
      const stepper = createStepper({ rule, optimizers, precision, learningRateMultiplier, room });
      return createTrack(stepper, learningRateMultiplier, prepared, capture);
    }),
  );
  const walk = withoutFormula === null ? walkRecorded : walkWithoutFormula;
  const { followed, unclipped } = await walk(capture, prepared, {
    tracks: asRecorded ? tracks : [],
    precision,
    inPlace: asRecorded,
    progress: (done) => settings.progress?.(done, capture.steps.length, 'as recorded'),
  });
  if (!asRecorded)
    for (const track of tracks)
      await rollForward(capture, prepared, track, precision, (done) =>
        settings.progress?.(done, capture.steps.length, `open loop, ${track.stepper.rule.label}`),
      );

  const incident = incidentOf(capture, settings.onsetStep);
  const { onset } = incident;
  const updates = onset === null ? null : incidentUpdates(unclipped.norm, onset);
  const sweeps =
    updates === null || updates.last >= followed.walked || withoutFormula !== null
      ? new Map<Track, ThresholdSweep>()
      : await sweepAll(
          capture,
          asRecorded ? await prepareReplay(capture, precision, null) : prepared,
          tracks,
          precision,
          updates,
        );
  const found: Found = { capture, asRecorded, followed, unclipped, incident };
  return {
    entries: tracks.map((track) => {
      const entry = entryOf(track, found, prepared.setup.clipping, sweeps.get(track));
      return withoutFormula === null ? entry : entryWithoutFormula(entry, found, withoutFormula);
    }),
    findings: followed.findings,
    notes: prepared.notes,
    snapshots: followed.snapshots,
    onsetStep: onset === null ? null : capture.steps[onset]!.step,
    unclippedNorm: padded(capture, unclipped.norm),
  };
}

/** What the run did without any rule, at each recorded state. */
interface Unclipped {
  readonly norm: readonly number[];
  readonly gradientNorm: readonly number[];
  readonly directionMax: readonly number[];
}

interface Walk extends Pick<FollowSettings, 'precision' | 'inPlace' | 'progress'> {
  readonly tracks: readonly Track[];
}

/** Walks through the recorded states and measures there what no rule, and each of the tracks, would do. */
async function walkRecorded(
  capture: Capture,
  prepared: Prepared,
  { tracks, ...walk }: Walk,
): Promise<{ readonly followed: Followed; readonly unclipped: Unclipped }> {
  const { optimizers } = prepared.setup;
  const stepper = createStepper({ rule: NO_CLIPPING, optimizers, precision: walk.precision });
  const measured = tracks.filter(({ isUnclipped }) => !isUnclipped);
  const [norm, gradientNorm, directionMax]: number[][] = [[], [], []];
  let largest = 0;
  const followed = await follow(capture, prepared, {
    ...walk,
    look: (step, tensors, index) => {
      largest = 0;
      useWritten(prepared.setup, index, [stepper, ...measured.map((track) => track.stepper)]);
      let kept: ReturnType<Look['tensor']>;
      const dry = measured.map((track) => track.dryStep(step, tensors));
      const observer: StepObserver = {
        changes: (t) => {
          let known: number | undefined;
          const parameterSquares = (): number => {
            known ??= withSums({ values: tensors[t]!.w }).sums().squares;
            return known;
          };
          return dry.flatMap((one) => one.ahead(t, parameterSquares) ?? []);
        },
        // All rules look at a tensor before the next: what it does without one is kept for that long.
        unclipped: (t, what) => {
          kept = what;
          largest = Math.max(largest, what.sums.largest);
          for (const one of dry) one.tensor(t, what);
        },
      };
      const open = stepper.begin(tensors, step.gradients, step.learningRates, true, observer);
      return {
        tensor(t) {
          kept = undefined;
          open.tensor(t);
          return kept;
        },
        end() {
          const record = open.end();
          norm!.push(record.updateNorm);
          gradientNorm!.push(normOfAll(step.gradients));
          directionMax!.push(largest);
          for (const one of dry) one.end();
          for (const track of tracks) if (track.isUnclipped) track.take(record);
        },
      };
    },
  });
  return { followed, unclipped: { norm: norm!, gradientNorm: gradientNorm!, directionMax: directionMax! } };
}

const normOfAll = (gradients: readonly SummedGradient[]): number =>
  Math.sqrt(gradients.reduce((sum, { sums }) => sum + sums().squares, 0));

/** The same for an optimizer without a formula: rules measure the gradients at the states that were recorded. */
async function walkWithoutFormula(
  capture: Capture,
  prepared: Prepared,
  { tracks, ...walk }: Walk,
): Promise<{ readonly followed: Followed; readonly unclipped: Unclipped }> {
  const gradientNorm: number[] = [];
  const followed = await follow(capture, prepared, {
    ...walk,
    visit: (_index, step, tensors) => {
      for (const track of tracks) {
        const dry = track.dryStep(step, tensors);
        for (const t of tensors.keys()) dry.tensor(t);
        dry.end();
      }
      gradientNorm.push(normOfAll(step.gradients));
    },
  });
  const norm = followed.recorded.map(({ updateNorm }) => updateNorm);
  return { followed, unclipped: { norm, gradientNorm, directionMax: [] } };
}

/** Updates are those that were recorded, and of steps that the rule changes unknown: there nothing is estimated. */
function entryWithoutFormula(
  entry: ReplayEntry,
  { capture, unclipped, incident }: Found,
  optimizer: string,
): ReplayEntry {
  const { keptUpdate: _, cosine: __, directionMax: ___, ...kept } = entry;
  const first = entry.firstChangedStep;
  const changed = (step: number): boolean => first != null && step >= first;
  const acts = incident.onset !== null && first != null && first <= entry.steps[incident.onset]!;
  return {
    ...kept,
    optimizer: {
      name: optimizer,
      learningRate: capture.steps[0]!.learningRates[0]!,
      ...capture.manifest.optimizers[0]!.options,
    },
    updateNorm: entry.steps.map((step, i) => (changed(step) ? Number.NaN : unclipped.norm[i]!)),
    ...(acts
      ? {
          verdict: 'cannot-tell',
          confidence: 'estimate',
          why: `it acts, and no formula is known for the steps of ${optimizer}: a closed loop in your own model can tell (docs/recorders.md)`,
        }
      : {}),
  };
}

/** Takes a track's own steps along the recorded gradients, up to the first state that is not finite. */
async function rollForward(
  capture: Capture,
  prepared: Prepared,
  track: Track,
  precision: Precision,
  progress: (done: number) => void,
): Promise<void> {
  const tensors = copyTensors(prepared.tensors);
  for (let index = 0; index < capture.steps.length; index++) {
    useWritten(prepared.setup, index, [track.stepper]);
    const finite = track.realStep(await capture.step(index, precision), tensors);
    progress(index + 1);
    if (!finite) return;
  }
}

/** What all entries of a replay share. */
interface Found {
  readonly capture: Capture;
  readonly asRecorded: boolean;
  readonly followed: Followed;
  readonly unclipped: Unclipped;
  readonly incident: CaptureIncident;
}

/** One value for each recorded step; NaN after a non-finite state. */
const padded = ({ steps }: Capture, values: readonly number[]): number[] =>
  steps.map((_, i) => (i < values.length ? values[i]! : Number.NaN));

function entryOf(
  track: Track,
  { capture, asRecorded, followed, unclipped, incident: { onset, unknown } }: Found,
  clipping: RuleChoice,
  sweep: ThresholdSweep | undefined,
): ReplayEntry {
  const { stepper, multiplier, engaged } = track;
  const steps = capture.steps.map(({ step }) => step);
  const firstChanged = firstChangedStep(track, followed, clipping);
  const updateNorm = padded(capture, track.updateNorm);
  const judged = judgeEstimate({
    steps,
    onset,
    unknown,
    firstChanged,
    updateNorm,
    unclipped: padded(capture, unclipped.norm),
    learningRateMultiplier: multiplier,
    ...(asRecorded ? { kept: padded(capture, track.kept) } : {}),
    losses: capture.steps.map(({ loss }) => loss ?? Number.NaN),
    missed: followed.missed,
  });
  const firstEngaged = engaged.indexOf(true);
  const before = onset === null ? engaged : engaged.slice(0, onset);
  const share = before.filter(Boolean).length / Math.max(before.length, 1);
  const [optimizer] = stepper.optimizers as [OptimizerChoice];
  return {
    mode: asRecorded ? 'as-recorded' : 'open-loop',
    ...ruleMembers(stepper.rule),
    optimizer: {
      name: optimizer.optimizer.id,
      learningRate: capture.steps[0]!.learningRates[0]!,
      ...optimizer.options,
    },
    learningRateMultiplier: multiplier,
    onsetStep: onset === null ? null : steps[onset]!,
    steps,
    loss: asRecorded ? capture.steps.map(({ loss }) => loss ?? Number.NaN) : null,
    minClipFactor: padded(capture, track.minClipFactor),
    updateNorm,
    ...(asRecorded ? { keptUpdate: padded(capture, track.kept), cosine: padded(capture, track.cosine) } : {}),
    gradientNorm: padded(capture, unclipped.gradientNorm),
    directionMax: padded(capture, unclipped.directionMax),
    firstEngagedStep: firstEngaged < 0 ? null : steps[firstEngaged]!,
    firstChangedStep: firstChanged === null ? null : steps[firstChanged]!,
    engagedFraction: engaged.filter(Boolean).length / Math.max(engaged.length, 1),
    ended: endOf(asRecorded ? followed : { walked: track.updateNorm.length, finite: track.finite() }, steps),
    ...judged,
    bottleneck: track.bottleneck(),
    character: firstEngaged < 0 ? 'idle' : share <= SAFETY_NET ? 'safety-net' : 'step-limiter',
    tensors: track.tensors(onset),
    ...track.ownMembers(),
    ...(sweep === undefined ? {} : { sweep }),
    source: 'computed',
  };
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
