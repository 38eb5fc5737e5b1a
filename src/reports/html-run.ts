/** A run in an HTML report: its verdict, charts, findings and tables. */

import type { CurvatureEntry } from '../model/curvature.ts';
import type { Finding, Severity } from '../model/finding.ts';
import { formatNumber } from '../model/format-number.ts';
import { smallest } from '../model/order-statistics.ts';
import type { ReplayEntry, ReplayVerdict } from '../model/replay.ts';
import type { ChartSeries, RewindAdvice, RunReport, TaskVerdict } from '../model/report.ts';
import { byReason } from './by-reason.ts';
import type { HtmlChart } from './html-charts.ts';
import {
  badge,
  type Column,
  classBadge,
  type Html,
  h,
  number,
  type Piece,
  place,
  SEVERITY_TONE,
  stepRange,
  steps,
  type Tone,
  table,
} from './html-template.ts';
import { quantityText } from './quantity-text.ts';
import { placeText, replayLabel } from './replay-label.ts';
import { whySentences } from './why.ts';

const REPLAY_TONE: Record<ReplayVerdict, Tone> = {
  prevented: 'good',
  delayed: 'warn',
  'not-prevented': 'bad',
  'cannot-tell': '',
  'not-needed': '',
  harmful: 'bad',
};

function findingItem(finding: Finding, id: string, chart: number | undefined): Html {
  const { severity, measured, threshold } = finding;
  const show =
    chart !== undefined && finding.steps !== null
      ? h`<button type="button" class="show" hidden data-show="${chart} ${finding.steps[0]} ${finding.steps[1]}">show in chart</button>`
      : '';
  return h`<li id="${id}" class="${SEVERITY_TONE[severity]}">
<p>${badge(severity, SEVERITY_TONE[severity])} <b>${finding.id}</b> ${finding.message}</p>
<p class="evidence">${finding.steps !== null && h`<span>step ${stepRange(finding.steps)}</span>`}${finding.series !== null && h`<span>series <code>${finding.series}</code></span>`}${
    measured !== null && h`<span>measured ${quantityText(measured)}</span>`
  }${threshold !== null && h`<span>limit ${quantityText(threshold)}</span>`}${finding.locations.slice(0, 3).map((ref) => h`<span>${place(ref)}</span>`)}<a class="show" href="#${id}" aria-label="link to this finding">#</a>${show}</p>
${finding.advice !== null && h`<p class="soft">${finding.advice}</p>`}
</li>`;
}

function figure(chart: HtmlChart, index: number): Html {
  const names = chart.lines.map(({ name }) => name).join(', ');
  const marks = chart.marks.map(({ label, step }) => `${label} at step ${steps(step)}`);
  const odd = chart.lines.reduce(
    (sum, { parts }) => sum + parts.reduce((n, part) => n + part.odd.length, 0),
    0,
  );
  const sampled = chart.drawn < chart.points;
  const keys = [
    odd > 0 && h`<li><b>ticks at the bottom</b>: values that are not finite</li>`,
    sampled &&
      h`<li>${steps(chart.points)} points as ${steps(chart.drawn)} buckets, each with its minimum and maximum</li>`,
    chart.left > 0 && h`<li>${chart.left} more series are not drawn</li>`,
  ];
  return h`<figure>
<figcaption>${chart.title}<span class="tools" hidden><button type="button" data-log="${index}">log axis</button><button type="button" data-reset="${index}">whole run</button></span></figcaption>
<div class="plot" id="plot-${index}" data-plot="${index}" tabindex="0" role="group" aria-label="Chart of ${chart.title}: ${names}. ${marks.join(', ')}. Keys: plus and minus zoom, arrows move, 0 shows all, l changes the axis. The table of series has the numbers."></div>
<ul class="keys">${keys}</ul>
</figure>`;
}

const optionsText = ({ options, rules = [] }: ReplayEntry): string =>
  [{ rule: '', options }, ...rules]
    .flatMap((one) => Object.entries(one.options).map(([name, value]) => ({ rule: one.rule, name, value })))
    .map(
      ({ rule, name, value }) =>
        `${rule === '' ? '' : `${rule} `}${name} ${typeof value === 'number' ? formatNumber(value) : String(value)}`,
    )
    .join(', ');

