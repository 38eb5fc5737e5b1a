/**
 * Closed loop: each rule trains on through the recorded batches, with gradients computed anew at its own parameters. The
 * only true counterfactual; the run under the clipping that was recorded is the baseline, and has to follow the record.
 */

import { join } from 'node:path';
import type { Batch, Objective } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective } from '../../differentiate/autodiff/open-objective.ts';
import { diagError, located } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { BaselineCheck, ReplayEntry } from '../../model/replay.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';
import { HEAP_START, type Heap, heapsOn } from '../../step/kernels/heap.ts';
import { newMemory } from '../../step/kernels/wasm-assembler.ts';
import type { OptimizerChoice } from '../../step/optimizers/registry.ts';
import { type RuleChoice, ruleMembers } from '../../step/rules/choice.ts';
import type { RuleState } from '../../step/rules/rule.ts';
import { withoutRows } from '../../step/tensor/batch-rows.ts';
import { incidentOfCapture } from './capture-incident.ts';
import type { Prepared } from './follow.ts';
import { learningRateNote, prepareReplay } from './from-capture.ts';
import type { Ended } from './outcome.ts';
import { lookAtReferences, type References } from './reference.ts';
import { notShown, whyNotShown } from './shown-incident.ts';
import { createStepper, type Stepper, type StepRecord } from './step.ts';
import { copyTensors, type TensorState } from './tensors.ts';
import { type Judgement, judgeByReference, judgeClosedLoop } from './verdict.ts';
import { optimizersAt } from './written-options.ts';

/** Everything of a run so far that is not in the capture. */
export interface ClosedLoopTrace {
  readonly loss: number[];
  /** One array for each task. */
  readonly taskLoss: number[][];
  readonly minClipFactor: number[];
  readonly updateNorm: number[];
  /** Steps at which the rule acted. */
  readonly engaged: boolean[];
  /** Mean loss on the reference batches at the parameters before each step; empty without such batches. */
  readonly referenceLoss: number[];
  bottleneck: ReplayEntry['bottleneck'];
  ended: { reason: 'completed' | 'non-finite'; step: number } | null;
}

/** A run that was interrupted between two steps. */
export interface PartialRun {
  readonly run: number;
  readonly trace: ClosedLoopTrace;
  readonly tensors: readonly Pick<TensorState, 'w' | 'slots' | 'stepsTaken'>[];
  readonly ruleStates: readonly (RuleState | null)[];
}

export interface ClosedLoopState {
  /** Runs that are done, in order. */
  readonly finished: readonly ClosedLoopTrace[];
  readonly partial: PartialRun | null;
}

export interface TrainingOptions {
  readonly capture: Capture;
  readonly model: MatchedObjective;
  /** Batch of a recorded step by its position. */
  batch(index: number): Promise<Batch>;
  /** At most so many of the recorded steps. */
  readonly steps?: number;
  /** State of an interrupted replay, to go on from. */
  readonly resume?: ClosedLoopState;
  /** Called between steps; writing the state at most every interval bounds what an interruption loses. */
  checkpoint?(state: () => ClosedLoopState): Promise<void>;
  progress?(done: number, total: number): void;
  /** Batches that every run's parameters are judged on besides; default none. */
  readonly reference?: readonly Batch[];
  /** Position of the incident's first loss, where a log knows it; default by the capture's own losses. */
  readonly onset?: number;
  /** Gradients of the recorded run that were not those of its loss: every training has them, but one that sets them back. */
  readonly multiplied?: MultipliedGradients;
}

/** From a step on something multiplied the gradients between the loss and the step. */
export interface MultipliedGradients {
  readonly from: number;
  readonly factor: number;
}

/** One way to train on from the capture's initial state. */
export interface TrainingRun {
  readonly rule: RuleChoice;
  /** Times every recorded learning rate. */
  readonly multiplier: number;
  /** Which recorded batch each step takes, by position; left out, its own. */
  readonly order?: readonly number[];
  readonly arm?: TrainingArm;
}

