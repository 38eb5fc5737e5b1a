/** How large a difference may be and mean nothing. */
import { medianOf } from '../../model/order-statistics.ts';
import { EXACT, gapBetween } from './readings.ts';
import type { Losses, Precision, Side } from './side.ts';

/** Losses of two runs at the steps that both have. */
export interface LossPair {
  readonly steps: readonly number[];
  readonly a: Float64Array;
  readonly b: Float64Array;
  /**
   * |ln b/a|; relative to the first run's median where a loss is not positive; 0 where the coarser record shows no
   * difference; Infinity where one is not finite.
   */
  readonly distance: Float64Array;
  /** The same with its sign; 0 where one is not finite. */
  readonly signed: Float64Array;
  /** Whether both records have every bit. */
  readonly exact: boolean;
}

const NONE: Losses = { values: new Map(), unit: EXACT };

/**
 * The losses of two runs, from like records of both where they have one with a step in common: of ledgers, else of
 * logs, else of captures. Else those of unlike records with the most steps in common.
 */
function recordsOfLosses(a: Side, b: Side, until: number): readonly [Losses, Losses] {
  const shared = (one: Losses, other: Losses): number =>
    [...one.values.keys()].filter((step) => step <= until && other.values.has(step)).length;
  for (const [record, losses] of a.losses) {
    const other = b.losses.get(record);
    if (other !== undefined && shared(losses, other) > 0) return [losses, other];
  }
  const all = [...a.losses.values()].flatMap((one) =>
    [...b.losses.values()].map((other) => [one, other] as const),
  );
  const most = all.toSorted((x, y) => shared(...y) - shared(...x))[0];
  return most ?? [NONE, NONE];
}

export function lossPair(one: Side, other: Side, until: number): LossPair {
  const [a, b] = recordsOfLosses(one, other, until);
  const steps = [...a.values.keys()]
    .filter((step) => step <= until && b.values.has(step))
    .sort((x, y) => x - y);
  const x = Float64Array.from(steps, (step) => a.values.get(step)!);
  const y = Float64Array.from(steps, (step) => b.values.get(step)!);
  const finite = [...x, ...y].filter(Number.isFinite);
  const positive = finite.every((value) => value > 0);
  const unit = positive ? 1 : medianOf(finite.map(Math.abs)) || 1;
  const to = positive ? Math.log : (value: number): number => value / unit;
  const sizes = x.map((value, k) => {
    const after = y[k]!;
    return gapBetween({ value, unit: a.unit(value) }, { value: after, unit: b.unit(after) }).size;
  });
  const signed = x.map((value, k) => {
    const between = sizes[k] === 0 ? 0 : to(y[k]!) - to(value);
    return Number.isFinite(between) ? between : 0;
  });
  const distance = sizes.map((size, k) => (Number.isFinite(size) ? Math.abs(signed[k]!) : size));
  return { steps, a: x, b: y, distance, signed, exact: a.unit === EXACT && b.unit === EXACT };
}

/**
 * Largest relative error of a sum or product that is computed in another order.
 *
 * float32 and float64: u·√n for sums of n = 10⁵ terms (u = 2⁻²⁴, 2⁻⁵³). In narrower types the operands are rounded
 * and the sums are accumulated in float32: about four u (2⁻¹¹, 2⁻⁸).
 */
export const ARITHMETIC: Readonly<Record<Precision, number>> = {
  float64: 4e-14,
  float32: 2e-5,
  float16: 2e-3,
  bfloat16: 1.6e-2,
};

/** This many equal steps show that the code is bitwise reproducible on this machine. */
const REPEATS_ITSELF = 20;

/**
 * The size of a first difference that arithmetic explains.
 *
 * A record that names no type counts as float32 if the runs are equal for {@link REPEATS_ITSELF} steps,
 * and as bfloat16 otherwise: a kernel that sums in another order shows within the first steps.
 */
export function arithmeticOf(a: Side, b: Side, equalSteps: number): number {
  const known = [a.precision, b.precision].filter((one) => one !== null);
  const coarsest = Math.max(...known.map((one) => ARITHMETIC[one]));
  if (known.length > 0) return coarsest;
  return equalSteps >= REPEATS_ITSELF ? ARITHMETIC.float32 : ARITHMETIC.bfloat16;
}

