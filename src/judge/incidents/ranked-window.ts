/** The values of a short window in the order of their sizes: its medians are looked up instead of searched. */

/** Medians of two halves of a window, or of the end of one. */
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
  /**
   * Medians of `half` values each: of those from the `older`-th on and of those from the `newer`-th on, which follow them. Both
   * are counted from the oldest, which is 0.
   *
   * @param oldest slot of the oldest value
   * @param into gets the two medians
   */
  halves(oldest: number, older: number, half: number, newer: number, into: HalfMedians): void;
  /** Median of the values from the `from`-th on, counted from the oldest, which is 0. */
  medianSince(oldest: number, from: number): number;
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
    halves(oldest, older, half, newer, into) {
      const k = half >> 1;
      let inOlder = 0;
      let inNewer = 0;
      let lowerOlder = Number.NaN;
      let lowerNewer = Number.NaN;
      let upperOlder = Number.NaN;
      let upperNewer = Number.NaN;
      const beforeNewer = older + half;
      const end = newer + half;
      for (let i = 0; i < held && (inOlder <= k || inNewer <= k); i++) {
        let age = slots[i]! - oldest;
        if (age < 0) age += capacity;
        if (age < beforeNewer) {
          if (age < older) continue;
          lowerOlder = inOlder <= k ? upperOlder : lowerOlder;
          upperOlder = inOlder <= k ? values[i]! : upperOlder;
          inOlder++;
        } else if (age >= newer && age < end) {
          lowerNewer = inNewer <= k ? upperNewer : lowerNewer;
          upperNewer = inNewer <= k ? values[i]! : upperNewer;
          inNewer++;
        }
      }
      const odd = half % 2 === 1;
      into.older = odd ? upperOlder : between(lowerOlder, upperOlder);
      into.newer = odd ? upperNewer : between(lowerNewer, upperNewer);
    },
    medianSince(oldest, from) {
      const count = held - from;
      const k = count >> 1;
      let found = 0;
      let lower = Number.NaN;
      let upper = Number.NaN;
      for (let i = 0; i < held && found <= k; i++) {
        let age = slots[i]! - oldest;
        if (age < 0) age += capacity;
        if (age < from) continue;
        lower = upper;
        upper = values[i]!;
        found++;
      }
      return count % 2 === 1 ? upper : between(lower, upper);
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
