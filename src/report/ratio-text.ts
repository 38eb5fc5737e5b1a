/** How a ratio to the stability limit spreads over batches, and what rules make of it on the incoming one, in words and rows. */
import type { CurvatureEntry, RatioOnBatch, RatioSpread } from '../model/curvature.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';

/** The lowest and the highest ratio on the batches before; null where none is known. */
export function rangeBefore({ before }: RatioSpread): readonly [number, number] | null {
  const known = before.flatMap(({ ratio }) => ratio ?? []);
  return known.length === 0 ? null : [Math.min(...known), Math.max(...known)];
}

/** One sentence without its end; null where nothing is known. */
export function spreadWords(spread: RatioSpread): string | null {
  const range = rangeBefore(spread);
  if (range === null) return null;
  const { before, incoming, unusual } = spread;
  const [first, last] = [before[0]!.batchStep, before.at(-1)!.batchStep];
  const batches =
    before.length === 1
      ? `the batch of ${formatCount(first)}`
      : `batches ${formatCount(first)} to ${formatCount(last)}`;
  const usually = `${formatNumber(range[0])} to ${formatNumber(range[1])} times on ${batches}`;
  if (incoming === null) return usually;
  const on = `on the incoming batch ${formatCount(incoming.batchStep)}`;
  if (incoming.ratio === null) return `${usually}; ${on} unknown`;
  const odd = unusual === null ? '' : unusual ? ', which is unusual' : ', which is usual';
  return `${usually}; ${formatNumber(incoming.ratio)} times ${on}${odd}`;
}

export const RULE_RATIO_HEAD = ['rule', 'times the limit', 'update norm'] as const;

/** Rows of a table: of each rule the ratio on the incoming batch with its factors held, and the norm of the step. */
export const ruleRatioRows = (spread: RatioSpread | undefined): string[][] =>
  (spread?.rules ?? []).map(({ rule, ratio, updateNorm }) => [
    rule,
    ratio === null ? '-' : formatNumber(ratio),
    formatNumber(updateNorm),
  ]);

/** The spread that has rules, and its batch: that at the first harmful step; undefined where none has. */
export function ruledSpread(
  entries: readonly CurvatureEntry[],
): (RatioSpread & { readonly incoming: RatioOnBatch }) | undefined {
  for (const { spread } of entries)
    if (spread !== undefined && spread.rules.length > 0 && spread.incoming !== null)
      return { ...spread, incoming: spread.incoming };
  return undefined;
}