/** The one thing that a run changes besides its rule, by positions of steps. */
export interface TrainingArm {
  /** Positions of the batches on which no step is taken. */
  readonly skip?: ReadonlySet<number>;
  /** Rows that are left out, by the position of their batch. */
  readonly without?: ReadonlyMap<number, readonly number[]>;
  /** What multiplies the recorded learning rates of a step; default 1. */
  rate?(index: number): number;
  /** What multiplies the weight decay of every group from step `from` on. */
  readonly decay?: { readonly from: number; readonly factor: number };
  /** The optimizer's state before step `from` is put back before step `at`. */
  readonly restore?: { readonly from: number; readonly at: number };
  /** From step `from` on the options of the groups are those of before it, and their rates what `rates` makes of the recorded ones. */
  readonly settings?: {
    readonly from: number;
    rates(recorded: readonly number[]): readonly number[];
  };
}

export interface ClosedLoopOptions extends TrainingOptions {
  readonly rules: readonly RuleChoice[];
  /** Each rule runs at each of these times every learning rate; the baseline keeps the recorded ones. Default [1]. */
  readonly learningRateMultipliers?: readonly number[];
  /** Those of the capture, where they were chosen before; null where there are none. */
  readonly references?: References | null;
  /** Other trainings from the same state, which show what a healthy one is. */
  readonly others?: readonly Ended[];
}

export interface ClosedLoopResult {
  readonly entries: readonly ReplayEntry[];
  readonly baseline: BaselineCheck;
  readonly notes: readonly string[];
}

/** Recorded losses that have to be met, those up to the incident, and how closely. Later float32 trajectories are chaotic. */
const CHECKED_STEPS = 5;
const CHECKED_TOLERANCE = 1e-4;
/** Times the first loss up to which the tolerance grows with the loss: to 1 %. */
const MOST_GROWN = 100;

/** Largest relative difference of a gradient that is computed twice which counts as rounding. */
const REPEATABLE = 1e-5;

type Gradient = Awaited<ReturnType<Objective['gradient']>>;

/** A model that draws random numbers trains each rule on another loss. @throws closed-loop-not-repeatable */
function checkRepeated(first: Gradient, second: Gradient, path: string): void {
  if (!Number.isFinite(first.loss) && !Number.isFinite(second.loss)) return;
  let [size, difference] = [first.loss ** 2, (first.loss - second.loss) ** 2];
  for (const [i, g] of first.gradient.entries()) {
    size += g ** 2;
    difference += (g - second.gradient[i]!) ** 2;
  }
  const relative = size === 0 ? 0 : Math.sqrt(difference / size);
  // Infinite entries say nothing here; the training itself ends at them.
  if (relative > REPEATABLE || Number.isFinite(first.loss) !== Number.isFinite(second.loss))
    throw diagError('closed-loop-not-repeatable', { difference: relative }, { path });
}

/** What was trained: the baseline, which is the recorded clipping, and each of the runs. */
export interface Training {
  /** The recorded steps that were taken. */
  readonly steps: Capture['steps'];
  readonly baseline: ClosedLoopTrace;
  readonly check: BaselineCheck;
  /** In the order of the runs. */
  readonly traces: readonly ClosedLoopTrace[];
  /** The optimizer under a rule, whose options may replace some of the recorded ones. */
  optimizerOf(rule: RuleChoice): ReplayEntry['optimizer'];
  readonly notes: string[];
}

/**
 * Trains the baseline and every run from the capture's initial state.
 *
 * @throws whatever capture, model and batches throw; a non-finite loss ends that run and is a result
 */
export async function trainRuns(
  { capture, model, ...options }: TrainingOptions,
  wanted: readonly TrainingRun[],
): Promise<Training> {
  const count = Math.min(options.steps ?? capture.steps.length, capture.steps.length);
  const steps = capture.steps.slice(0, count);
  const { setup, tensors: initial, notes } = await prepareReplay(capture, 'float32');
  notes.push(...learningRateNote({ steps }));
  const runs: readonly TrainingRun[] = [{ rule: setup.clipping, multiplier: 1 }, ...wanted];
  const stepperOf = (rule: RuleChoice, learningRateMultiplier: number, heap?: Heap) =>
    createStepper({ rule, optimizers: setup.optimizers, precision: 'float32', learningRateMultiplier, heap });
  const loop: Loop = {
    options: { capture, model, ...options },
    steps,
    initial,
    frozen: await frozenTensors(capture, initial, count),
    stepperOf,
    newHeap: heapsFor(initial),
    setup,
    finished: [...(options.resume?.finished ?? [])],
    total: runs.length * count,
  };
  const { finished } = loop;
  for (let run = finished.length; run < runs.length; run++) {
    const same = runs.findIndex((other, i) => i < run && isSameRun(other, runs[run]!));
    finished.push(same >= 0 ? finished[same]! : await trainRun(loop, run, runs[run]!));
  }

  const [baseline, ...traces] = finished as [ClosedLoopTrace, ...ClosedLoopTrace[]];
  const check = checkBaseline(
    baseline.loss,
    steps.map((step) => step.loss),
    steps.map((step) => step.step),
    options.onset ?? incidentOfCapture(capture).onset ?? undefined,
  );
  if (check.departsAt !== null && check.follows)
    notes.push(
      `the computed run and the recorded one are within ${CHECKED_TOLERANCE} at first and differ by more than 1 % from step ${check.departsAt} on: trajectories of float32 training are chaotic after an incident`,
    );
  return {
    steps,
    baseline,
    check,
    traces,
    optimizerOf: (rule) => {
      const [used] = stepperOf(rule, 1).optimizers;
      return { name: used!.optimizer.id, learningRate: steps[0]!.learningRates[0]!, ...used!.options };
    },
    notes,
  };
}

