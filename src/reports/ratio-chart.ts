/** The top eigenvalue over the steps as a share of the stability limit, with the limit as a line. */
import type { CurvatureEntry } from '../model/curvature.ts';
import { type ChartMarker, drawChart, lineOfValues } from './charts.ts';
import type { RenderOptions } from './format.ts';

/** @param entries each with a ratio */
export function ratioChart(
  entries: readonly CurvatureEntry[],
  options: RenderOptions & { readonly stepName?: string },
  markers: readonly ChartMarker[],
): string {
  const line = lineOfValues(
    'ratio',
    entries.map(({ step }, i) => step ?? i),
    entries.map(({ stability }) => stability.ratio!),
  );
  return drawChart('eigenvalue / stability limit', [line], {
    ...options,
    limit: { value: 1, label: 'limit' },
    markers,
  });
}
