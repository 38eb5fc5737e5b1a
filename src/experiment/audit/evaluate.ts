/** How well a course explains the recorded weights of some traces, and the factor that explains them best. */
import { ratioOf } from './chain.ts';
import { type Course, type Trace, toleranceOf, walkTrace } from './simulate.ts';

/** A course closes the chain within rounding. A healthy chain stays below 0.6; a solved factor has an error of its own. */
export const CLOSES = 1.5;

/** Deviations over tolerances: the largest, and the root of the mean square of those that are finite. */
export interface Fit {
  readonly worst: number;
  /** Share of the entries that deviate by more than {@link CLOSES}. */
  readonly off: number;
  readonly deviation: number;
}

/** @param until position of the last snapshot that is looked at */
export function fitOf(traces: readonly Trace[], course: Course, until: number): Fit {
  let worst = 0;
  let sum = 0;
  let off = 0;
  let count = 0;
  for (const trace of traces)
    walkTrace(trace, course, until, (_, state, snapshot) => {
      for (let i = 0; i < snapshot.length; i++) {
        const ratio = ratioOf(snapshot[i]!, state.w[i]!, toleranceOf(state, i));
        if (ratio > worst || Number.isNaN(ratio)) worst = ratio;
        if (!(ratio <= CLOSES)) off++;
        sum += Math.min(ratio, 1e12) ** 2;
        count++;
      }
    });
  return {
    worst,
    off: count === 0 ? 0 : off / count,
    deviation: count === 0 ? 0 : Math.sqrt(sum / count),
  };
}

/** Factors that are tried first: by fourth roots of two, from a 64th to 64 times. */
const GRID = Array.from({ length: 49 }, (_, k) => 2 ** ((k - 24) / 4));
/** Ratio of the factors beyond a grid. */
const BEYOND = Math.SQRT2;
/** Golden section: each step leaves 0.618 of the interval. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;
/** From a quarter of an octave to a relative 1e-9. */
const SECTIONS = 42;

/**
 * The factor with the smallest deviation: the best of a grid, refined between its neighbours.
 *
 * @param farthest up to which the grid goes on where its best value is its last one; absent: it ends where it ends
 */
export function bestFactor(
  deviation: (factor: number) => number,
  given: readonly number[] = GRID,
  farthest = 0,
): { readonly factor: number; readonly deviation: number } {
  const grid = [...given];
  const values = grid.map(deviation);
  const last = (): number => grid.length - 1;
  while (values[last()]! < values[last() - 1]! && grid[last()]! < farthest) {
    grid.push(grid[last()]! * BEYOND);
    values.push(deviation(grid[last()]!));
  }
  let best = 0;
  for (const [k, value] of values.entries()) if (value < values[best]!) best = k;
  let low = Math.log(grid[Math.max(0, best - 1)]!);
  let high = Math.log(grid[Math.min(grid.length - 1, best + 1)]!);
  let [a, b] = [high - GOLDEN * (high - low), low + GOLDEN * (high - low)];
  let [atA, atB] = [deviation(Math.exp(a)), deviation(Math.exp(b))];
  for (let k = 0; k < SECTIONS; k++)
    if (atA <= atB) {
      [high, b, atB] = [b, a, atA];
      a = high - GOLDEN * (high - low);
      atA = deviation(Math.exp(a));
    } else {
      [low, a, atA] = [a, b, atB];
      b = low + GOLDEN * (high - low);
      atB = deviation(Math.exp(b));
    }
  const [factor, found] = atA <= atB ? [Math.exp(a), atA] : [Math.exp(b), atB];
  return found <= values[best]!
    ? { factor, deviation: found }
    : { factor: grid[best]!, deviation: values[best]! };
}

/** A few entries of each trace, those that tell most first: for a search, which tries hundreds of courses. */
export function thin(
  traces: readonly Trace[],
  most: number,
  tells: (trace: Trace, i: number) => number,
): Trace[] {
  const each = Math.max(8, Math.ceil(most / Math.max(1, traces.length)));
  return traces.map((trace) => {
    const order = Array.from(trace.w, (_, i) => i).sort((a, b) => tells(trace, b) - tells(trace, a));
    // Half of them at random, lest they all tell the same.
    const stride = Math.max(1, Math.floor(order.length / each));
    const chosen = [
      ...new Set([...order.slice(0, each), ...order.filter((_, k) => k % stride === 0).slice(0, each)]),
    ];
    const some = (values: ArrayLike<number>): Float64Array => Float64Array.from(chosen, (i) => values[i]!);
    return {
      ...trace,
      entries:
        trace.entries === null ? Int32Array.from(chosen) : Int32Array.from(chosen, (i) => trace.entries![i]!),
      w: some(trace.w),
      slots: Object.fromEntries(Object.entries(trace.slots).map(([name, slot]) => [name, some(slot)])),
      gradients: trace.gradients.map((gradient) => (gradient === null ? null : some(gradient))),
      snapshots: new Map([...trace.snapshots].map(([step, values]) => [step, some(values)])),
    };
  });
}