/** Steps on which the correlation of two runs rests. */
const CORRELATED_OVER = 200;

/**
 * Whether two runs have one start: their first losses are equal but for float32 rounding, or their losses
 * are close and go up and down together, as they do on the same batches.
 */
export function startTogether({ distance, a, b }: LossPair): boolean {
  if (distance.length === 0) return false;
  if (distance[0]! <= ARITHMETIC.float32) return true;
  if (distance[0]! > 2 * ARITHMETIC.bfloat16 || distance.length < 20) return false;
  const count = Math.min(CORRELATED_OVER, distance.length);
  return correlation(changes(a.subarray(0, count)), changes(b.subarray(0, count))) > 0.8;
}

/** Second differences remove a falling trend that two runs share: it is not noise. */
const changes = (values: Float64Array): number[] =>
  Array.from(
    { length: Math.max(0, values.length - 2) },
    (_, k) => values[k + 2]! - 2 * values[k + 1]! + values[k]!,
  );

function correlation(x: readonly number[], y: readonly number[]): number {
  let [xx, yy, xy] = [0, 0, 0];
  for (const [k, value] of x.entries()) {
    if (!Number.isFinite(value) || !Number.isFinite(y[k]!)) continue;
    xx += value * value;
    yy += y[k]! * y[k]!;
    xy += value * y[k]!;
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : 0;
}

// ---- measured by repeats

/** Steps over which a distance is smoothed, and for which it must be above the floor. */
const IN_A_ROW = 20;
/** With one or two repeats the floor is uncertain by this factor (measured: ×1 to ×60). */
const OPEN_OF_FEW = 60;

/** What repeats of the first run say of each step. */
export interface MeasuredFloor {
  /** Largest distance of a repeat about each step, and the least distance that is above the floor. */
  readonly largest: ReadonlyMap<number, number>;
  readonly limit: ReadonlyMap<number, number>;
  readonly repeats: number;
}

export function measuredFloor(repeats: readonly LossPair[]): MeasuredFloor {
  const smooth = repeats.map(
    (pair) => new Map(smoothed(pair).map((value, k) => [pair.steps[k]!, value] as const)),
  );
  const spreads: number[] = [];
  const largest = new Map<number, number>();
  for (const step of smooth[0]?.keys() ?? []) {
    const here = smooth.map((one) => one.get(step)).filter((value) => value !== undefined);
    largest.set(step, Math.max(...here));
    const logs = here.filter((value) => value > 0 && Number.isFinite(value)).map(Math.log);
    if (logs.length > 1) spreads.push(deviation(logs));
  }
  const spread = spreads.length === 0 ? 0 : medianOf(spreads);
  const factor = repeats.length >= 3 ? Math.exp(3 * spread) : OPEN_OF_FEW;
  return {
    largest,
    limit: new Map([...largest].map(([step, value]) => [step, factor * value])),
    repeats: repeats.length,
  };
}

/** Root mean square over the steps about each, so that a chance crossing does not make a floor of zero. */
function smoothed({ distance }: LossPair): number[] {
  return Array.from(distance, (_, k) => {
    const part = distance.subarray(Math.max(0, k - IN_A_ROW / 2), k + IN_A_ROW / 2 + 1);
    return Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / part.length);
  });
}

const deviation = (values: readonly number[]): number => {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
};

/** First of {@link IN_A_ROW} steps in a row (or of all that are left, five at least) that are beyond a limit. */
export function firstBeyond(pair: LossPair, limit: (step: number) => number | undefined): number | null {
  let run = 0;
  for (const [k, step] of pair.steps.entries()) {
    const at = limit(step);
    run = at !== undefined && pair.distance[k]! > at ? run + 1 : 0;
    const left = k === pair.steps.length - 1 && run >= 5;
    if (run === IN_A_ROW || left) return pair.steps[k - run + 1]!;
  }
  return null;
}

/** First step from which on the distance is beyond the limit at every step to the end. */
export function forGoodFrom(pair: LossPair, limit: (step: number) => number): number | null {
  let from: number | null = null;
  for (let k = pair.steps.length - 1; k >= 0; k--) {
    if (!(pair.distance[k]! > limit(pair.steps[k]!))) break;
    from = pair.steps[k]!;
  }
  return from;
}
