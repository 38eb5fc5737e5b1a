/** The declared chain, entry by entry: recorded gradients, clipped and stepped as declared, against the recorded weights. */
import type { Capture, CapturedStep, RecordedGradient } from '../../read/captures/read.ts';
import type { Values } from '../../step/tensor/values.ts';
import type { RecordedSetup } from '../replay/from-capture.ts';
import { clipFactor, type DeclaredClip, decayAt, optionsOfSteps } from './declared.ts';
import { unitOf } from './rounding.ts';
import {
  beginTrace,
  type Course,
  goOnFrom,
  type Trace,
  type TraceState,
  takeSteps,
  toleranceOf,
} from './simulate.ts';
import type { Survey } from './survey.ts';

/** An entry that is not where the chain leads. */
export interface OffEntry {
  readonly place: number;
  readonly found: number;
  readonly expected: number;
  /** Deviation over tolerance. */
  readonly ratio: number;
}

/** One tensor at one snapshot. */
export interface Comparison {
  /** Position in `manifest.parameters`. */
  readonly tensor: number;
  /** Positions of the snapshot before and of this one. */
  readonly from: number;
  readonly to: number;
  readonly elements: number;
  /** Entries beyond their tolerance, and the worst of them. */
  readonly off: number;
  readonly worst: OffEntry | null;
  /** The worst entries, at most {@link KEPT}. */
  readonly entries: readonly OffEntry[];
  /** Euclidean: of the movement as declared, of the recorded movement, of the tolerance. */
  readonly declared: number;
  readonly moved: number;
  readonly allowed: number;
  /** Entries that did not move at all although the declared step is not 0. */
  readonly still: number;
  readonly meant: number;
}

export interface Chain {
  readonly comparisons: readonly Comparison[];
  /** Traces of the sampled entries, by parameter. */
  readonly traces: readonly Trace[];
  readonly course: Course;
  /** Steps that were followed. */
  readonly steps: number;
}

/** Most entries that are kept of a comparison. */
const KEPT = 32;
/** Entries of tensors that are in memory at a time. */
const AT_ONCE = 2 ** 21;
/** Entries of gradients that are held of them. */
const HELD = 2 ** 25;

/**
 * How far off a training's own norm of its gradients may be. Frameworks add the squares of a tensor in float32, in some rows at a time:
 * each addition rounds a sum that grows. PyTorch’s norm on a CPU is 5e-4 too small for 12.5 million normal numbers, 4e-3 for 50 million.
 */
export const normRounding = (sizes: readonly number[]): number =>
  Math.min(MOST_NORM_ROUNDING, (Math.max(...sizes) * 2 ** -24) / ADDED_IN_ROWS);
const ADDED_IN_ROWS = 512;
const MOST_NORM_ROUNDING = 0.01;

/** The course as declared. */
export function declaredCourse(
  capture: Capture,
  clip: DeclaredClip | null,
  survey: Survey,
  times: (step: number) => number = () => 1,
): Course {
  const { manifest, steps } = capture;
  const { norms } = survey;
  const factor = (step: number, tensor: number): number => {
    if (clip === null) return 1;
    const own = Math.sqrt(survey.gradients[step]![tensor]?.squares ?? 0);
    return clipFactor(clip, clip.scope === 'tensor' ? own : norms[step]!, times(step));
  };
  const clips = survey.gradients.some((tensors, step) => tensors.some((_, k) => factor(step, k) !== 1));
  return {
    factor,
    normRounding: clips ? normRounding(manifest.parameters.map(({ elements }) => elements)) : 0,
    bound: clip?.scope === 'entry' ? clip.limit : Number.POSITIVE_INFINITY,
    rate: (step, group) => steps[step]!.learningRates[group]!,
    decay: (step, group) => decayAt(manifest, steps, step, group),
  };
}

/** Follows all tensors, a few million entries at a time. */
export async function followChain(
  capture: Capture,
  setup: RecordedSetup,
  survey: Survey,
  course: Course,
): Promise<Chain> {
  const { parameters } = capture.manifest;
  const comparisons: Comparison[] = [];
  const traces: Trace[] = [];
  // What is stored in 32 bits or fewer is read as it is, and computed in 64.
  const precision = [...capture.dtypes.values()].includes('F64') ? 'float64' : 'float32';
  const elements = (batch: readonly number[]): number =>
    batch.reduce((sum, k) => sum + parameters[k]!.elements, 0);
  for (const batch of batchesOf(parameters.map((one) => one.elements))) {
    const only = new Set(batch.map((k) => parameters[k]!.name));
    const initial = await capture.initial('float64', only);
    const states = batch.map((k) => {
      const trace = wholeTrace(capture, setup, k, {
        w: initial.parameters[k]! as Float64Array,
        stored: initial.slots[k]! as ReadonlyMap<string, Float64Array>,
        sparse: survey.samples[k]!.sparse,
      });
      traces[k] = sampledTrace(trace, survey, k);
      return beginTrace(trace, true);
    });
    const last = states.map(() => 0);
    const start = states.map(({ w }) => (precision === 'float32' ? Float32Array.from(w) : w.slice()));
    // Some steps at once, while a block of entries is in the processor's cache; their gradients are held.
    const held = new Array<CapturedStep | undefined>(Math.max(1, Math.floor(HELD / elements(batch))));
    let taken = 0;
    const goTo = (index: number): void => {
      for (const state of states) {
        takeSteps(state, taken, index, course);
        state.trace.gradients.fill(null);
      }
      taken = index;
    };
    for (let index = 0; index < survey.steps; index++) {
      if (index - taken === held.length) goTo(index);
      const step = await capture.step(index, precision, held[index % held.length], only);
      held[index % held.length] = step;
      if (step.parameters.size > 0) goTo(index);
      for (const [b, state] of states.entries()) {
        const k = batch[b]!;
        const snapshot = step.parameters.get(state.trace.name);
        if (snapshot !== undefined && index > 0) {
          comparisons.push(compare(state, snapshot, start[b]!, { tensor: k, from: last[b]!, to: index }));
          goOnFrom(state, snapshot);
          start[b]!.set(snapshot);
          last[b] = index;
        }
        state.trace.gradients[index] = denseOf(step.gradients[k]!, state.w.length);
      }
    }
  }
  return { comparisons, traces, course, steps: survey.steps };
}

