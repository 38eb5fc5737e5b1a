/** Where a training that gave the recorded losses gives another one all at once. */

/** A loss that was so near for so many steps, and is so far at the next, did not come off little by little. */
export const NEAR = 1e-3;
export const NEAR_STEPS = 3;
const FAR = 0.1;

/**
 * The position at which computed losses leave the recorded ones from one step to the next: its reason is not in the record.
 * Rounding, which grows with the steps, separates them little by little.
 *
 * @param recorded null where none was recorded: nothing is compared with it
 * @param onset the last position that is looked at
 * @returns null where they follow up to the onset, separate little by little, or one of the two is not finite there
 */
export function suddenDeparture(
  computed: readonly number[],
  recorded: readonly (number | null)[],
  onset: number,
): number | null {
  const off = (i: number): number => {
    const expected = recorded[i] ?? null;
    return expected === null ? 0 : Math.abs(computed[i]! - expected) / Math.abs(expected);
  };
  const at = recorded.findIndex((_, i) => !(off(i) <= NEAR));
  return at >= NEAR_STEPS && at <= onset && off(at) >= FAR ? at : null;
}
