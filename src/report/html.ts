/**
 * The report as one HTML file: no network, no frame, no plugin, and a content security policy that lets run what is
 * inlined here and nothing else. All text is in the file as HTML; a script draws the charts and sorts the tables.
 */
import { formatNumber } from '../model/format-number.ts';
import type { GateResult, GateRule } from '../model/gate.ts';
import { inert } from '../model/inert-text.ts';
import { toJson } from '../model/json.ts';
import type { Report, ReportInput } from '../model/report.ts';
import { contentPolicy } from './content-policy.ts';
import { factorMaps } from './factor-maps.ts';
import type { ReportFormat } from './format.ts';
import { GATE_WORDS } from './gate-words.ts';
import { answerCard } from './html-answer.ts';
import { chartsOf } from './html-charts.ts';
import type { HtmlPage } from './html-page.ts';
import { HTML_PARTS } from './html-parts.ts';
import { detailsOf, figure } from './html-run.ts';
import { runsWithin } from './html-runs.ts';
import { badge, type Column, type Html, h, SEVERITY_TONE, steps, type Tone, table } from './html-template.ts';
import { contentHash, damagesOf } from './input-losses.ts';

const GATE_TONE: Readonly<Record<GateResult['exitCode'], Tone>> = {
  0: 'good',
  1: 'bad',
  3: 'bad',
  4: 'warn',
};
const gateBadge = ({ exitCode }: GateResult): Html => badge(GATE_WORDS[exitCode], GATE_TONE[exitCode]);

const GATE_COLUMNS: readonly Column<GateRule>[] = [
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
  {
    title: 'found',
    cell: ({ found }) => (found === null ? '–' : formatNumber(found, 'lookup')),
    value: ({ found }) => found,
  },
  { title: 'step', cell: ({ step }) => steps(step), value: ({ step }) => step },
  { title: 'expected', cell: ({ expected }) => expected },
  { title: 'why', cell: ({ message }) => message, wide: true },
];

function gateSection(gate: GateResult): Html {
  return h`<section class="card" id="gate" aria-labelledby="gate-title">
<h2 id="gate-title">${gateBadge(gate)} Gate</h2>
${gate.problems.length > 0 && h`<ul>${gate.problems.map(({ run, message }) => h`<li>${run === null ? '' : h`<code>${run}</code>: `}${message}</li>`)}</ul>`}
${table('Rules of the gate', GATE_COLUMNS, gate.rules)}
${gate.skipped.length > 0 && h`<p class="meta">Left out: ${gate.skipped.map(({ id, run, reason }, i) => `${i > 0 ? '; ' : ''}${id} on ${run} (${reason})`)}</p>`}
</section>`;
}

const INPUT_COLUMNS: readonly Column<ReportInput>[] = [
  { title: 'path', cell: ({ path }) => h`<code>${path}</code>` },
  { title: 'format', cell: ({ format }) => format },
  { title: 'records', cell: ({ kept }) => steps(kept ?? null), value: ({ kept }) => kept ?? null },
  {
    title: 'SHA-256',
    cell: (input) => {
      const hash = contentHash(input);
      return hash === null ? '–' : h`<code>${hash.slice(0, 16)}…</code>`;
    },
  },
];

/** A longer list of inputs is closed until it is opened. */
const INPUTS_SHOWN = 12;

function inputsSection(report: Report): Html | false {
  const losses = damagesOf(report.inputs).map(({ path, text }) => h`<li><code>${path}</code>: ${text}</li>`);
  if (report.inputs.length === 0 && report.warnings.length === 0) return false;
  return h`<section class="card" id="inputs" aria-labelledby="inputs-title">
<h2 id="inputs-title">${losses.length > 0 ? [badge('damaged', 'bad'), ' '] : ''}Inputs</h2>
${losses.length + report.warnings.length > 0 && h`<ul>${losses}${report.warnings.map((warning) => h`<li>${warning.message}</li>`)}</ul>`}
${report.inputs.length > 0 && h`<details${report.inputs.length > INPUTS_SHOWN ? '' : { html: ' open' }}><summary>What was read (${steps(report.inputs.length)})</summary>${table('Inputs', INPUT_COLUMNS, report.inputs)}</details>`}
</section>`;
}

/** JSON inside a script element: no `<` can end the element. */
const scriptJson = (value: unknown): string => toJson(value, 0).replace(/</g, '\\u003c');

/** Only what is inlined here may run or style; nothing may be fetched. */
const POLICY = contentPolicy(HTML_PARTS.style, [HTML_PARTS.uplot, HTML_PARTS.client]);

const brandOf = ({ toolVersion, createdAt }: Report): string =>
  `clippy-diag ${toolVersion} · ${createdAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}`;

const gateLink = ({ gate }: Report): Html | false =>
  gate !== undefined && h`<p><a href="#gate">Gate ${gateBadge(gate)}</a></p>`;

const chartNotes = h`In a chart: drag to zoom, double click for the whole run. Charts keep the minimum and the maximum of every bucket; the report's JSON has the exact statistics.`;

function onePage(report: Report): HtmlPage {
  const [run] = report.runs;
  if (run === undefined)
    return {
      title: 'no run could be judged',
      main: h`<section class="card"><h1>No run could be judged</h1>${gateLink(report)}<p>${report.verdict.why}</p></section>`,
      charts: [],
    };
  const charts = chartsOf(run);
  const first = charts[0] === undefined ? false : figure(charts[0], 0);
  const maps = factorMaps(run.replay);
  const { answer, html: card } = answerCard(run, report, 'run-0', 1, first);
  return {
    title: `${answer.title} · ${run.id}`,
    main: h`<section class="card" id="run-0" aria-labelledby="run-0-title">
${card}
${gateLink(report)}
</section>
<section class="card" aria-labelledby="details-title"><h2 id="details-title">Details</h2>
${detailsOf(run, answer, 0, charts, 0)}
</section>
${maps !== false && h`<section class="card" aria-labelledby="factors-title"><h2 id="factors-title">How much each rule leaves of a gradient, by tensor and step</h2>${maps}</section>`}`,
    charts: charts.map((chart) => ({ ...chart, run: 'run-0' })),
  };
}

function document(report: Report, { title, main, charts, overlay }: HtmlPage): string {
  const inner = (text: string): Html => ({ html: text });
  const names = scriptJson(inertStrings({ charts, ...(overlay === undefined ? {} : { overlay }) }));
  return h`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · clippy-diag</title>
<style>${inner(HTML_PARTS.style)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header><div class="top brand">${brandOf(report)}</div></header>
<main id="main">
${main}
${report.gate !== undefined && gateSection(report.gate)}
${inputsSection(report)}
</main>
<footer><p>${chartNotes}</p>
<noscript><p>Charts need JavaScript, which this browser does not run; everything else is here.</p></noscript></footer>
<script type="application/json" id="charts">${inner(names)}</script>
<script>${inner(HTML_PARTS.uplot)}</script>
<script>${inner(HTML_PARTS.client)}</script>
</body>
</html>
`.html;
}

const renderHtml = (report: Report): string =>
  report.runs.length > 1
    ? runsWithin(report, (page) => document(report, page))
    : document(report, onePage(report));

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