/** A gradient with a number for every entry; null where the tensor has no gradient. */
function denseOf({ values, rows, absent }: RecordedGradient, elements: number): Values | null {
  if (absent) return null;
  if (rows === undefined) return values;
  const dense = new Float64Array(elements);
  const width = rows.length === 0 ? 0 : values.length / rows.length;
  rows.forEach((row, r) => {
    dense.set(values.subarray(r * width, (r + 1) * width), row * width);
  });
  return dense;
}

function batchesOf(sizes: readonly number[]): number[][] {
  const batches: number[][] = [];
  let held = Number.POSITIVE_INFINITY;
  for (const [k, size] of sizes.entries()) {
    if (held + size > AT_ONCE) {
      batches.push([]);
      held = 0;
    }
    batches.at(-1)!.push(k);
    held += size;
  }
  return batches;
}

function wholeTrace(
  { manifest, dtypes, steps }: Capture,
  { optimizers }: RecordedSetup,
  k: number,
  {
    w,
    stored,
    sparse,
  }: {
    readonly w: Float64Array;
    readonly stored: ReadonlyMap<string, Float64Array>;
    readonly sparse: boolean;
  },
): Trace {
  const { name, group } = manifest.parameters[k]!;
  const choice = optimizers[group]!;
  const slots = Object.fromEntries(
    choice.optimizer
      .slots(choice.options)
      .map(({ name: slot, initial }) => [slot, stored.get(slot) ?? new Float64Array(w.length).fill(initial)]),
  );
  const begins = stored.size === 0 && (manifest.steps[0]!.step <= 1 || Object.keys(slots).length > 0);
  return {
    name,
    tensor: k,
    group,
    choice,
    options: optionsOfSteps(choice, steps, group),
    entries: null,
    w,
    slots,
    stepsTaken: stored.get('step')?.[0] ?? (begins ? 0 : manifest.steps[0]!.step),
    unit: unitOf(dtypes.get(name)),
    addsInTurn: sparse && slots.momentum !== undefined && manifest.framework.startsWith('pytorch'),
    narrowPowers: !manifest.framework.startsWith('pytorch'),
    gradients: [],
    snapshots: new Map(),
  };
}

function sampledTrace(whole: Trace, { samples }: Survey, k: number): Trace {
  const { entries, gradients, snapshots } = samples[k]!;
  const some = (values: Float64Array): Float64Array => Float64Array.from(entries, (i) => values[i]!);
  return {
    ...whole,
    entries,
    w: some(whole.w),
    slots: Object.fromEntries(Object.entries(whole.slots).map(([name, slot]) => [name, some(slot)])),
    gradients,
    snapshots,
  };
}

/** Deviation over tolerance. Where both are not finite they agree; where one is, they do not. */
export function ratioOf(found: number, expected: number, tolerance: number): number {
  if (found === expected) return 0;
  const off = Math.abs(found - expected);
  if (Number.isFinite(off)) return off / tolerance;
  return Number.isFinite(found) || Number.isFinite(expected) ? Number.POSITIVE_INFINITY : 0;
}

function compare(
  state: TraceState,
  snapshot: Values,
  start: Values,
  at: Pick<Comparison, 'tensor' | 'from' | 'to'>,
): Comparison {
  const { w } = state;
  const entries: OffEntry[] = [];
  const sums = { declared: 0, moved: 0, allowed: 0 };
  let off = 0;
  let still = 0;
  let meant = 0;
  let worst: OffEntry | null = null;
  for (let i = 0; i < w.length; i++) {
    const expected = w[i]!;
    const found = snapshot[i]!;
    const old = start[i]!;
    const tolerance = toleranceOf(state, i);
    const ratio = ratioOf(found, expected, tolerance);
    sums.declared += (expected - old) ** 2;
    sums.moved += (found - old) ** 2;
    sums.allowed += tolerance ** 2;
    if (expected !== old) {
      meant++;
      if (found === old) still++;
    }
    if (worst === null || ratio > worst.ratio) worst = { place: i, found, expected, ratio };
    if (!(ratio > 1)) continue;
    off++;
    if (entries.length < KEPT) entries.push({ place: i, found, expected, ratio });
  }
  return {
    ...at,
    elements: w.length,
    off,
    worst,
    entries,
    declared: Math.sqrt(sums.declared),
    moved: Math.sqrt(sums.moved),
    allowed: Math.sqrt(sums.allowed),
    still,
    meant,
  };
}
