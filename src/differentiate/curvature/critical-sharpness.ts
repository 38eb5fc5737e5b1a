/** The cheap probe: how far along the actual update the loss first rises. Forward passes only. */

export interface CriticalSharpness {
  /** 2/η_c, to be compared with 2/η; 0 where no step up to the largest tried raises the loss. */
  readonly value: number;
  /** Smallest multiple of the learning rate at which the loss is above where it was; Infinity if none is. */
  readonly criticalMultiple: number;
  readonly evaluations: number;
}

/** Losses of float32 passes that differ by less, relatively, are the same. */
const ROUNDING = 1e-6;

/**
 * Critical sharpness 2/η_c along the update (arXiv 2601.16979): η_c is the smallest step size that raises the loss.
 * Brackets by factors of 2 from 1/64 of the learning rate on, then bisects to 1 %.
 *
 * @param lossAt loss at w − multiple·Δ, Δ the optimizer's update at its learning rate; a loss that is not finite counts
 *   as raised
 * @param learningRate η of that update
 * @returns null where no step lowers the loss by more than rounding before one raises it: the crossing is then noise, or
 *   the update leads uphill from the start
 */
export async function criticalSharpness(
  lossAt: (multiple: number) => Promise<number>,
  learningRate: number,
): Promise<CriticalSharpness | null> {
  const here = await lossAt(0);
  const same = ROUNDING * Math.abs(here);
  let evaluations = 1;
  let lowest = here;
  const raises = async (multiple: number): Promise<boolean> => {
    evaluations++;
    const loss = await lossAt(multiple);
    if (loss < lowest) lowest = loss;
    return !(loss <= here + same);
  };
  let high = 1 / 64;
  while (!(await raises(high))) {
    high *= 2;
    if (high > 4096) return { value: 0, criticalMultiple: Number.POSITIVE_INFINITY, evaluations };
  }
  let low = high === 1 / 64 ? 0 : high / 2;
  while (high - low > 0.01 * high) {
    const middle = (low + high) / 2;
    if (await raises(middle)) high = middle;
    else low = middle;
    if (high < 1e-12) break;
  }
  if (!(lowest < here - same)) return null;
  return { value: 2 / (high * learningRate), criticalMultiple: high, evaluations };
}
