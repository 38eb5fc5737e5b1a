/** The values of a short window in the order of their sizes: its medians are looked up instead of searched. */

/** Medians of a window of `n` values, and of its older and newer half (`n >> 1` values each). */
export interface HalfMedians {
  older: number;
  newer: number;
}

export interface RankedWindow {
  /** Takes the value that stands at `slot` of the ring. */
  add(value: number, slot: number): void;
  /** Gives up the value at `slot`; it must be there. */
  remove(slot: number): void;
  clear(): void;
  least(): number;
  median(): number;
  /** @param oldest slot of the oldest value @param into gets the two medians */
  halves(oldest: number, into: HalfMedians): void;
  /** Median distance of the values from `center`. */
  deviation(center: number): number;
}

/** Middle of two neighbours in order, as {@link medianInPlace} has it. */
const between = (lower: number, upper: number): number => lower + (upper - lower) / 2;

/** @param capacity slots of the ring; adding and removing cost as many steps as values are held, so keep it short */
export function rankedWindow(capacity: number): RankedWindow {
  const values = new Float64Array(capacity);
  const slots = new Uint16Array(capacity);
  let held = 0;
  return {
    add(value, slot) {
      let i = held++;
      for (; i > 0 && values[i - 1]! > value; i--) {
        values[i] = values[i - 1]!;
        slots[i] = slots[i - 1]!;
      }
      values[i] = value;
      slots[i] = slot;
    },
    remove(slot) {
      let i = 0;
      while (slots[i] !== slot) i++;
      held--;
      for (; i < held; i++) {
        values[i] = values[i + 1]!;
        slots[i] = slots[i + 1]!;
      }
    },
    clear() {
      held = 0;
    },
    least() {
      return values[0]!;
    },
    median() {
      const k = held >> 1;
      return held % 2 === 1 ? values[k]! : between(values[k - 1]!, values[k]!);
    },
    halves(oldest, into) {
      const half = held >> 1;
      const k = half >> 1;
      let [older, newer] = [0, 0];
      let [lowerOlder, lowerNewer] = [Number.NaN, Number.NaN];
      let [upperOlder, upperNewer] = [Number.NaN, Number.NaN];
      for (let i = 0; i < held && (older <= k || newer <= k); i++) {
        let age = slots[i]! - oldest;
        if (age < 0) age += capacity;
        if (age < half) {
          lowerOlder = older <= k ? upperOlder : lowerOlder;
          upperOlder = older <= k ? values[i]! : upperOlder;
          older++;
        } else if (age >= held - half) {
          lowerNewer = newer <= k ? upperNewer : lowerNewer;
          upperNewer = newer <= k ? values[i]! : upperNewer;
          newer++;
        }
      }
      const odd = half % 2 === 1;
      into.older = odd ? upperOlder : between(lowerOlder, upperOlder);
      into.newer = odd ? upperNewer : between(lowerNewer, upperNewer);
    },
    deviation(center) {
      let above = 0;
      while (above < held && values[above]! < center) above++;
      let below = above - 1;
      const k = held >> 1;
      let [before, last] = [Number.NaN, Number.NaN];
      // From the center outwards: the distances come in the order of their sizes.
      for (let n = 0; n <= k; n++) {
        before = last;
        const up = above < held ? values[above]! - center : Number.POSITIVE_INFINITY;
        const down = below >= 0 ? center - values[below]! : Number.POSITIVE_INFINITY;
        last = Math.abs(up <= down ? up : down);
        if (up <= down) above++;
        else below--;
      }
      return held % 2 === 1 ? last : between(before, last);
    },
  };
}