/**
 * Runs the baseline and every rule, and judges each rule.
 *
 * @throws as {@link trainRuns}
 */
export async function replayClosedLoop(options: ClosedLoopOptions): Promise<ClosedLoopResult> {
  const { capture, model, rules, learningRateMultipliers = [1] } = options;
  const runs = rules.flatMap((rule) => learningRateMultipliers.map((multiplier) => ({ rule, multiplier })));
  const onset = options.onset ?? incidentOfCapture(capture).onset;
  const count = options.steps ?? capture.steps.length;
  const references =
    options.references !== undefined
      ? options.references
      : onset === null || onset >= count
        ? null
        : await lookAtReferences({
            capture: { ...capture, steps: capture.steps.slice(0, count) },
            model,
            prepared: await prepareReplay(capture, 'float32'),
            onset,
            batch: options.batch,
          });
  const { steps, baseline, check, traces, optimizerOf, notes } = await trainRuns(
    { ...options, ...(references === null ? {} : { reference: references.batches }) },
    runs,
  );
  const history = lossesBefore(capture);
  const numbers = steps.map((step) => step.step);
  const { tasks } = model.objective;
  const unshown =
    onset === null || onset >= count
      ? null
      : whyNotShown(
          baseline.loss,
          steps.map(({ loss }) => loss),
          onset,
          numbers,
          history,
        );
  const others = [...(options.others ?? []), ...traces];
  const beyond = incidentBeyond(capture, steps.length) ?? (unshown === null ? null : notShown(unshown));
  const entries = runs.map(({ rule, multiplier }, r): ReplayEntry => {
    const trace = traces[r]!;
    const judged =
      beyond ??
      (references === null || onset === null
        ? judgeClosedLoop(trace.loss, baseline.loss, numbers, history)
        : judgeByReference({ trace, baseline, references, onset, steps: numbers, history, others }));
    const first = trace.engaged.indexOf(true);
    return {
      mode: 'closed-loop',
      ...ruleMembers(rule),
      optimizer: optimizerOf(rule),
      steps: numbers,
      loss: trace.loss,
      ...(trace.referenceLoss.length === 0 ? {} : { referenceLoss: trace.referenceLoss }),
      taskLoss: Object.fromEntries(tasks.map((task, t) => [task, trace.taskLoss[t]!])),
      minClipFactor: trace.minClipFactor,
      updateNorm: trace.updateNorm,
      firstEngagedStep: first < 0 ? null : numbers[first]!,
      engagedFraction: trace.engaged.filter(Boolean).length / numbers.length,
      ended: trace.ended!,
      ...(multiplier === 1 ? {} : { learningRateMultiplier: multiplier }),
      ...(check.follows ? judged : { verdict: 'cannot-tell', confidence: 'exact', why: check.why }),
      ...(check.follows && tasks.length > 1
        ? {
            tasks: tasks.map((name, t) => {
              const { verdict, why } =
                beyond ?? judgeClosedLoop(trace.taskLoss[t]!, baseline.taskLoss[t]!, numbers);
              return { name, verdict, why };
            }),
          }
        : {}),
      bottleneck: trace.bottleneck,
      source: 'computed',
    };
  });
  return { entries, baseline: check, notes };
}

/** No verdict where the replay ends before what was recorded goes wrong. */
function incidentBeyond(capture: Capture, count: number): Judgement | null {
  if (count === capture.steps.length) return null;
  const { onset } = incidentOfCapture(capture);
  if (onset === null || onset < count) return null;
  return {
    verdict: 'cannot-tell',
    confidence: 'exact',
    why: `the replay ends at step ${capture.steps[count - 1]!.step}, before the incident that was recorded at step ${capture.steps[onset]!.step}`,
  };
}

