/** A run in an HTML report: its verdict, charts, findings and tables. */

import type { CurvatureEntry } from '../model/curvature.ts';
import { type Finding, SEVERITIES } from '../model/finding.ts';
import { formatNumber } from '../model/format-number.ts';
import { smallest } from '../model/order-statistics.ts';
import { REPLAY_MODES, type ReplayEntry, type ReplayVerdict } from '../model/replay.ts';
import type { ChartSeries, RunReport, TaskVerdict } from '../model/report.ts';
import type { Answer } from './answer.ts';
import { byReason } from './by-reason.ts';
import { otherThresholds } from './finding-words.ts';
import type { HtmlChart } from './html-charts.ts';
import {
  badge,
  type Column,
  classBadge,
  differing,
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
import { forecastWords, RULE_RATIO_HEAD, ruledSpread, ruleRatioRows, spreadWords } from './ratio-text.ts';
import { placeText, replayLabel } from './replay-label.ts';
import { FROM_LOG, fromLog, MODES } from './replay-text.ts';

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
</li>`;
}

export function figure(chart: HtmlChart, index: number): Html {
  const names = chart.lines.map(({ name }) => name).join(', ');
  const marks = chart.marks.map(({ label, step }) =>
    label.endsWith(steps(step)) ? label : `${label} at step ${steps(step)}`,
  );
  const odd = chart.lines.reduce(
    (sum, { parts }) => sum + parts.reduce((n, part) => n + part.odd.length, 0),
    0,
  );
  const sampled = chart.drawn < chart.points;
  const keys = [
    chart.limits.map(({ value, label }) => h`<li><b class="limit">– –</b> ${label} ${number(value)}</li>`),
    odd > 0 && h`<li><b>ticks at the bottom</b>: values that are not finite</li>`,
    sampled &&
      h`<li>${steps(chart.points)} points as ${steps(chart.drawn)} buckets, each with its minimum and maximum</li>`,
    chart.left > 0 && h`<li>${chart.left} more series are not drawn</li>`,
    chart.unmarked > 0 && h`<li>${steps(chart.unmarked)} more incidents are not marked</li>`,
  ];
  return h`<figure>
<figcaption>${chart.title}<span class="tools" hidden><button type="button" data-log="${index}">log axis</button><button type="button" data-reset="${index}">whole run</button></span></figcaption>
<div class="plot" id="plot-${index}" data-plot="${index}" tabindex="0" role="group" aria-label="Chart of ${chart.title}: ${names}. ${marks.join(', ')}. Keys: plus and minus zoom, arrows move, 0 shows all, l changes the axis. The table of series has the numbers."></div>
<ul class="keys">${keys}</ul>
</figure>`;
}

/** Options of the entries in which entries of the same rule differ: the others say nothing about them. */
function optionsText(entry: ReplayEntry, all: readonly ReplayEntry[]): string {
  const same = all.filter(({ rule }) => rule === entry.rule);
  const each = ({ options, rules = [] }: ReplayEntry): [string, string][] =>
    [{ rule: '', options }, ...rules].flatMap((one) =>
      Object.entries(one.options).map(([name, value]): [string, string] => [
        one.rule === '' ? name : `${one.rule} ${name}`,
        typeof value === 'number' ? formatNumber(value) : String(value),
      ]),
    );
  const others = same.map((one) => new Map(each(one)));
  return each(entry)
    .filter(([name, value]) => name !== 'preset' && others.some((one) => one.get(name) !== value))
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}

/**
 * @param all entries of the table
 * @param told entries of a table above, whose options and verdict are not repeated
 */
const replayColumns = (
  all: readonly ReplayEntry[],
  told: ReadonlySet<string>,
): readonly Column<ReplayEntry>[] => [
  {
    title: 'rule',
    cell: (entry) => {
      const differ = told.has(replayLabel(entry)) ? '' : optionsText(entry, all);
      return h`<b>${replayLabel(entry)}</b>${differ !== '' && h`<br><span class="meta">${differ}</span>`}`;
    },
  },
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
  {
    title: 'why',
    cell: (entry) =>
      told.has(replayLabel(entry)) && entry.verdict === 'cannot-tell' ? 'see the table above' : entry.why,
    wide: true,
  },
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
    title: 'on single batches',
    cell: ({ spread }) => (spread === undefined ? '–' : (spreadWords(spread) ?? '–')),
    wide: true,
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

/** What the answer does not say of the verdict. */
function factsOf(run: RunReport): Html | false {
  const { verdict } = run;
  const thresholds = otherThresholds(run);
  const facts = [
    ...(verdict.series === null ? [] : [h`decided by <code>${verdict.series}</code>`]),
    ...(verdict.lastGoodStep === null ? [] : [`last good step ${steps(verdict.lastGoodStep)}`]),
    ...(verdict.recoveredStep === null ? [] : [`back at step ${steps(verdict.recoveredStep)}`]),
    ...(thresholds === null ? [] : [thresholds]),
  ];
  return facts.length > 0 && h`<p class="meta">${facts.map((fact, i) => [i > 0 ? ' · ' : '', fact])}</p>`;
}

/** The replays of one mode, without those in the table of remedies. */
function replayTables(run: RunReport, tried: boolean): Piece {
  const looped = new Set(run.replay.filter(({ mode }) => mode === 'closed-loop').map(replayLabel));
  return [...REPLAY_MODES].reverse().map((mode) => {
    const all = run.replay.filter((entry) => entry.mode === mode);
    if (all.length === 0) return false;
    const wanted = replayColumns(all, mode === 'closed-loop' ? new Set() : looped).filter(
      ({ title }) => !(tried && mode === 'closed-loop' && title === 'why'),
    );
    const { columns, same } = differing(wanted, all);
    const what = all.every(fromLog) ? FROM_LOG : MODES[mode];
    const body = h`<p class="meta">${[what, ...same].join(' · ')}</p>${table(`Replay, ${mode}`, columns, all)}`;
    return mode === 'closed-loop' || !run.replay.some((entry) => entry.mode === 'closed-loop')
      ? h`<h3>What each clipping rule does</h3>${body}`
      : h`<details><summary>The same rules, ${mode} (${all.length})</summary>${body}</details>`;
  });
}

function curvatureTable(run: RunReport): Piece {
  if (run.curvature.length === 0) return false;
  const { columns, same } = differing(CURVATURE_COLUMNS, run.curvature);
  const noForecast = forecastWords(run.curvature);
  return h`<h3>Curvature against the stability limit</h3>${same.length > 0 && h`<p class="meta">${same.join(' · ')}</p>`}${table('Hessian eigenvalues', columns, run.curvature)}${noForecast !== undefined && h`<p class="meta">${noForecast}</p>`}${ruleRatios(run)}`;
}

/** What each rule makes of the incoming batch. */
function ruleRatios({ curvature }: RunReport): Piece {
  const spread = ruledSpread(curvature);
  if (spread === undefined) return false;
  const columns = RULE_RATIO_HEAD.map(
    (title, k): Column<string[]> => ({ title, cell: (row) => (k === 0 ? h`<b>${row[0]!}</b>` : row[k]!) }),
  );
  return h`<p class="meta">on the incoming batch ${steps(spread.incoming.batchStep)}, with the factors of each rule held</p>${table('Rules on the incoming batch', columns, ruleRatioRows(spread))}`;
}

/** What the cause rests on: each experiment with its numbers. */
function evidenceOf({ cause }: RunReport): Piece {
  const evidence = cause?.evidence ?? [];
  return (
    evidence.length > 0 &&
    h`<h3>Evidence of the cause</h3><ul>${evidence.map(({ id, statement }) => h`<li><code>${id}</code> ${statement}</li>`)}</ul>`
  );
}

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

/** Advice that the fix does not give: none where a remedy was tried and holds. */
function adviceOf(run: RunReport, answer: Answer): readonly string[] {
  if ((run.remedies ?? []).some(({ tried, holds }) => tried !== null && holds === true)) return [];
  const fix = answer.parts.find(({ label }) => label === 'Fix')?.text ?? '';
  return run.advice.filter((one) => !fix.includes(one));
}

/** Everything about a run except its answer and the chart of that. */
export function detailsOf(
  run: RunReport,
  answer: Answer,
  index: number,
  charts: readonly HtmlChart[],
  firstChart: number,
): Html {
  const { series } = run;
  const chartOf = (finding: Finding): number | undefined => {
    const at = charts.findIndex(({ lines }) => lines.some(({ name }) => name === finding.series));
    return at === -1 ? (charts.length > 0 ? firstChart : undefined) : firstChart + at;
  };
  const findings = [...run.findings].sort(
    (a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity),
  );
  const advice = adviceOf(run, answer);
  const items = findings.map((finding, k) =>
    findingItem(finding, `run-${index}-finding-${k}`, chartOf(finding)),
  );
  const others = charts.slice(1);
  return h`${factsOf(run)}
${advice.length > 0 && h`<h3>Next</h3><ul>${advice.map((sentence) => h`<li>${sentence}</li>`)}</ul>`}
${findings.length > 0 && h`<h3>Findings</h3><p class="meta"><code>clippy-diag explain ID</code> says what each means and what to do about it</p><ul class="findings">${items}</ul>`}
${others.length > 0 && h`<div class="charts">${others.map((chart, k) => figure(chart, firstChart + 1 + k))}</div>`}
${titled('Tasks', 'Verdict of each task', TASK_COLUMNS, run.tasks)}
${evidenceOf(run)}
${replayTables(run, answer.tried.length > 0)}
${curvatureTable(run)}
${folded(`Series (${series.length})`, 'Series of the run', SERIES_COLUMNS, series)}
${folded(`Hyperparameters (${Object.keys(run.hyperparameters).length})`, 'Hyperparameters', HYPERPARAMETER_COLUMNS, Object.entries(run.hyperparameters))}
${remarksOf(run)}`;
}
