/** What each clipping rule leaves of every tensor's update, step by step: one map a rule, all with the same steps and shades. */
import { formatCount, formatNumber } from '../model/format-number.ts';
import type { ReplayEntry } from '../model/replay.ts';
import { heatMap, shadesLegend } from './heat-map.ts';
import { type Html, h } from './html-template.ts';
import { replayLabel } from './replay-label.ts';

/** Lower ends of the shades: from each on a factor below 1 has that shade. */
const SHADES = [0.8, 0.5, 0.2, 0.1, 0.05, 0.01, 1e-3, 1e-4, 0] as const;
const shadeOf = (factor: number): string =>
  factor >= 1 ? 'equal' : `h${SHADES.findIndex((end) => factor >= end)}`;

const percent = (factor: number): string => `${formatNumber(100 * factor, 'brief')} %`;
const leftOf = (factor: number): string => (factor >= 1 ? 'left alone' : `cut to ${percent(factor)}`);

const LEGEND = shadesLegend([
  { shade: 'equal', text: 'left alone' },
  ...SHADES.map((end, k) => ({
    shade: `h${k}`,
    text: end === 0 ? `below ${percent(SHADES[k - 1]!)}` : `from ${percent(end)}`,
  })),
]);

/** Whether a replay has the factors of a tensor at every step. */
export const hasFactors = ({ tensors = [] }: ReplayEntry): boolean =>
  tensors.some(({ factors }) => factors !== undefined);

/** The maps of the rules that cut a tensor, at the recorded states; false where none did. */
export function factorMaps(replay: readonly ReplayEntry[]): Html | false {
  const maps = replay.flatMap((entry) => {
    const rows = (entry.tensors ?? []).flatMap(({ tensor, factors }) =>
      factors === undefined
        ? []
        : [{ name: tensor, values: factors.map((factor) => (Number.isFinite(factor) ? factor : null)) }],
    );
    return rows.length === 0 ? [] : [{ entry, rows }];
  });
  if (maps.length === 0) return false;
  return h`<p class="meta">at the recorded weights · tensors in the order of the model · what a rule never cuts is not drawn</p>
<div class="factor-maps">${maps.map(({ entry, rows }) => {
    const cut = `${formatCount(rows.length)} of ${formatCount(entry.tensors!.length)} tensors`;
    return h`<figure><figcaption>${replayLabel(entry)} <span class="meta">cuts ${cut}</span></figcaption>
${heatMap({
  label: `Factors of ${replayLabel(entry)}: ${cut} are cut at some step. The table of rules has the smallest.`,
  steps: entry.steps,
  rows,
  shadeOf,
  textOf: leftOf,
})}</figure>`;
  })}</div>${LEGEND}`;
}
