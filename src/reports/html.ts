/**
 * The report as one HTML file: no network, no frame, no plugin, and a content security policy that lets run what is
 * inlined here and nothing else. All text is in the file as HTML; a script draws the charts and sorts the tables.
 */

import { createHash } from 'node:crypto';
import type { Finding } from '../model/finding.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import type { GateResult } from '../model/gate.ts';
import { inert } from '../model/inert-text.ts';
import { smallest } from '../model/order-statistics.ts';
import type { ReplayVerdict } from '../model/replay.ts';
import type { ChartSeries, Report, RunReport, VerdictClass } from '../model/report.ts';
import type { SourceRef } from '../model/source-ref.ts';
import { byReason } from './by-reason.ts';
import type { ReportFormat } from './format.ts';
import { chartsOf, type HtmlChart } from './html-charts.ts';
import { HTML_PARTS } from './html-parts.ts';
import { pathToUri } from './path-uri.ts';
import { placeText, replayLabel } from './replay-label.ts';
import { whySentences } from './why.ts';

/** HTML that is safe to put together. */
interface Html {
  readonly html: string;
}
type Piece = Html | string | number | null | false | readonly Piece[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const put = (piece: Piece): string => {
  if (piece === null || piece === false) return '';
  if (typeof piece === 'number') return String(piece);
  if (typeof piece === 'string') return inert(piece).replace(/[&<>"']/g, (c) => ENTITIES[c]!);
  if ('html' in piece) return piece.html;
  return piece.map(put).join('');
};

/** Every value in the template is escaped, unless it is HTML itself. */
const h = (strings: TemplateStringsArray, ...values: readonly Piece[]): Html => ({
  html: strings.map((text, i) => text + (i < values.length ? put(values[i]!) : '')).join(''),
});

const steps = (value: number | null): string => (value === null ? '–' : formatCount(value));
const number = (value: number | null): string => (value === null ? '–' : formatNumber(value));

type Tone = 'good' | 'warn' | 'bad' | '';

const CLASS_TONE: Record<VerdictClass, Tone> = {
  healthy: 'good',
  'micro-divergence': 'warn',
  inconclusive: '',
  drift: 'warn',
  'full-divergence': 'bad',
  'non-finite': 'bad',
};
const SEVERITY_TONE = { error: 'bad', warning: 'warn', note: '' } as const;
const REPLAY_TONE: Record<ReplayVerdict, Tone> = {
  prevented: 'good',
  delayed: 'warn',
  'not-prevented': 'bad',
  'cannot-tell': '',
  'not-needed': '',
  harmful: 'bad',
};

const badge = (text: string, tone: Tone): Html => h`<span class="badge ${tone}">${text}</span>`;

/** A column of a table; `value` makes it a column of numbers, sorted as such. */
interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => Piece;
  readonly value?: (row: T) => number | null;
  readonly wide?: true;
}

function table<T>(caption: string, columns: readonly Column<T>[], rows: readonly T[]): Html | false {
  if (rows.length === 0) return false;
  const cell = (row: T, { cell, value, wide }: Column<T>): Html => {
    if (value === undefined) return h`<td${wide ? { html: ' class="wide"' } : ''}>${cell(row)}</td>`;
    const sorted = value(row);
    return h`<td class="num" data-value="${sorted === null ? 'NaN' : String(sorted)}">${cell(row)}</td>`;
  };
  return h`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table class="data sort">
<thead><tr>${columns.map(({ title, value }) => h`<th scope="col"${value ? { html: ' class="num"' } : ''}>${title}</th>`)}</tr></thead>
<tbody>${rows.map((row) => h`<tr>${columns.map((column) => cell(row, column))}</tr>\n`)}</tbody>
</table></div>`;
}

const place = (ref: SourceRef): Html =>
  h`<a href="${pathToUri(ref.path)}"><code>${ref.path}${ref.line === undefined ? '' : `:${ref.line}`}</code></a>${
    ref.byteOffset === undefined ? '' : ` byte ${steps(ref.byteOffset)}`
  }${ref.tensor === undefined ? '' : h` tensor <code>${ref.tensor}</code>`}`;

const stepRange = (range: Finding['steps']): string =>
  range === null ? '–' : range[0] === range[1] ? steps(range[0]) : `${steps(range[0])} to ${steps(range[1])}`;

const GATE_WORD = {
  0: ['passed', 'good'],
  1: ['failed', 'bad'],
  3: ['damaged input', 'bad'],
  4: ['inconclusive', 'warn'],
} as const satisfies Record<GateResult['exitCode'], readonly [string, Tone]>;

const gateBadge = (gate: GateResult): Html => {
  const [word, tone] = GATE_WORD[gate.exitCode];
  return badge(word, tone);
};

function gateSection(gate: GateResult): Html {
  return h`<section class="card" id="gate" aria-labelledby="gate-title">
<h2 id="gate-title">${gateBadge(gate)} Gate</h2>
${gate.problems.length > 0 && h`<ul>${gate.problems.map(({ run, message }) => h`<li>${run === null ? '' : h`<code>${run}</code>: `}${message}</li>`)}</ul>`}
${table(
  'Rules of the gate',
  [
    {
      title: 'result',
      cell: ({ status, severity }) =>
        badge(
          status === 'pass' ? 'pass' : status === 'fail' ? `fails (${severity})` : 'not judged',
          status === 'pass' ? 'good' : status === 'fail' ? SEVERITY_TONE[severity] : 'warn',
        ),
    },
    { title: 'rule', cell: ({ id }) => h`<code>${id}</code>` },
    { title: 'run', cell: ({ run }) => run },
    { title: 'found', cell: ({ found }) => number(found), value: ({ found }) => found },
    { title: 'step', cell: ({ step }) => steps(step), value: ({ step }) => step },
    { title: 'expected', cell: ({ expected }) => expected },
    { title: 'why', cell: ({ message }) => message, wide: true },
  ],
  gate.rules,
)}
${gate.skipped.length > 0 && h`<p class="meta">Left out: ${gate.skipped.map(({ id, run, reason }, i) => `${i > 0 ? '; ' : ''}${id} on ${run} (${reason})`)}</p>`}
</section>`;
}

function findingItem(finding: Finding, id: string, chart: number | undefined): Html {
  const { severity, measured, threshold } = finding;
  const show =
    chart !== undefined && finding.steps !== null
      ? h`<button type="button" class="show" hidden data-show="${chart} ${finding.steps[0]} ${finding.steps[1]}">show in chart</button>`
      : '';
  return h`<li id="${id}" class="${SEVERITY_TONE[severity]}">
<p>${badge(severity, SEVERITY_TONE[severity])} <b>${finding.id}</b> ${finding.message}</p>
<p class="evidence">${finding.steps !== null && h`<span>step ${stepRange(finding.steps)}</span>`}${finding.series !== null && h`<span>series <code>${finding.series}</code></span>`}${
    measured !== null &&
    h`<span>measured ${number(measured.value)} ${measured.unit === '1' ? '' : measured.unit}</span>`
  }${threshold !== null && h`<span>limit ${number(threshold.value)} ${threshold.unit === '1' ? '' : threshold.unit}</span>`}${finding.locations.slice(0, 3).map((ref) => h`<span>${place(ref)}</span>`)}<a class="show" href="#${id}" aria-label="link to this finding">#</a>${show}</p>
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

function replaySection(run: RunReport): Html | false {
  if (run.replay.length === 0) return false;
  return h`<h3>Replay: what each clipping rule would have done</h3>
${table(
  'Replay of the gradient steps under each clipping rule',
  [
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
  ],
  run.replay,
)}`;
}

const optionsText = ({ options, rules = [] }: RunReport['replay'][number]): string =>
  [{ rule: '', options }, ...rules]
    .flatMap((one) => Object.entries(one.options).map(([name, value]) => ({ rule: one.rule, name, value })))
    .map(
      ({ rule, name, value }) =>
        `${rule === '' ? '' : `${rule} `}${name} ${typeof value === 'number' ? formatNumber(value) : String(value)}`,
    )
    .join(', ');

function curvatureSection(run: RunReport): Html | false {
  if (run.curvature.length === 0) return false;
  return h`<h3>Curvature against the stability limit</h3>
${table(
  'Hessian eigenvalues',
  [
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
  ],
  run.curvature,
)}`;
}

const seriesColumns: readonly Column<ChartSeries>[] = [
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

function runSection(run: RunReport, index: number, charts: readonly HtmlChart[], firstChart: number): Html {
  const { verdict, rewind } = run;
  const fact = (name: string, value: Piece): Html => h`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  const chartOf = (finding: Finding): number | undefined => {
    const at = charts.findIndex(({ lines }) => lines.some(({ name }) => name === finding.series));
    return at === -1 ? (charts.length > 0 ? firstChart : undefined) : firstChart + at;
  };
  const order = { error: 0, warning: 1, note: 2 };
  const findings = [...run.findings].sort((a, b) => order[a.severity] - order[b.severity]);
  return h`<section class="card" id="run-${index}" aria-labelledby="run-${index}-title">
<h2 id="run-${index}-title">${badge(verdict.class, CLASS_TONE[verdict.class])} ${run.id}</h2>
<p>${verdict.why}</p>
${whySentences(run).map((sentence) => h`<p>${sentence}</p>`)}
<dl class="facts">${[
    verdict.onsetStep !== null && fact(`onset, ${run.stepUnit}`, steps(verdict.onsetStep)),
    verdict.lastGoodStep !== null && fact(`last good ${run.stepUnit}`, steps(verdict.lastGoodStep)),
    verdict.recoveredStep !== null && fact(`back at ${run.stepUnit}`, steps(verdict.recoveredStep)),
    fact('attempts', run.attempts),
    verdict.series !== null && fact('decided by', verdict.series),
    rewind !== null && fact('rewind to', steps(rewind.rewindToStep)),
  ]}</dl>
${rewind !== null && h`<p><b>Rewind</b> to step ${steps(rewind.rewindToStep)}${rewind.rewindToCheckpoint === null ? '' : h` (<code>${rewind.rewindToCheckpoint}</code>)`}, skip the data of steps ${stepRange(rewind.skipSteps)}${rewind.learningRateFactor === null ? '' : `, learning rate × ${number(rewind.learningRateFactor)}`}. ${rewind.why}</p>`}
${run.advice.length > 0 && h`<ul>${run.advice.map((advice) => h`<li>${advice}</li>`)}</ul>`}
${charts.length > 0 && h`<div class="charts">${charts.map((chart, k) => figure(chart, firstChart + k))}</div>`}
${findings.length > 0 && h`<h3>Findings</h3><ul class="findings">${findings.map((finding, k) => findingItem(finding, `run-${index}-finding-${k}`, chartOf(finding)))}</ul>`}
${
  run.tasks.length > 0 &&
  h`<h3>Tasks</h3>${table(
    'Verdict of each task',
    [
      { title: 'task', cell: ({ name }) => name },
      { title: 'verdict', cell: (task) => badge(task.class, CLASS_TONE[task.class]) },
      { title: 'onset', cell: ({ onsetStep }) => steps(onsetStep), value: ({ onsetStep }) => onsetStep },
    ],
    run.tasks,
  )}`
}
${replaySection(run)}
${curvatureSection(run)}
${run.series.length > 0 && h`<details><summary>Series (${run.series.length})</summary>${table('Series of the run', seriesColumns, run.series)}</details>`}
${
  Object.keys(run.hyperparameters).length > 0 &&
  h`<details><summary>Hyperparameters</summary>${table(
    'Hyperparameters',
    [
      { title: 'name', cell: ([name]) => h`<code>${name}</code>` },
      { title: 'value', cell: ([, value]) => String(value), wide: true },
    ],
    Object.entries(run.hyperparameters),
  )}</details>`
}
${
  run.notRun.length + run.failedDetectors.length + run.notes.length > 0 &&
  h`<details${run.failedDetectors.length > 0 ? { html: ' open' } : ''}><summary>Not judged, and notes</summary><ul>${[
    ...run.failedDetectors.map(
      ({ id, error }) => h`<li>${badge('failed', 'bad')} ${id}: ${error.message}</li>`,
    ),
    ...byReason(run.notRun).map(({ ids, one }) => h`<li>${ids} did not run: ${one.reason}</li>`),
    ...run.notes.map((note) => h`<li>${note}</li>`),
  ]}</ul></details>`
}
</section>`;
}

function inputsSection(report: Report): Html | false {
  const losses = report.inputs.flatMap((input) => [
    ...(input.errors ?? []).map((error) => h`<li><code>${input.path}</code>: ${error.message}</li>`),
    ...((input.lost ?? 0) > 0
      ? [
          h`<li><code>${input.path}</code>: ${steps(input.lost!)} records lost, ${steps(input.kept ?? 0)} kept</li>`,
        ]
      : []),
    ...((input.unreadBytes ?? 0) > 0
      ? [
          h`<li><code>${input.path}</code>: ${steps(input.unreadBytes!)} bytes of an unfinished last record</li>`,
        ]
      : []),
    ...((input.grownBytes ?? 0) > 0
      ? [h`<li><code>${input.path}</code>: grew by ${steps(input.grownBytes!)} bytes while it was read</li>`]
      : []),
  ]);
  if (report.inputs.length === 0 && report.warnings.length === 0) return false;
  return h`<section class="card" id="inputs" aria-labelledby="inputs-title">
<h2 id="inputs-title">${losses.length > 0 ? [badge('damaged', 'bad'), ' '] : ''}Inputs</h2>
${losses.length + report.warnings.length > 0 && h`<ul>${losses}${report.warnings.map((warning) => h`<li>${warning.message}</li>`)}</ul>`}
${table(
  'Inputs',
  [
    { title: 'path', cell: ({ path }) => h`<code>${path}</code>` },
    { title: 'format', cell: ({ format }) => format },
    { title: 'records', cell: ({ kept }) => steps(kept ?? null), value: ({ kept }) => kept ?? null },
    {
      title: 'SHA-256',
      cell: ({ sha256 }) => (sha256 === null ? '–' : h`<code>${sha256.slice(0, 16)}…</code>`),
    },
  ],
  report.inputs,
)}
</section>`;
}

/** JSON inside a script element: no `<` can end the element. */
const scriptJson = (value: unknown): string => JSON.stringify(value).replace(/</g, '\\u003c');

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

function renderHtml(report: Report): string {
  const { verdict } = report;
  const charts: (HtmlChart & { run: string })[] = [];
  const sections = report.runs.map((run, index) => {
    const own = chartsOf(run);
    const section = runSection(run, index, own, charts.length);
    charts.push(...own.map((chart) => ({ ...chart, run: `run-${index}` })));
    return section;
  });
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(HTML_PARTS.uplot)} ${hashOf(HTML_PARTS.client)}`,
    `style-src ${hashOf(HTML_PARTS.style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  const inner = (text: string): Html => ({ html: text });
  const names = scriptJson(inertStrings(charts));
  return h`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${verdict.class}: clippy-diag report</title>
<style>${inner(HTML_PARTS.style)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header><div class="top">
<div class="brand">clippy-diag ${report.toolVersion} · ${report.createdAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}</div>
<h1>${badge(verdict.class, CLASS_TONE[verdict.class])} ${verdict.run ?? 'no run could be judged'}</h1>
<p>${verdict.why}</p>
${
  report.runs.length + (report.gate === undefined ? 0 : 1) > 1 &&
  h`<nav aria-label="Parts of the report"><ul>${report.gate !== undefined && h`<li><a href="#gate">Gate ${gateBadge(report.gate)}</a></li>`}${report.runs.map((run, index) => h`<li><a href="#run-${index}">${run.id} ${badge(run.verdict.class, CLASS_TONE[run.verdict.class])}</a></li>`)}</ul></nav>`
}
</div></header>
<main id="main">
${report.gate !== undefined && gateSection(report.gate)}
${sections}
${inputsSection(report)}
<footer><p>In a chart: drag to zoom, double click for the whole run. Charts keep the minimum and the maximum of every bucket; the report's JSON has the exact statistics.</p>
<noscript><p>Charts need JavaScript, which this browser does not run; everything else is here.</p></noscript></footer>
</main>
<script type="application/json" id="charts">${inner(names)}</script>
<script>${inner(HTML_PARTS.uplot)}</script>
<script>${inner(HTML_PARTS.client)}</script>
</body>
</html>
`.html;
}

/** The same value with every string made inert: the charts show names too. */
function inertStrings(value: unknown): unknown {
  if (typeof value === 'string') return inert(value);
  if (Array.isArray(value)) return typeof value[0] === 'number' ? value : value.map(inertStrings);
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, inertStrings(member)]));
  return value;
}

export const html: ReportFormat = {
  id: 'html',
  title: 'one HTML file with charts that zoom, for people',
  render: renderHtml,
};
