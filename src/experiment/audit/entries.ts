/** A few entries alone that are not where the chain leads: which, by what factor, at which step, and whether one bit explains it. */
import type { Capture } from '../../read/captures/read.ts';
import { type Chain, type Comparison, ratioOf } from './chain.ts';
import { CLOSES } from './evaluate.ts';
import { withBitFlipped } from './rounding.ts';
import { type Course, type Trace, toleranceOf, walkTrace } from './simulate.ts';
import { pick } from './survey.ts';

export interface ChangedEntry {
  readonly tensor: number;
  readonly place: number;
  readonly index: readonly number[];
  readonly found: number;
  readonly expected: number;
  /** Written over the weight before; null where that was 0. */
  readonly factor: number | null;
  /** Position of the step before whose record it was written; null where a stretch of steps is all that is known. */
  readonly at: number | null;
  /** A power of two or one flipped bit gives the value to within rounding. */
  readonly isBit: boolean;
}

/** Entries that may differ in one tensor: more than these are no accident of memory. */
const FEW_ENTRIES = 4;

/** Whether a stretch is missed by a few entries of one tensor alone. */
export function fewEntriesOf(missed: readonly Comparison[]): Comparison | null {
  const to = Math.min(...missed.map((one) => one.to));
  const first = missed.filter((one) => one.to === to);
  const [only] = first;
  const sparse = only !== undefined && only.off <= FEW_ENTRIES && only.off * 8 <= only.elements;
  return first.length === 1 && sparse ? only : null;
}

/** Where and by how much entries were changed: the step is the one at which the factor is nearest to a power of two. */
export async function changedEntries(
  capture: Capture,
  chain: Chain,
  { tensor, from, to, entries }: Comparison,
): Promise<readonly ChangedEntry[]> {
  const { shape } = capture.manifest.parameters[tensor]!;
  const places = Int32Array.from(entries, ({ place }) => place);
  const trace = await traceOf(capture, chain.traces[tensor]!, places, to);
  const kept: Float64Array[] = [];
  const watched: Course = {
    ...chain.course,
    before: (step, { w }) => {
      kept[step] = w.slice();
    },
  };
  walkTrace(trace, watched, to);
  const best = entries.map(
    (): Written => ({ at: to, factor: null, ratio: Number.POSITIVE_INFINITY, flips: false }),
  );
  for (let at = from + 1; at <= to; at++) {
    const factors = entries.map(({ found, expected }, k) => 1 + (found - expected) / kept[at]![k]!);
    const powers = factors.map((factor) => Math.sign(factor) * 2 ** Math.round(Math.log2(Math.abs(factor))));
    const course: Course = {
      ...chain.course,
      before: (step, { w }) => {
        if (step === at) for (const [k, power] of powers.entries()) w[k] = w[k]! * power;
      },
    };
    walkTrace(trace, course, to, (step, state, snapshot) => {
      if (step !== to) return;
      for (const [k, entry] of entries.entries()) {
        const tolerance = toleranceOf(state, k);
        const ratio = ratioOf(snapshot[k]!, state.w[k]!, tolerance);
        if (powers[k] !== 1 && ratio < best[k]!.ratio)
          best[k] = { at, factor: powers[k]!, ratio, flips: false };
        const before = kept[at]![k]!;
        if (
          ratio > CLOSES &&
          isFlip(before, before + entry.found - entry.expected, tolerance) &&
          !best[k]!.flips
        )
          best[k] = { at, factor: factors[k]!, ratio: Math.min(best[k]!.ratio, 1), flips: true };
      }
    });
  }
  return entries.map(({ place, found, expected }, k) => {
    const { at, factor, ratio } = best[k]!;
    const isBit = ratio <= CLOSES;
    const before = kept[to]![k]!;
    const plain = before === 0 ? null : 1 + (found - expected) / before;
    return {
      tensor,
      place,
      index: indexOf(place, shape),
      found,
      expected,
      factor: isBit ? factor : plain,
      at: isBit ? at : null,
      isBit,
    };
  });
}

/** What a change of one entry at one step explains. */
interface Written {
  readonly at: number;
  readonly factor: number | null;
  readonly ratio: number;
  readonly flips: boolean;
}

/** Whether flipping one bit of a float32 gives a value. */
function isFlip(from: number, to: number, tolerance: number): boolean {
  for (let bit = 0; bit < 32; bit++) {
    const flipped = withBitFlipped(from, bit);
    if (Math.abs(flipped - to) <= tolerance && Math.abs(flipped - from) > 4 * tolerance) return true;
  }
  return false;
}

/** Row-major place as one number an axis. */
export function indexOf(place: number, shape: readonly number[]): number[] {
  let rest = place;
  return shape
    .toReversed()
    .map((size) => {
      const at = rest % size;
      rest = (rest - at) / size;
      return at;
    })
    .reverse();
}

/** The trace of some entries, read anew. */
async function traceOf(capture: Capture, like: Trace, places: Int32Array, until: number): Promise<Trace> {
  const { parameters } = capture.manifest;
  const { shape } = parameters[like.tensor]!;
  const only = new Set([like.name]);
  const initial = await capture.initial('float64', only);
  const some = (values: ArrayLike<number>): Float64Array => Float64Array.from(places, (i) => values[i]!);
  const stored = initial.slots[like.tensor]!;
  const gradients: (Float64Array | null)[] = [];
  const snapshots = new Map<number, Float64Array>();
  for (let index = 0; index <= Math.min(until, capture.steps.length - 1); index++) {
    const step = await capture.step(index, 'float64', undefined, only);
    gradients.push(pick(step.gradients[like.tensor]!, places, shape));
    const snapshot = step.parameters.get(like.name);
    if (snapshot !== undefined) snapshots.set(index, some(snapshot));
  }
  const specs = like.choice.optimizer.slots(like.choice.options);
  return {
    ...like,
    entries: places,
    w: some(initial.parameters[like.tensor]!),
    slots: Object.fromEntries(
      specs.map(({ name, initial: value }) => {
        const slot = stored.get(name);
        return [name, slot === undefined ? new Float64Array(places.length).fill(value) : some(slot)];
      }),
    ),
    gradients,
    snapshots,
  };
}