const REPLAY_COLUMNS: readonly Column<ReplayEntry>[] = [
  {
    title: 'rule',
    cell: (entry) => h`<b>${replayLabel(entry)}</b> <span class="meta">${optionsText(entry)}</span>`,
  },
  { title: 'mode', cell: ({ mode }) => h`<span class="nowrap">${mode}</span>` },
  { title: 'verdict', cell: ({ verdict }) => badge(verdict, REPLAY_TONE[verdict]) },
  { title: 'confidence', cell: ({ confidence }) => confidence },
  {
    title: 'first acts',
    cell: (entry) => steps(entry.firstEngagedStep),
    value: (entry) => entry.firstEngagedStep,
  },
  {
    title: 'acts on',
    cell: (entry) =>
      Number.isFinite(entry.engagedFraction) ? `${number(entry.engagedFraction * 100)} %` : '–',
    value: (entry) => entry.engagedFraction,
  },
  {
    title: 'smallest factor',
    cell: (entry) => number(smallest(entry.minClipFactor)),
    value: (entry) => smallest(entry.minClipFactor),
  },
  { title: 'ended', cell: ({ ended }) => `${ended.reason} at ${steps(ended.step)}` },
  {
    title: 'bottleneck',
    cell: ({ bottleneck }) => (bottleneck === null ? '–' : h`<code>${placeText(bottleneck)}</code>`),
  },
  { title: 'why', cell: ({ why }) => why, wide: true },
];

const CURVATURE_COLUMNS: readonly Column<CurvatureEntry>[] = [
  { title: 'checkpoint', cell: ({ checkpoint }) => h`<code>${checkpoint}</code>` },
  { title: 'step', cell: ({ step }) => steps(step), value: ({ step }) => step },
  {
    title: 'operator',
    cell: ({ operator, source }) => `${operator}${source === 'recorded' ? ' (recorded)' : ''}`,
  },
  { title: 'block', cell: ({ block }) => block },
  { title: 'task', cell: ({ task }) => task },
  {
    title: 'top eigenvalue',
    cell: ({ eigenvalues }) => number(eigenvalues[0]?.value ?? null),
    value: ({ eigenvalues }) => eigenvalues[0]?.value ?? null,
  },
  {
    title: 'residual',
    cell: ({ eigenvalues }) => number(eigenvalues[0]?.residualNorm ?? null),
    value: ({ eigenvalues }) => eigenvalues[0]?.residualNorm ?? null,
  },
  {
    title: 'limit',
    cell: ({ stability }) => number(stability.limit),
    value: ({ stability }) => stability.limit,
  },
  {
    title: 'of the limit',
    cell: ({ stability }) => number(stability.ratio),
    value: ({ stability }) => stability.ratio,
  },
  {
    title: 'converged',
    cell: ({ eigenvalues }) =>
      eigenvalues.every(({ converged }) => converged) ? badge('yes', 'good') : badge('no', 'bad'),
  },
];

const SERIES_COLUMNS: readonly Column<ChartSeries>[] = [
  { title: 'series', cell: ({ name }) => h`<code>${name}</code>` },
  { title: 'role', cell: ({ role, task }) => (task === undefined ? role : `${role} (${task})`) },
  ...(
    [
      ['points', (s) => s.points],
      ['first', (s) => s.statistics.first],
      ['last', (s) => s.statistics.last],
      ['min', (s) => s.statistics.min],
      ['p50', (s) => s.statistics.p50],
      ['p95', (s) => s.statistics.p95],
      ['max', (s) => s.statistics.max],
      ['not finite', (s) => s.statistics.nan + s.statistics.posInf + s.statistics.negInf],
    ] as readonly (readonly [string, (s: ChartSeries) => number | null])[]
  ).map(
    ([title, value]): Column<ChartSeries> => ({
      title,
      value,
      cell: (s) => (title === 'points' || title === 'not finite' ? steps(value(s)) : number(value(s))),
    }),
  ),
];

const TASK_COLUMNS: readonly Column<TaskVerdict>[] = [
  { title: 'task', cell: ({ name }) => name },
  { title: 'verdict', cell: (task) => classBadge(task.class) },
  { title: 'onset', cell: ({ onsetStep }) => steps(onsetStep), value: ({ onsetStep }) => onsetStep },
];

const HYPERPARAMETER_COLUMNS: readonly Column<readonly [string, unknown]>[] = [
  { title: 'name', cell: ([name]) => h`<code>${name}</code>` },
  { title: 'value', cell: ([, value]) => String(value), wide: true },
];

