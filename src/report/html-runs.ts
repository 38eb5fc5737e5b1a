/**
 * Many runs as one HTML page: the table that the terminal shows, their curves on one axis, and each run's details, closed
 * until they are opened. The page stays small: lines are joined into fewer buckets until it fits, and it says so.
 */

import type { Cell } from '../model/cell.ts';
import { isOldComparison } from '../model/comparison.ts';
import { formatCount } from '../model/format-number.ts';
import type { Report, RunReport, RunsTable, TableRow, VerdictClass } from '../model/report.ts';
import { sweepSentence } from '../model/runs-sentence.ts';
import { classCounts, tableOf } from '../model/runs-table.ts';
import type { Answer } from './answer.ts';
import { answerOf, troubleOf } from './brief-answer.ts';
import { comparisonFigures } from './comparison-html.ts';
import { hasFactors } from './factor-maps.ts';
import { answerCard, answerTitle, ticked } from './html-answer.ts';
import { chartsOf, type HtmlChart, MAX_BUCKETS, type Overlay, overlayOf } from './html-charts.ts';
import type { HtmlPage } from './html-page.ts';
import { detailsOf, figure } from './html-run.ts';
import { type Column, cellOf, classBadge, type Html, h, headOf, type Piece } from './html-template.ts';
import { byGroup, cellText, comparisonLines, countsTitle, illSentence } from './runs-page.ts';

/** Bytes that a page may have: a megabyte for 50 runs, three for 200. */
const byteLimit = (runs: number): number => 1e6 + Math.max(0, runs - 50) * 13_300;

/** Buckets of a line, most first; with none only the first chart of a run is drawn, with the last of these. */
const BUCKETS = [MAX_BUCKETS, 500, 250, 120, 60, 30] as const;
const OVERLAY_COLUMNS = 300;

/**
 * The page with as many buckets as its size allows.
 *
 * @param write the whole file of a page
 */
export function runsWithin(report: Report, write: (page: HtmlPage) => string): string {
  const limit = byteLimit(report.runs.length);
  const answers = report.runs.map((run) => answerOf(run, report));
  let text = '';
  for (const buckets of BUCKETS.filter((some) => mayFit(report.runs, some, limit))) {
    text = write(runsPage(report, answers, { buckets, most: Number.POSITIVE_INFINITY }));
    if (text.length <= limit && Buffer.byteLength(text) <= limit) return text;
  }
  for (const most of [3, 1, 0]) {
    text = write(runsPage(report, answers, { buckets: BUCKETS.at(-1)!, most }));
    if (Buffer.byteLength(text) <= limit) return text;
  }
  return text;
}

/** Runs whose charts are measured, and how far off that may be. */
const SAMPLE = 8;
const SAMPLE_ERROR = 1.25;

/** Whether a page with so many buckets is worth writing, by the charts of a few runs: one that is far too large takes longest. */
function mayFit(runs: readonly RunReport[], buckets: number, limit: number): boolean {
  if (buckets === BUCKETS.at(-1)) return true;
  const every = Math.ceil(runs.length / SAMPLE);
  const sample = runs.filter((_, index) => index % every === 0);
  const bytes = sample.reduce((sum, run) => sum + JSON.stringify(chartsOf(run, buckets)).length, 0);
  return (bytes / sample.length) * runs.length <= limit * SAMPLE_ERROR;
}

interface Size {
  readonly buckets: number;
  /** Charts of a run. */
  readonly most: number;
}

function runsPage(report: Report, answers: readonly Answer[], { buckets, most }: Size): HtmlPage {
  const { runs } = report;
  const charts: (HtmlChart & { run: string })[] = [];
  const details = runs.map((run, index) => {
    const own = chartsOf(run, buckets);
    const drawn = own.slice(0, most);
    const html = detailsSection(run, report, index, drawn, charts.length, own.length - drawn.length);
    charts.push(...drawn.map((chart) => ({ ...chart, run: `run-${index}` })));
    return html;
  });
  const overlay = overlayOf(runs, Math.min(OVERLAY_COLUMNS, Math.max(60, buckets)));
  const table = tableOf(report);
  const trouble = troubleOf(report);
  const ill = illSentence(report);
  const counts = classCounts(table.rows);
  const left = runs.length - table.rows.length;
  return {
    title: countsTitle(table),
    main: h`<section class="card" id="runs" aria-labelledby="runs-title">
<h1 id="runs-title">${formatCount(table.rows.length)} runs <span class="counts">${counts.map(({ class: name, count }) => [classBadge(name as VerdictClass, `${formatCount(count)} ${name}`), ' '])}</span></h1>
${left > 0 && h`<p class="meta">${formatCount(left)} left out by --where</p>`}
${sweepSentence(table) !== null && h`<p><b>${sweepSentence(table)}</b></p>`}
${ill !== null && h`<p>${ill}</p>`}
${trouble !== null && h`<p><b>Beware</b> ${trouble}</p>`}
${report.gate !== undefined && h`<p><a href="#gate">Gate</a></p>`}
${report.comparison !== undefined && h`<ul id="comparison">${comparisonLines(report.comparison).map((line) => h`<li>${ticked(line)}</li>`)}</ul>${!isOldComparison(report.comparison) && comparisonFigures(report.comparison)}`}
${overlay !== undefined && overlayFigure(overlay)}
${controls(table)}
${runsTable(report, table, answers)}
</section>
<h2 class="each">Details of each run</h2>
${details}`,
    charts,
    ...(overlay === undefined ? {} : { overlay }),
  };
}

