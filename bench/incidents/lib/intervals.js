/** 95 % intervals of shares and medians, without random numbers: the same answers give the same interval. */

const Z = 1.959963984540054;

/**
 * Wilson's score interval of a share.
 * @param {number} hits number of successes, 0 to n
 * @param {number} n number of trials
 * @returns {{ hits: number, n: number, share: number | null, low: number | null, high: number | null }} shares from 0 to 1; null where n is 0
 */
export function share(hits, n) {
  if (n === 0) return { hits, n, share: null, low: null, high: null };
  const p = hits / n;
  const centre = (p + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z / (1 + Z ** 2 / n)) * Math.sqrt((p * (1 - p)) / n + Z ** 2 / (4 * n ** 2));
  return { hits, n, share: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

/**
 * Median with the interval that order statistics give (binomial, normal approximation of the ranks).
 * @param {readonly number[]} values
 * @returns {{ n: number, median: number | null, low: number | null, high: number | null }}
 */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  if (n === 0) return { n, median: null, low: null, high: null };
  const middle = (sorted[Math.floor((n - 1) / 2)] + sorted[Math.ceil((n - 1) / 2)]) / 2;
  const spread = (Z * Math.sqrt(n)) / 2;
  const low = Math.max(0, Math.floor((n - 1) / 2 - spread));
  const high = Math.min(n - 1, Math.ceil((n - 1) / 2 + spread));
  return { n, median: middle, low: sorted[low], high: sorted[high] };
}
