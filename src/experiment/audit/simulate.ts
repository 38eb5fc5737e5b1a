/**
 * The update of one tensor, or of some of its entries, step by step in float64, with the rounding that the training may have
 * added. Optimizers act on each entry alone (LAMB's trust ratio apart), so a sample of entries is enough to try a hypothesis.
 */
import type { StepContext } from '../../step/optimizers/optimizer.ts';
import { decayOf, type OptimizerChoice } from '../../step/optimizers/registry.ts';
import { normRatio, type Values } from '../../step/tensor/values.ts';
import { BLOCK, directions, type Moved, move } from './move-kernel.ts';
import { powerRounding, ulpOf } from './rounding.ts';

/** Some entries of one tensor over the recorded steps. */
export interface Trace {
  readonly name: string;
  /** Position in `manifest.parameters`. */
  readonly tensor: number;
  readonly group: number;
  readonly choice: OptimizerChoice;
  /** Of each step, where a schedule changes them. */
  readonly options: readonly OptimizerChoice['options'][];
  /** Row-major places of the entries in the tensor; null where all are there. */
  readonly entries: Int32Array | null;
  /** Before the first step that is followed. */
  readonly w: Float64Array;
  readonly slots: Readonly<Record<string, Float64Array>>;
  readonly stepsTaken: number;
  /** Units in the last place of the stored type: 2^-23 for float32. */
  readonly unit: number;
  /** PyTorch's momentum of sparse gradients keeps those of all steps side by side and adds them to the weights one after the other. */
  readonly addsInTurn: boolean;
  /** Whether the framework computes βᵗ of a bias correction in float32. PyTorch does it in float64. */
  readonly narrowPowers: boolean;
  /** Position of the step that {@link w} and the state are from before; absent: the first. */
  readonly begins?: number;
  /** Of each step; null where the tensor has no gradient. */
  readonly gradients: (Values | null)[];
  /** Weights before a step, by its position, where they were recorded. */
  readonly snapshots: ReadonlyMap<number, Float64Array>;
}

/** How a step is taken: as declared, or with one change. */
export interface Course {
  /** What multiplies the gradient of a tensor. */
  factor(step: number, tensor: number): number;
  /** Share of a step by which the norm that a clip takes may have been rounded; absent: none. */
  readonly normRounding?: number;
  /** Bound of the entries of the gradient. */
  readonly bound: number;
  rate(step: number, group: number): number;
  decay(step: number, group: number): number;
  /** `gradient` coupled, `parameters` decoupled; absent: that of the optimizer. */
  readonly decayKind?: 'gradient' | 'parameters';
  /** Changes state or weights before a step; its snapshot of the weights is taken after that. */
  before?(step: number, state: TraceState): void;
  /** Rounds the weights that a step leaves. */
  round?(weight: number): number;
  /** The course of the steps before a position, where this one begins there. */
  readonly earlier?: { readonly until: number; readonly course: Course };
}

/** A course that begins at a step: those before it follow another one. */
export const sinceStep = (until: number, course: Course, earlier: Course): Course => ({
  ...course,
  earlier: { until, course: earlier },
});

export interface TraceState {
  readonly trace: Trace;
  readonly w: Float64Array;
  readonly slots: Record<string, Float64Array>;
  stepsTaken: number;
  /** Since the last snapshot, entry by entry: the largest size of the weight, and the sum of what rounding of steps is relative to. */
  readonly largest: Float32Array;
  readonly drift: Float32Array;
  /** Numbers that were added to each weight since then: each rounds it once. */
  additions: number;
  /** Size of the recent steps, which rounding of the state is relative to. */
  readonly size: Float32Array;
}

/** Roundings of float32 that one step may add, relative to its size (docs/audit.md, "Tolerance"). */
export const STEP_ROUNDINGS = 8;
/** How many times the bracket is allowed: plain, fused and foreach optimizers stay within 1.6 times. */
export const BRACKETS = 4;
/** A moment that cancels was larger a few steps ago, and so was its rounding. */
const FORGET = 0.9;

/** @param own whether the trace is used once, so that its weights and state may be written over */
export function beginTrace(trace: Trace, own = false): TraceState {
  const n = trace.w.length;
  const taken = (values: Float64Array): Float64Array => (own ? values : values.slice());
  return {
    trace,
    w: taken(trace.w),
    slots: Object.fromEntries(Object.entries(trace.slots).map(([name, slot]) => [name, taken(slot)])),
    stepsTaken: trace.stepsTaken,
    largest: new Float32Array(n),
    drift: new Float32Array(n),
    additions: 0,
    size: new Float32Array(n),
  };
}

