/** How a ratio to the stability limit spreads over batches, and what rules make of it on the incoming one, in words and rows. */
import type { CurvatureEntry, RatioOnBatch, RatioSpread } from '../model/curvature.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';

/** Whether the limit forecasts the largest stable learning rate; of what is not known it is not said. */
export const isForecast = ({ stability }: Pick<CurvatureEntry, 'stability'>): boolean =>
  stability.forecast === true;

/** What a ratio is that is no forecast, or of which nothing is known. */
export const forecastOf = ({ stability }: Pick<CurvatureEntry, 'stability'>): string =>
  stability.forecast === false ? 'no forecast for this optimizer' : 'a forecast for plain SGD alone';

/** How far the rate that a limit allows is off, and what measures a better one. */
export const MEASURED =
  'For optimizers other than plain SGD, the rate that the limit allows was between a hundredth and ten times the largest stable one (13 set-ups, docs/curvature.md). `clippy-diag preflight` tries learning rates.';

/** The same of several entries; undefined where each ratio is a forecast, or none has one. */
export function forecastWords(entries: readonly CurvatureEntry[]): string | undefined {
  const against = entries.filter(({ stability }) => stability.ratio !== null);
  return against.every(isForecast)
    ? undefined
    : `A ratio to the limit is a forecast for plain SGD alone. ${MEASURED}`;
}

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