/** The tensors that were frozen at a step: the record has a gradient of others there, and none of these. */
async function frozenTensors(
  capture: Capture,
  tensors: readonly TensorState[],
  count: number,
): Promise<(ReadonlySet<number> | null)[]> {
  const found: (ReadonlySet<number> | null)[] = [];
  for (let i = 0; i < count; i++) {
    const trained = (await capture.trained?.(i)) ?? null;
    const none = tensors.flatMap(({ name }, t) => (trained?.has(name) === false ? [t] : []));
    found.push(none.length > 0 && none.length < tensors.length ? new Set(none) : null);
  }
  return found;
}

/** What all runs share. */
interface Loop {
  readonly options: TrainingOptions;
  readonly steps: Capture['steps'];
  readonly initial: readonly TensorState[];
  /** Of each step the tensors that took no part in it; none where all did. */
  readonly frozen: readonly (ReadonlySet<number> | null)[];
  stepperOf(rule: RuleChoice, learningRateMultiplier: number, heap?: Heap): Stepper;
  /** Memory that small tensors step in; each run takes it from the one before. */
  newHeap(): Heap | undefined;
  readonly setup: Prepared['setup'];
  readonly finished: ClosedLoopTrace[];
  /** Steps of all runs. */
  readonly total: number;
}

/** One run on its way. */
interface Going {
  stepper: Stepper;
  readonly trace: ClosedLoopTrace;
  readonly tensors: readonly TensorState[];
  readonly gradients: readonly { readonly values: Float32Array }[];
  /** The gradient as the objective returns it. */
  readonly flatGradient: Float32Array;
  /** The state that an arm puts back later. */
  kept: readonly TensorState[] | null;
}

const isSameRun = (one: TrainingRun, other: TrainingRun): boolean =>
  one.rule.label === other.rule.label &&
  one.multiplier === other.multiplier &&
  one.order === other.order &&
  one.arm === other.arm;

/** Trains a run from the initial state, or from where it was interrupted. */
async function trainRun(loop: Loop, run: number, wanted: TrainingRun): Promise<ClosedLoopTrace> {
  const { options, steps, finished, total } = loop;
  const going = beginRun(loop, run, wanted);
  const { trace, tensors } = going;
  const resumedAt = trace.loss.length;
  for (let i = resumedAt; i < steps.length; i++) {
    if (trace.ended !== null) {
      appendLost(trace, (options.reference ?? []).length > 0);
      continue;
    }
    changeBefore(loop, going, wanted, i, i === resumedAt);
    const moved = await trainStep(loop, going, wanted, i, run === 0);
    options.progress?.(run * steps.length + i + 1, total);
    if (moved)
      await options.checkpoint?.(() => ({
        finished,
        partial: { run, trace, tensors, ruleStates: going.stepper.ruleStates },
      }));
  }
  trace.ended ??= { reason: 'completed', step: steps.at(-1)!.step };
  return trace;
}

function beginRun({ options, initial, stepperOf, newHeap }: Loop, run: number, wanted: TrainingRun): Going {
  const heap = newHeap();
  const stepper = stepperOf(wanted.rule, wanted.multiplier, heap);
  const tensors = copyTensors(initial, heap);
  const gradients = tensors.map(({ w: { length } }) => ({
    values: heap?.allocate(length) ?? new Float32Array(length),
  }));
  const { size, tasks } = options.model.objective;
  const going = { stepper, tensors, gradients, flatGradient: new Float32Array(size), kept: null };
  const partial = options.resume?.partial;
  if (partial?.run !== run) return { ...going, trace: emptyTrace(tasks.length) };
  stepper.ruleStates = partial.ruleStates;
  for (const [t, saved] of partial.tensors.entries()) {
    tensors[t]!.w.set(saved.w);
    for (const [slot, values] of Object.entries(saved.slots)) tensors[t]!.slots[slot]!.set(values);
    tensors[t]!.stepsTaken = saved.stepsTaken;
  }
  return { ...going, trace: partial.trace };
}

/** Entries of all tensors up to which their steps run in one memory: of larger ones a kernel makes the whole step. */
const MOST_ON_HEAP = 65_536;
/** Buffers of the largest tensor that a step takes at most. */
const STEP_BUFFERS = 8;

