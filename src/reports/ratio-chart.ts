/** The top eigenvalue over the steps as a share of the stability limit, with the limit as a line. */
import type { CurvatureEntry } from '../model/curvature.ts';
import { type ChartMarker, drawChart } from './charts.ts';
import type { RenderOptions } from './format.ts';

/** @param entries each with a ratio */
export function ratioChart(
  entries: readonly CurvatureEntry[],
  options: RenderOptions & { readonly stepName?: string },
  markers: readonly ChartMarker[],
): string {
  const steps = entries.map(({ step }, i) => step ?? i);
  const ratios = entries.map(({ stability }) => stability.ratio!);
  const line = {
    name: 'ratio',
    firstStep: steps,
    lastStep: steps,
    min: ratios,
    max: ratios,
    nonFinite: ratios.map((ratio) => (Number.isFinite(ratio) ? 0 : 1)),
  };
  return drawChart('eigenvalue / stability limit', [line], {
    ...options,
    limit: { value: 1, label: 'limit' },
    markers,
  });
}
