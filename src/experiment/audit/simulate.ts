/**
 * The update of one tensor, or of some of its entries, step by step in float64, with the rounding that the training may have
 * added. Optimizers act on each entry alone (LAMB's trust ratio apart), so a sample of entries is enough to try a hypothesis.
 */
import type { StepContext } from '../../step/optimizers/optimizer.ts';
import { decayOf, type OptimizerChoice } from '../../step/optimizers/registry.ts';
import { normRatio, type Values } from '../../step/tensor/values.ts';
import { AS_GIVEN, type MoveNumbers, move, type Step, type WideDirection } from './move-kernel.ts';
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

/** Moves a tensor by the steps from a position to before another one. In a step without a gradient it stays, state included. */
export function takeSteps(state: TraceState, from: number, to: number, course: Course): void {
  const steps = Array.from({ length: to - from }, (_, k) => nextOf(state, from + k, course)).filter(
    (step) => step !== null,
  );
  const { slots } = state;
  const moves = steps.map(({ gradient, numbers, optimizer, options, context }) => {
    const kernel = optimizer.hasTrustRatio ? undefined : optimizer.kernel?.(slots, options, context);
    return kernel && { gradient, numbers, direction: kernel as unknown as WideDirection };
  });
  const none = steps.every(({ round }) => round === undefined);
  if (none && moves.every((step) => step !== undefined)) move(state, moves);
  else for (const [k, step] of steps.entries()) takeAlone(state, step, moves[k]);
}

type Next = Pick<Step, 'gradient' | 'numbers'> &
  Pick<OptimizerChoice, 'optimizer' | 'options'> & {
    readonly context: StepContext;
    readonly round: Course['round'] | undefined;
  };

/** A step of a trace, which is counted; null without a gradient. */
function nextOf(state: TraceState, step: number, given: Course): Next | null {
  const { trace } = state;
  const { earlier } = given;
  const course = earlier !== undefined && step < earlier.until ? earlier.course : given;
  const gradient = trace.gradients[step];
  if (gradient == null) return null;
  const { optimizer } = trace.choice;
  const options = trace.options[step] ?? trace.choice.options;
  const rate = course.rate(step, trace.group);
  const decay = course.decay(step, trace.group);
  const kind = course.decayKind ?? decayOf(trace.choice);
  state.stepsTaken++;
  state.additions += trace.addsInTurn ? state.stepsTaken : 1;
  // The errors of βᵗ and of the norm are those of every entry of the step alike.
  const power = trace.narrowPowers ? powerRounding(options, state.stepsTaken) : 0;
  const factor = course.factor(step, trace.tensor);
  const numbers: MoveNumbers = {
    ...{ factor, bound: course.bound, coupled: kind === 'gradient' ? decay : 0 },
    ...{ added: kind === 'direction' ? decay : 0, shrink: kind === 'parameters' ? rate * decay : 0 },
    ...{ step: rate, share: Math.abs(rate * decay), forget: FORGET },
    // In the units of `toleranceOf`, which takes the drift so many times.
    systematic: 1 + (power + (course.normRounding ?? 0)) / (BRACKETS * (STEP_ROUNDINGS / 2) * trace.unit),
  };
  const context = { learningRate: rate, step: state.stepsTaken };
  return { gradient, numbers, optimizer, options, context, round: course.round };
}

/** @param one by a kernel; absent where none has it */
function takeAlone(state: TraceState, next: Next, one: Step | undefined): void {
  const { w } = state;
  const { round } = next;
  if (one !== undefined) move(state, [one]);
  else {
    const gradient = directionOf(state, next);
    // A trust ratio is one number for the whole tensor.
    const step = next.numbers.step * (next.optimizer.hasTrustRatio ? normRatio(w, gradient) : 1);
    move(state, [{ gradient, direction: AS_GIVEN, numbers: { ...next.numbers, ...ALONE, step } }]);
  }
  if (round !== undefined) for (let i = 0; i < w.length; i++) w[i] = round(w[i]!);
}

/** For a direction that is given: the gradient passes unchanged. */
const ALONE = { factor: 1, bound: Number.POSITIVE_INFINITY, coupled: 0, added: 0 } as const;

/** Of an optimizer that no kernel has. */
function directionOf(
  { w, slots }: TraceState,
  { gradient, numbers: { factor, bound, coupled, added }, optimizer, options, context }: Next,
): Float64Array {
  const out = Float64Array.from(gradient, (g, i) => {
    const x = g * factor;
    // NaN stays NaN.
    const within = x > bound ? bound : x < -bound ? -bound : x;
    return coupled === 0 ? within : within + coupled * w[i]!;
  });
  optimizer.direction(out, out, slots, options, context);
  if (added !== 0) for (let i = 0; i < w.length; i++) out[i] = out[i]! + added * w[i]!;
  return out;
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
    if (step < until) takeSteps(state, step, step + 1, course);
  }
  return state;
}