/** Memory for the parameters, gradients and state of a run, and the buffers of its steps; undefined where there are too many. */
function heapsFor(tensors: readonly TensorState[]): () => Heap | undefined {
  const sizes = tensors.map(({ w }) => w.length);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  if (all > MOST_ON_HEAP) return () => undefined;
  const kept = tensors.reduce(
    (sum, { w, slots }) => sum + (w.length + 3) * (2 + Object.keys(slots).length),
    0,
  );
  const entries = HEAP_START + kept + STEP_BUFFERS * (Math.max(...sizes) + 3);
  return heapsOn(newMemory(4 * entries), HEAP_START);
}

/** What was written into the optimizer before a step, and what the arm of a run changes there. */
function changeBefore({ setup }: Loop, going: Going, wanted: TrainingRun, i: number, resumed: boolean): void {
  const { arm } = wanted;
  const { decay, settings } = arm ?? {};
  if (resumed || decay?.from === i || settings?.from === i || setup.written.has(i)) {
    const factor = decay !== undefined && i >= decay.from ? decay.factor : 1;
    const at = settings !== undefined && i >= settings.from ? settings.from - 1 : i;
    going.stepper.use(optimizersAt(setup, at).map((choice) => timesDecay(choice, factor)));
  }
  if (arm?.restore?.from === i) going.kept = copyTensors(going.tensors);
  if (arm?.restore?.at === i && going.kept !== null) putStateBack(going.tensors, going.kept);
}

/**
 * Takes a step, or leaves it out where the arm of the run does.
 *
 * @param first whether it is of the baseline, which checks what the others take as well
 * @returns whether it was taken
 */
async function trainStep(
  { options, steps, frozen }: Loop,
  { stepper, trace, tensors, gradients, flatGradient }: Going,
  { order, arm }: TrainingRun,
  i: number,
  first: boolean,
): Promise<boolean> {
  const { capture, model, reference = [] } = options;
  const step = steps[i]!;
  const index = order?.[i] ?? i;
  const batches = [await takenBatch(options, index, arm)];
  if (first) await located({ path: join(capture.path, step.file) }, () => model.objective.check(batches));
  const flat = model.flatten(tensors.map(({ w }) => w));
  if (reference.length > 0) trace.referenceLoss.push((await model.objective.loss(flat, reference)).loss);
  if (arm?.skip?.has(index)) {
    const { loss, taskLosses } = await model.objective.loss(flat, batches);
    appendSkipped(trace, loss, taskLosses);
    return false;
  }
  const result = await model.objective.gradient(flat, batches, undefined, flatGradient);
  if (first && i === 0) checkRepeated(result, await model.objective.gradient(flat, batches), capture.path);
  const { loss, taskLosses, gradient } = result;
  model.unflatten(
    gradient,
    gradients.map(({ values }) => values),
  );
  const { multiplied } = options;
  if (multiplied !== undefined && i >= multiplied.from && arm?.settings?.from !== multiplied.from)
    for (const { values } of gradients) for (const k of values.keys()) values[k]! *= multiplied.factor;
  const out = frozen[i] ?? null;
  const taken =
    out === null
      ? gradients
      : gradients.map((one, t) => (out.has(t) ? ({ ...one, absent: true } as const) : one));
  const record = stepper.step(tensors, taken, ratesOf(step.learningRates, arm, i), false, undefined, loss);
  appendStep(trace, record, loss, taskLosses, tensors);
  if (!record.finite || !Number.isFinite(loss)) trace.ended = { reason: 'non-finite', step: step.step };
  return true;
}

/** The learning rate of each group at a step, as an arm has it. */
function ratesOf(recorded: readonly number[], arm: TrainingArm | undefined, i: number): readonly number[] {
  const { settings } = arm ?? {};
  const own = settings !== undefined && i >= settings.from ? settings.rates(recorded) : recorded;
  const times = arm?.rate?.(i) ?? 1;
  return times === 1 ? own : own.map((rate) => rate * times);
}

function appendStep(
  trace: ClosedLoopTrace,
  record: StepRecord,
  loss: number,
  taskLosses: readonly number[],
  tensors: readonly TensorState[],
): void {
  trace.loss.push(loss);
  for (const [t, value] of taskLosses.entries()) trace.taskLoss[t]!.push(value);
  trace.minClipFactor.push(record.minFactor);
  trace.updateNorm.push(record.updateNorm);
  trace.engaged.push(record.engaged);
  const { tensor, factor } = record.bottleneck;
  if (record.engaged && !(factor >= (trace.bottleneck?.factor ?? Number.POSITIVE_INFINITY)))
    trace.bottleneck = { ...record.bottleneck, tensor: tensors[tensor]!.name };
}