function factsOf({ verdict, stepUnit, attempts, rewind }: RunReport): Html {
  const fact = (name: string, value: Piece): Html => h`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  return h`<dl class="facts">${[
    verdict.onsetStep !== null && fact(`onset, ${stepUnit}`, steps(verdict.onsetStep)),
    verdict.lastGoodStep !== null && fact(`last good ${stepUnit}`, steps(verdict.lastGoodStep)),
    verdict.recoveredStep !== null && fact(`back at ${stepUnit}`, steps(verdict.recoveredStep)),
    fact('attempts', attempts),
    verdict.series !== null && fact('decided by', verdict.series),
    rewind !== null && fact('rewind to', steps(rewind.rewindToStep)),
  ]}</dl>`;
}

const rewindText = (rewind: RewindAdvice): Html =>
  h`<p><b>Rewind</b> to step ${steps(rewind.rewindToStep)}${rewind.rewindToCheckpoint === null ? '' : h` (<code>${rewind.rewindToCheckpoint}</code>)`}, skip the data of steps ${stepRange(rewind.skipSteps)}${rewind.learningRateFactor === null ? '' : `, learning rate × ${number(rewind.learningRateFactor)}`}. ${rewind.why}</p>`;

function remarksOf({ notRun, failedDetectors, notes }: RunReport): Html | false {
  return (
    notRun.length + failedDetectors.length + notes.length > 0 &&
    h`<details${failedDetectors.length > 0 ? { html: ' open' } : ''}><summary>Not judged, and notes</summary><ul>${[
      ...failedDetectors.map(
        ({ id, error }) => h`<li>${badge('failed', 'bad')} ${id}: ${error.message}</li>`,
      ),
      ...byReason(notRun).map(({ ids, one }) => h`<li>${ids} did not run: ${one.reason}</li>`),
      ...notes.map((note) => h`<li>${note}</li>`),
    ]}</ul></details>`
  );
}

/** A heading and a table, where there are rows. */
const titled = <T>(
  title: string,
  caption: string,
  columns: readonly Column<T>[],
  rows: readonly T[],
): Piece =>
  rows.length > 0 &&
  h`<h3>${title}</h3>
${table(caption, columns, rows)}`;

/** The same, closed until it is opened. */
const folded = <T>(
  summary: string,
  caption: string,
  columns: readonly Column<T>[],
  rows: readonly T[],
): Piece =>
  rows.length > 0 && h`<details><summary>${summary}</summary>${table(caption, columns, rows)}</details>`;

const ORDER: Readonly<Record<Severity, number>> = { error: 0, warning: 1, note: 2 };

/**
 * The section of a run.
 *
 * @param index of the run in the report
 * @param charts its charts
 * @param firstChart index of the first of them in the report
 */
export function runSection(
  run: RunReport,
  index: number,
  charts: readonly HtmlChart[],
  firstChart: number,
): Html {
  const { verdict, rewind, advice, series } = run;
  const chartOf = (finding: Finding): number | undefined => {
    const at = charts.findIndex(({ lines }) => lines.some(({ name }) => name === finding.series));
    return at === -1 ? (charts.length > 0 ? firstChart : undefined) : firstChart + at;
  };
  const findings = [...run.findings].sort((a, b) => ORDER[a.severity] - ORDER[b.severity]);
  return h`<section class="card" id="run-${index}" aria-labelledby="run-${index}-title">
<h2 id="run-${index}-title">${classBadge(verdict.class)} ${run.id}</h2>
<p>${verdict.why}</p>
${whySentences(run).map((sentence) => h`<p>${sentence}</p>`)}
${factsOf(run)}
${rewind !== null && rewindText(rewind)}
${advice.length > 0 && h`<ul>${advice.map((sentence) => h`<li>${sentence}</li>`)}</ul>`}
${charts.length > 0 && h`<div class="charts">${charts.map((chart, k) => figure(chart, firstChart + k))}</div>`}
${findings.length > 0 && h`<h3>Findings</h3><ul class="findings">${findings.map((finding, k) => findingItem(finding, `run-${index}-finding-${k}`, chartOf(finding)))}</ul>`}
${titled('Tasks', 'Verdict of each task', TASK_COLUMNS, run.tasks)}
${titled('Replay: what each clipping rule would have done', 'Replay of the gradient steps under each clipping rule', REPLAY_COLUMNS, run.replay)}
${titled('Curvature against the stability limit', 'Hessian eigenvalues', CURVATURE_COLUMNS, run.curvature)}
${folded(`Series (${series.length})`, 'Series of the run', SERIES_COLUMNS, series)}
${folded('Hyperparameters', 'Hyperparameters', HYPERPARAMETER_COLUMNS, Object.entries(run.hyperparameters))}
${remarksOf(run)}
</section>`;
}
