/** The top eigenvalue over the steps as a share of the stability limit, with the limit as a line. */
import { summariseSeries } from '../engine/series-summary.ts';
import type { CurvatureEntry } from '../model/curvature.ts';
import { type ChartMarker, drawChart } from './charts.ts';
import type { RenderOptions } from './format.ts';

/** @param entries those with a ratio are drawn */
export function ratioChart(
  entries: readonly CurvatureEntry[],
  options: RenderOptions & { readonly stepName?: string },
  markers: readonly ChartMarker[],
): string {
  const drawn = entries.filter(({ stability }) => stability.ratio !== null);
  const series = summariseSeries(
    {
      name: 'ratio',
      role: 'other',
      step: Float64Array.from(drawn, (entry, i) => entry.step ?? i),
      value: Float64Array.from(drawn, (entry) => entry.stability.ratio!),
      attemptOffsets: [0],
      pathOffsets: [0],
    },
    400,
  );
  return drawChart('eigenvalue / stability limit', [series], {
    ...options,
    limit: { value: 1, label: 'limit' },
    markers,
  });
}