const emptyTrace = (tasks: number): ClosedLoopTrace => ({
  loss: [],
  taskLoss: Array.from({ length: tasks }, () => []),
  minClipFactor: [],
  updateNorm: [],
  engaged: [],
  referenceLoss: [],
  bottleneck: null,
  ended: null,
});

/** The same optimizer with its weight decay multiplied. */
const timesDecay = (choice: OptimizerChoice, factor: number): OptimizerChoice =>
  factor === 1
    ? choice
    : { ...choice, options: { ...choice.options, weightDecay: factor * choice.options.weightDecay } };

/** A step that is left out: its loss is known, and nothing moves. */
function appendSkipped(trace: ClosedLoopTrace, loss: number, taskLosses: readonly number[]): void {
  trace.loss.push(loss);
  for (const [t, value] of taskLosses.entries()) trace.taskLoss[t]!.push(value);
  trace.minClipFactor.push(1);
  trace.updateNorm.push(0);
  trace.engaged.push(false);
}

/** The optimizer's state as it was; parameters and the count of steps stay. */
function putStateBack(tensors: readonly TensorState[], kept: readonly TensorState[]): void {
  for (const [t, { slots }] of kept.entries())
    for (const [name, values] of Object.entries(slots)) tensors[t]!.slots[name]!.set(values);
}

/** The batch of a position as an arm takes it. */
async function takenBatch(
  { batch }: Pick<TrainingOptions, 'batch'>,
  index: number,
  arm: TrainingArm | undefined,
): Promise<Batch> {
  const rows = arm?.without?.get(index) ?? [];
  return rows.length === 0 ? batch(index) : withoutRows(await batch(index), rows);
}

/** A step after the state was lost. */
function appendLost(trace: ClosedLoopTrace, judged: boolean): void {
  if (judged) trace.referenceLoss.push(Number.NaN);
  trace.loss.push(Number.NaN);
  for (const losses of trace.taskLoss) losses.push(Number.NaN);
  trace.minClipFactor.push(Number.NaN);
  trace.updateNorm.push(Number.NaN);
  trace.engaged.push(false);
}

/**
 * Holds the computed losses of the recorded clipping against the recorded ones.
 *
 * @param onset position of the incident's first loss, the last that is checked (after at least one step): later rounding grows with every step
 */
export function checkBaseline(
  computed: readonly number[],
  recorded: readonly (number | null)[],
  steps: readonly number[],
  onset = CHECKED_STEPS,
): BaselineCheck {
  let firstSteps = 0;
  let worstAt = 0;
  let departsAt: number | null = null;
  let compared = 0;
  let first = Number.NaN;
  for (const [i, loss] of computed.entries()) {
    const expected = recorded[i] ?? null;
    if (expected === null) continue;
    const difference =
      Object.is(loss, expected) || (Number.isNaN(loss) && Number.isNaN(expected))
        ? 0
        : Math.abs(loss - expected) / Math.max(Math.abs(expected), 1e-12);
    if (i < CHECKED_STEPS && i <= Math.max(1, onset)) {
      compared++;
      if (Number.isNaN(first)) first = Math.abs(expected);
      // Where a loss explodes its rounding does too.
      const times = Math.abs(expected) / first;
      const grown = times > 1 ? Math.min(MOST_GROWN, times) : 1;
      if (!(difference / grown <= firstSteps)) {
        firstSteps = difference / grown;
        worstAt = i;
      }
    }
    if (departsAt === null && !(difference <= 0.01)) departsAt = steps[i]!;
  }
  const follows = compared > 0 && firstSteps <= CHECKED_TOLERANCE;
  const why =
    compared === 0
      ? 'the capture has no losses to compare the computed run with'
      : follows
        ? `the run under the recorded clipping follows the recorded losses to ${formatNumber(firstSteps, 'rough')} over the first ${compared} steps`
        : `the run under the recorded clipping gives the loss ${computed[worstAt]} at step ${steps[worstAt]} where ${recorded[worstAt]} was recorded: the model, the batches or the optimizer are not those of the run`;
  return { follows, firstSteps, departsAt, why };
}