const overlayFigure = ({ title, x, curves }: Overlay): Html => h`<figure class="overlay">
<figcaption>${title}<span class="tools" hidden><button type="button" id="overlay-brush" aria-pressed="false">filter by dragging</button><button type="button" id="overlay-all" hidden>all curves</button><button type="button" id="overlay-log">log axis</button></span></figcaption>
<div class="plot" id="overlay-plot" tabindex="0" role="group" aria-label="${title}: ${formatCount(curves.filter((curve) => curve.length > 0).length)} curves over steps ${formatCount(x[0]!)} to ${formatCount(x.at(-1)!)}. The table has the runs."></div>
<ul class="keys"><li id="overlay-name" aria-live="polite">point at a curve or a row to see which run it is</li><li>the largest value in each of ${formatCount(x.length)} columns of steps</li></ul>
<ul class="keys" id="overlay-keys"></ul>
</figure>`;

/** What the script needs to filter and to group; without it the table is as it was asked for. */
function controls({ columns, rows, groupBy = [] }: RunsTable): Html {
  const asked = groupBy.map((name) => columns.indexOf(name)).join(',');
  const names = columns.filter((name) => name !== 'run');
  const options = names.map(
    (name) =>
      h`<option value="${columns.indexOf(name)}"${String(columns.indexOf(name)) === asked ? { html: ' selected' } : ''}>${name}</option>`,
  );
  const several =
    groupBy.length > 1 && h`<option value="${asked}" selected>${groupBy.join(' and ')}</option>`;
  return h`<div class="controls" hidden>
<label>Filter <input type="search" id="filter" placeholder="class!=healthy best&lt;0.4" autocomplete="off" spellcheck="false"></label>
<label>Group by <select id="group"><option value="">nothing</option>${several}${options}</select></label>
<span class="meta" id="shown" role="status">${formatCount(rows.length)} runs</span>
<p class="meta">conditions as of <code>--where</code>, with blanks between them; other words are looked for in names</p>
</div>`;
}

function runsTable(report: Report, table: RunsTable, answers: readonly Answer[]): Html {
  const indexOf = new Map(report.runs.map(({ id }, index) => [id, index]));
  const columns = table.columns.map((name): Column<TableRow> => {
    const of = (row: TableRow): Cell => row[name] ?? null;
    const numeric =
      name !== 'run' && name !== 'class' && table.rows.every((row) => typeof of(row) !== 'string');
    const cell = (row: TableRow): Piece => {
      const value = of(row);
      const index = indexOf.get(String(row.run));
      if (name === 'run')
        return index === undefined
          ? String(value)
          : h`<a href="#run-${index}">${value === null ? '–' : String(value)}</a>`;
      if (name === 'class') return classBadge(value as VerdictClass);
      return value === null ? '–' : cellText(value, name);
    };
    return {
      title: name,
      cell,
      ...(numeric
        ? {
            value: (row): number | null => {
              const value = of(row);
              return typeof value === 'boolean' ? Number(value) : (value as number | null);
            },
          }
        : {}),
    };
  });
  const rowHtml = (row: TableRow): Html => {
    const index = indexOf.get(String(row.run));
    const tip = index === undefined ? '' : `${answers[index]!.title}, ${answers[index]!.change}`;
    return h`<tr data-run="${index ?? ''}" title="${tip}">${columns.map((column) => cellOf(row, column))}</tr>\n`;
  };
  const body = byGroup(table, table.rows).map(({ title, own }) => [
    title !== null &&
      h`<tr class="group"><th scope="rowgroup" colspan="${columns.length}">${title}</th></tr>\n`,
    own.map(rowHtml),
  ]);
  return h`<div class="scroll" tabindex="0" role="group" aria-label="Table of runs"><table class="data runs" id="runs-table">
${headOf(columns)}
<tbody>${body}</tbody>
</table></div>`;
}

/** Details of a run, closed: its charts are drawn when it is opened. */
function detailsSection(
  run: RunReport,
  report: Report,
  index: number,
  charts: readonly HtmlChart[],
  firstChart: number,
  left: number,
): Html {
  const first = charts[0] === undefined ? false : figure(charts[0], firstChart);
  // What was lost of the inputs is listed once, above the table.
  const { answer, html } = answerCard(run, { ...report, inputs: [], warnings: [] }, `run-${index}`, 0, first);
  return h`<details class="card run" id="run-${index}"><summary><h3 class="title">${classBadge(run.verdict.class)} ${run.id}</h3> <span class="soft">${answerTitle(answer)}</span></summary>
<div class="body">
${html}
${run.replay.some(hasFactors) && h`<p class="meta">with --run this run is shown alone, with what each rule leaves of the gradient by tensor and step</p>`}
${left > 0 && h`<p class="meta">${formatCount(left)} charts are left out to keep this file small: analyze this run alone, or with --run, for all of them</p>`}
${detailsOf(run, answer, index, charts, firstChart)}
<p class="meta"><a href="#runs">back to the table</a></p>
</div></details>
`;
}