/** Moves a tensor by one step. A tensor without a gradient stays, state included. */
export function takeStep(state: TraceState, step: number, given: Course): void {
  const { trace, w } = state;
  const { earlier } = given;
  const course = earlier !== undefined && step < earlier.until ? earlier.course : given;
  const gradient = trace.gradients[step];
  if (gradient == null) return;
  const { optimizer } = trace.choice;
  const options = trace.options[step] ?? trace.choice.options;
  const rate = course.rate(step, trace.group);
  const decay = course.decay(step, trace.group);
  const kind = course.decayKind ?? decayOf(trace.choice);
  state.stepsTaken++;
  // The errors of βᵗ and of the norm are those of every entry of the step alike.
  const power = trace.narrowPowers ? powerRounding(options, state.stepsTaken) : 0;
  const how: Move = {
    optimizer,
    options,
    context: { learningRate: rate, step: state.stepsTaken },
    factor: course.factor(step, trace.tensor),
    bound: course.bound,
    kind,
    rate,
    decay,
    // In the units of `toleranceOf`, which takes the drift so many times.
    systematic: 1 + (power + (course.normRounding ?? 0)) / (BRACKETS * (STEP_ROUNDINGS / 2) * trace.unit),
  };
  const n = w.length;
  // A trust ratio is one number for the whole tensor.
  const [at, out] = optimizer.hasTrustRatio ? [n, new Float64Array(n)] : [BLOCK, directions()];
  for (let from = 0; from < n; from += at) {
    const to = Math.min(n, from + at);
    moveEntries(entriesOf(state, from, to), gradient.subarray(from, to), out.subarray(0, to - from), how);
  }
  const { round } = course;
  if (round !== undefined) for (let i = 0; i < n; i++) w[i] = round(w[i]!);
  state.additions += trace.addsInTurn ? state.stepsTaken : 1;
}

interface Move extends Pick<OptimizerChoice, 'optimizer' | 'options'> {
  readonly context: StepContext;
  readonly factor: number;
  readonly bound: number;
  readonly kind: 'gradient' | 'direction' | 'parameters';
  readonly rate: number;
  readonly decay: number;
  /** Share of a step that its rounding is relative to. */
  readonly systematic: number;
}

type Moving = Moved & Pick<TraceState, 'slots'>;

/** Some entries in a row, in the same memory. */
const entriesOf = ({ w, slots, size, largest, drift }: Moving, from: number, to: number): Moving => ({
  w: w.subarray(from, to),
  slots: Object.fromEntries(Object.entries(slots).map(([name, slot]) => [name, slot.subarray(from, to)])),
  size: size.subarray(from, to),
  largest: largest.subarray(from, to),
  drift: drift.subarray(from, to),
});

/** Moves the weights and adds up what rounding may add to them. */
function moveEntries(moving: Moving, gradient: Values, out: Float64Array, how: Move): void {
  const { w, slots } = moving;
  const { optimizer, options, context, factor, bound, kind, rate, decay, systematic } = how;
  const n = w.length;
  const coupled = kind === 'gradient' ? decay : 0;
  for (let i = 0; i < n; i++) out[i] = gradient[i]! * factor;
  // NaN stays NaN.
  if (bound < Number.POSITIVE_INFINITY)
    for (let i = 0; i < n; i++) out[i] = out[i]! > bound ? bound : out[i]! < -bound ? -bound : out[i]!;
  if (coupled !== 0) for (let i = 0; i < n; i++) out[i] = out[i]! + coupled * w[i]!;
  optimizer.direction(out, out, slots, options, context);
  if (kind === 'direction') for (let i = 0; i < n; i++) out[i] = out[i]! + decay * w[i]!;
  const step = rate * (optimizer.hasTrustRatio ? normRatio(w, out) : 1);
  const shrink = kind === 'parameters' ? rate * decay : 0;
  move(moving, out, { step, shrink, share: Math.abs(rate * decay), systematic, forget: FORGET });
}

/** How far an entry may be off by rounding alone. */
export const toleranceOf = ({ largest, additions, drift, trace }: TraceState, i: number): number =>
  BRACKETS *
  (Math.sqrt(additions) * ulpOf(largest[i]!, trace.unit) + (STEP_ROUNDINGS / 2) * trace.unit * drift[i]!);

/** Takes over the recorded weights, from which the next stretch begins. */
export function goOnFrom(state: TraceState, snapshot: Values): void {
  state.w.set(snapshot);
  state.largest.fill(0);
  state.additions = 0;
  state.drift.fill(0);
}

/**
 * Walks a trace through its steps, from snapshot to snapshot.
 *
 * @param until position of the last snapshot that is reached; its step is not taken
 * @param reach called at every snapshot after the first state, before the recorded weights are taken over
 * @returns the state at the end, as the course leads to it
 */
export function walkTrace(
  trace: Trace,
  course: Course,
  until: number,
  reach: (step: number, state: TraceState, snapshot: Float64Array) => void = () => {},
): TraceState {
  const state = beginTrace(trace);
  const { begins = 0 } = trace;
  for (let step = begins; step <= until; step++) {
    course.before?.(step, state);
    const snapshot = step === begins ? undefined : trace.snapshots.get(step);
    if (snapshot !== undefined) {
      reach(step, state, snapshot);
      if (step < until) goOnFrom(state, snapshot);
    }
    if (step < until) takeStep(state, step, course);
  }
  return state;
}
