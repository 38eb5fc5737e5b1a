/** Curvature on a terminal: a table, the comparison with the limit in words, and the ratio over checkpoints as a chart. */
import type { CurvatureEntry, LabelledDensity } from '../model/curvature.ts';
import { formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { drawChart, lineOfValues } from './charts.ts';
import type { RenderOptions } from './format.ts';
import { ratioChart } from './ratio-chart.ts';
import { forecastOf, forecastWords, isForecast, MEASURED } from './ratio-text.ts';
import { symbolOf } from './run-events.ts';
import { textTable } from './text-table.ts';
import { wrap } from './wrap.ts';

const OPERATORS: Readonly<Record<CurvatureEntry['operator'], string>> = {
  hessian: 'H',
  'preconditioned-hessian': 'P^(-1/2) H P^(-1/2)',
  'gauss-newton': 'Gauss-Newton',
};

/**
 * Entries in their order; a chart where several checkpoints have a ratio.
 *
 * @param divergence step that is marked in that chart
 */
export function curvatureText(
  entries: readonly CurvatureEntry[],
  density: LabelledDensity | null,
  options: RenderOptions,
  divergence?: number,
): string {
  const places = [...new Set(entries.map((entry) => entry.checkpoint))].map(inertName);
  const against = entries.filter((entry) => entry.stability.ratio !== null);
  const charted = against.length > 1 && places.length > 1;
  const noForecast = charted ? forecastWords(entries) : undefined;
  const forecasts = charted && noForecast === undefined;
  const fit = (text: string): string => wrap(text, options.width, '', '  ').join('\n');
  const table = textTable({
    head: [
      ...['step', 'operator', 'block', 'task', 'eigenvalue', 'converged'],
      // Of many checkpoints each has its ratio here; of one the words below say more.
      ...(charted ? ['ratio', ...(forecasts ? ['stable up to'] : [])] : ['residual', 'HVPs']),
    ],
    rows: entries.flatMap((entry) =>
      entry.eigenvalues.map((pair, i) => {
        const first = (cell: string): string => (i === 0 ? cell : '');
        return [
          first(String(entry.step ?? '-')),
          first(OPERATORS[entry.operator]),
          first(inertName(entry.block)),
          first(inertName(entry.task)),
          formatNumber(pair.value),
          pair.converged ? 'yes' : 'NO',
          ...(charted
            ? headRoom(entry)
                .slice(0, forecasts ? 2 : 1)
                .map(first)
            : [formatNumber(pair.residualNorm), first(String(entry.hvpCount))]),
        ];
      }),
    ),
  });
  const parts = [
    `Curvature at ${places.length === 1 ? places[0] : `${places.length} checkpoints`}`,
    table.join('\n'),
  ];
  if (charted)
    parts.push(
      ratioChart(
        against,
        options,
        divergence === undefined
          ? []
          : [{ step: divergence, symbol: symbolOf('onset', options.ascii), label: 'divergence' }],
      ),
    );
  else for (const entry of against) parts.push(againstLimit(entry).map(fit).join('\n'));
  if (noForecast !== undefined) parts.push(fit(noForecast));
  const leading = places.length === 1 ? leadingTasks(entries) : [];
  if (leading.length > 0) parts.push(leading.map(fit).join('\n'));
  const traces = entries.flatMap(({ trace, ...entry }) =>
    trace === undefined
      ? []
      : [
          `Trace of ${placed(entry)}: ${formatNumber(trace.value)} ± ${formatNumber(trace.standardError)} (Hutchinson, standard error).`,
        ],
  );
  if (traces.length > 0) parts.push(traces.map(fit).join('\n'));
  if (density !== null) parts.push(densityChart(density, options));
  const notes = [...new Set(entries.flatMap((entry) => entry.notes ?? []))];
  const several = new Set(entries.map(({ step }) => step)).size > 1;
  // What is said of one value alone names it: five notes that differ in a number are of five values.
  const owners = (note: string): string => {
    const own = entries.filter((entry) => entry.notes?.includes(note));
    if (own.length === entries.length) return '';
    return `${own.map((entry) => `${several ? placed(entry) : named(entry)}${entry.task === 'all' ? '' : `, ${inertName(entry.task)}`}`).join('; ')}: `;
  };
  if (notes.length > 0)
    parts.push(notes.map((note) => fit(`note: ${owners(note)}${inertName(note)}`)).join('\n'));
  return parts.join('\n\n');
}

const named = ({ operator, block }: Pick<CurvatureEntry, 'operator' | 'block'>): string =>
  OPERATORS[operator] + (block === 'all' ? '' : ` of ${inertName(block)}`);
const placed = (entry: Pick<CurvatureEntry, 'operator' | 'block' | 'step'>): string =>
  named(entry) + (entry.step === null ? '' : ` at step ${entry.step}`);

/** Which task has the largest eigenvalue, for each operator whose tasks were all measured to convergence. */
function leadingTasks(entries: readonly CurvatureEntry[]): string[] {
  const ofTasks = entries.filter(({ task }) => task !== 'all');
  return [...new Set(ofTasks.map(named))].flatMap((operator) => {
    const tasks = ofTasks.filter((entry) => named(entry) === operator);
    if (tasks.length < 2 || tasks.some(({ eigenvalues }) => !eigenvalues[0]!.converged)) return [];
    const [first, second] = tasks.toSorted((a, b) => b.eigenvalues[0]!.value - a.eigenvalues[0]!.value);
    const value = (entry: CurvatureEntry): string => formatNumber(entry.eigenvalues[0]!.value);
    return [
      `Of the tasks ${inertName(first!.task)} leads in ${operator}: ${value(first!)}, then ${inertName(second!.task)} with ${value(second!)}.`,
    ];
  });
}

/** Ratio, and the learning rate at which it would be 1. */
function headRoom({ stability: { ratio, learningRate } }: CurvatureEntry): [string, string] {
  if (ratio === null || learningRate === null) return ['-', '-'];
  return [formatNumber(ratio), ratio > 0 ? formatNumber(learningRate / ratio) : 'any'];
}

function againstLimit(entry: CurvatureEntry): string[] {
  const { learningRate, limit, ratio, rule } = entry.stability;
  const value = entry.eigenvalues[0]!.value;
  const reached = formatNumber(learningRate! / ratio!);
  const verdict = !isForecast(entry)
    ? `${forecastOf(entry)}. ${MEASURED}`
    : `${
        ratio! > 1
          ? `above the limit: a step of this size is unstable along that direction; it would be stable up to a learning rate of ${reached}`
          : ratio! > 0
            ? `below the limit; it would be reached at a learning rate of ${reached}`
            : 'no direction of positive curvature'
      }. This is a risk, not a verdict.`;
  const critical = entry.criticalSharpness;
  return [
    `${named(entry)} has ${formatNumber(value)}; the limit${rule === undefined ? '' : ` ${rule}`} is ${formatNumber(limit!)} at the learning rate ${formatNumber(learningRate!)}.`,
    `Ratio ${formatNumber(ratio!)}: ${verdict}`,
    ...(critical === undefined
      ? []
      : [
          Number.isFinite(critical.criticalMultiple)
            ? `Along the optimizer's own update the loss first rises at ${formatNumber(critical.criticalMultiple)} times this step (critical sharpness ${formatNumber(critical.value)}).`
            : "Along the optimizer's own update no step up to 4,096 times this one raises the loss.",
        ]),
  ];
}

const BINS = 60;

/** Share of the spectrum in bins from its lowest to its highest value. */
function densityChart(density: LabelledDensity, options: RenderOptions): string {
  const low = density.value[0]!;
  const high = density.value.at(-1)!;
  const bins = new Array<number>(BINS).fill(0);
  for (const [i, value] of density.value.entries()) {
    const bin = Math.min(
      BINS - 1,
      Math.floor((BINS * (value - low)) / Math.max(high - low, Number.MIN_VALUE)),
    );
    bins[bin] = bins[bin]! + density.weight[i]!;
  }
  const line = lineOfValues(
    'log10 of the share of eigenvalues',
    bins.map((_, i) => low + ((i + 0.5) * (high - low)) / BINS),
    bins.map((weight) => Math.log10(Math.max(weight, 1e-8))),
  );
  return drawChart(`log10 of the spectral density (SLQ) of ${placed(density)}`, [line], {
    ...options,
    scale: 'linear',
    stepName: options.ascii ? 'lambda' : 'λ',
  });
}
