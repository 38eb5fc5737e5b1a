/** The top eigenvalue over the steps as a share of the stability limit, with its spread over batches and the limit as a line. */
import type { CurvatureEntry } from '../model/curvature.ts';
import { formatCount } from '../model/format-number.ts';
import { type ChartLine, type ChartMarker, drawChart, lineOfValues } from './charts.ts';
import type { RenderOptions } from './format.ts';
import { rangeBefore } from './ratio-text.ts';

/**
 * The lines of such a chart: the range over the batches before and the incoming batch; where that was not measured, the one
 * ratio of each state.
 *
 * @param entries each with a ratio
 */
export function ratioLines(entries: readonly CurvatureEntry[]): ChartLine[] {
  const line = (name: string, of: (entry: CurvatureEntry) => number | null) =>
    lineOfValues(
      name,
      entries.map(({ step }, i) => step ?? i),
      entries.map((entry) => of(entry) ?? Number.NaN),
    );
  if (entries.filter(({ spread }) => spread !== undefined).length < 2)
    return [line('ratio', ({ stability }) => stability.ratio)];
  const end =
    (which: 0 | 1) =>
    ({ spread }: CurvatureEntry) =>
      spread === undefined ? null : (rangeBefore(spread)?.[which] ?? null);
  const [incoming] = entries.flatMap(({ spread }) => spread?.incoming?.batchStep ?? []);
  return [
    line('batches before, lowest', end(0)),
    line('highest', end(1)),
    ...(incoming === undefined
      ? []
      : [line(`batch ${formatCount(incoming)}`, ({ spread }) => spread?.incoming?.ratio ?? null)]),
  ];
}

export const RATIO_TITLE = 'eigenvalue / stability limit';

/** @param entries each with a ratio */
export const ratioChart = (
  entries: readonly CurvatureEntry[],
  options: RenderOptions & { readonly stepName?: string },
  markers: readonly ChartMarker[],
): string =>
  drawChart(RATIO_TITLE, ratioLines(entries), {
    ...options,
    limit: { value: 1, label: 'limit' },
    markers,
  });
