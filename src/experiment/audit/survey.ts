/** Reads the recorded gradients once: their norms and extremes, and the sample of entries that hypotheses are tried on. */
import type { Capture, CapturedStep, RecordedGradient } from '../../read/captures/read.ts';

/** What is kept of the gradient of one tensor at one step. */
export interface GradientSummary {
  readonly squares: number;
  readonly largest: number;
  /** The largest of the other entries, and the place of the largest. */
  readonly second: number;
  readonly place: number;
  /** Entries that are NaN or infinite. */
  readonly nonFinite: number;
}

/** Entries of one tensor that are looked at step by step. */
export interface Sample {
  readonly entries: Int32Array;
  /** Of each step; null where the tensor has no gradient. */
  readonly gradients: (Float64Array | null)[];
  /** Whether its gradients are rows of an embedding. */
  sparse: boolean;
  /** Weights before a step, by its position. */
  readonly snapshots: Map<number, Float64Array>;
}

export interface Survey {
  /** By step, then by parameter; null where a parameter has no gradient. */
  readonly gradients: readonly (readonly (GradientSummary | null)[])[];
  /** Norm of all gradients together at each step, those of parameters outside of every group too: clips take what the model has. */
  readonly norms: readonly number[];
  /** Whether some parameter outside of every group has a gradient. */
  readonly hasOutside: boolean;
  /** By parameter. */
  readonly samples: readonly Sample[];
  /** Steps whose gradients are recorded: the chain is followed as far as these go without a gap. */
  readonly steps: number;
}

/** Entries of all samples together: enough to try a hypothesis, and little memory over a hundred steps. */
const SAMPLED = 40_000;
const LEAST = 128;

/** Places that are drawn once for each size, so that tensors of one shape have the same. */
export function sampleOf(elements: number, most: number): Int32Array {
  if (elements <= most) return Int32Array.from({ length: elements }, (_, i) => i);
  const chosen = new Set<number>();
  // A linear congruential generator (Numerical Recipes): the same sample on every machine.
  let state = (elements ^ 0x9e3779b9) >>> 0;
  while (chosen.size < most) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    chosen.add(Math.floor((state / 2 ** 32) * elements));
  }
  return Int32Array.from(chosen).sort();
}

/** Reads every step once. */
export async function surveyOf(capture: Capture): Promise<Survey> {
  const { parameters } = capture.manifest;
  const most = Math.max(LEAST, Math.floor(SAMPLED / parameters.length));
  const samples = parameters.map(
    ({ elements }): Sample => ({
      entries: sampleOf(elements, most),
      gradients: [],
      sparse: false,
      snapshots: new Map(),
    }),
  );
  const gradients: (GradientSummary | null)[][] = [];
  const known = capture.steps.findIndex(({ hasGradients }) => !hasGradients);
  const steps = known < 0 ? capture.steps.length : known;
  let used: CapturedStep | undefined;
  for (let index = 0; index < steps; index++) {
    const step = await capture.step(index, 'float32', used);
    used = step;
    gradients.push(step.gradients.map((gradient) => (gradient.absent ? null : summaryOf(gradient))));
    for (const [k, { name, shape }] of parameters.entries()) {
      const { entries, gradients: kept, snapshots } = samples[k]!;
      kept.push(pick(step.gradients[k]!, entries, shape));
      if (step.gradients[k]!.rows !== undefined) samples[k]!.sparse = true;
      const snapshot = step.parameters.get(name);
      if (snapshot !== undefined)
        snapshots.set(
          index,
          Float64Array.from(entries, (i) => snapshot[i]!),
        );
    }
  }
  const outside = capture.steps.slice(0, steps).map(({ record }) => [...record.outside.values()]);
  return {
    gradients,
    norms: gradients.map((summaries, k) => Math.hypot(normOf(summaries), ...outside[k]!)),
    hasOutside: outside.some((norms) => norms.some((norm) => norm > 0)),
    samples,
    steps,
  };
}

function summaryOf({ values }: RecordedGradient): GradientSummary {
  let squares = 0;
  let largest = 0;
  let second = 0;
  let place = 0;
  let nonFinite = 0;
  for (let i = 0; i < values.length; i++) {
    const g = values[i]!;
    squares += g * g;
    const size = Math.abs(g);
    // Rare after the first entries.
    if (size > second)
      if (size > largest) {
        second = largest;
        largest = size;
        place = i;
      } else second = size;
  }
  // Squares may overflow where every entry is finite.
  if (!Number.isFinite(squares)) for (const g of values) if (!Number.isFinite(g)) nonFinite++;
  return { squares, largest, second, place, nonFinite };
}

/** Some entries of a gradient in float64: of a sparse one 0 outside of its rows. */
export function pick(
  { values, rows, absent }: RecordedGradient,
  entries: Int32Array,
  shape: readonly number[],
): Float64Array | null {
  if (absent) return null;
  if (rows === undefined) return Float64Array.from(entries, (i) => values[i]!);
  const width = shape.slice(1).reduce((product, size) => product * size, 1);
  const at = new Map<number, number>();
  rows.forEach((row, r) => {
    at.set(row, r);
  });
  return Float64Array.from(entries, (i) => {
    const r = at.get(Math.floor(i / width));
    return r === undefined ? 0 : values[r * width + (i % width)]!;
  });
}

/** The survey of a training whose clip is given the parameters of the optimizer alone. */
export const withoutOutside = (survey: Survey): Survey => ({
  ...survey,
  norms: survey.gradients.map(normOf),
  hasOutside: false,
});

/** Norm of the recorded gradients of a step together. */
const normOf = (summaries: readonly (GradientSummary | null)[]): number =>
  Math.sqrt(summaries.reduce((sum, one) => sum + (one?.squares ?? 0), 0));
