/** Markdown for pull requests and job summaries. */

import { formatCount, formatNumber } from '../model/format-number.ts';
import type { GateResult } from '../model/gate.ts';
import { inertName, inertOutput } from '../model/inert-text.ts';
import { markdownTable } from '../model/markdown-table.ts';
import type { ReplayEntry } from '../model/replay.ts';
import type { Report, RunReport } from '../model/report.ts';
import { tableOf } from '../model/runs-table.ts';
import type { Answer } from './answer.ts';
import { answerOf } from './brief-answer.ts';
import { otherThresholds } from './finding-words.ts';
import type { ReportFormat } from './format.ts';
import { GATE_WORDS } from './gate-words.ts';
import { cutToBytes } from './github.ts';
import { damagesOf } from './input-losses.ts';
import { forecastWords, RULE_RATIO_HEAD, ruledSpread, ruleRatioRows, spreadWords } from './ratio-text.ts';
import { replayLabel } from './replay-label.ts';
import { byGroup, CELL_WIDTH, cellText, comparisonLines, countsTitle, illSentence } from './runs-page.ts';
import { shortNames } from './short-names.ts';
import { figuresOf, figureText, partsWithTried } from './tried.ts';

/** A job summary of GitHub may have 1 MiB; other places have less, but cut by themselves. */
const MAX_BYTES = 1024 * 1024;

/**
 * Untrusted text as Markdown text: what starts a construct anywhere is escaped, what starts one at the head of a line
 * there, `<` and `&` become entities (renderers differ on what they let through), `@` calls nobody, and URLs are no
 * links.
 */
export const md = (text: string): string =>
  inertName(text)
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/[\\`*_{}[\]()#!|~>$^]/g, '\\$&')
    .replace(/^([-+=]|\d+(?=\.))/, (start) => (/\d/.test(start) ? `${start}\\` : `\\${start}`))
    .replace(/:(?=\/\/)|(?<=www)\./gi, '\\$&')
    .replace(/@/g, '&commat;');

const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  rows.length === 0 ? [] : [...markdownTable(head, rows), ''];

const steps = (value: number | null): string => (value === null ? '' : formatCount(value));

const number = (value: number | null): string => (value === null ? '' : formatNumber(value));

function gateLines(gate: GateResult): string[] {
  return [
    `## Gate: ${GATE_WORDS[gate.exitCode]}`,
    '',
    ...gate.problems.map(({ run, message }) => `- ${run === null ? '' : `${md(run)}: `}${md(message)}`),
    ...(gate.problems.length > 0 ? [''] : []),
    ...table(
      ['', 'rule', 'run', 'found', 'expected', 'step'],
      gate.rules.map((rule) => [
        rule.status === 'pass' ? 'pass' : rule.status === 'fail' ? `**${rule.severity}**` : '**unjudged**',
        md(rule.id),
        md(rule.run),
        rule.found === null ? md(rule.message) : formatNumber(rule.found, 'lookup'),
        md(rule.expected),
        steps(rule.step),
      ]),
    ),
    ...gate.skipped.map(({ id, run, reason }) => `- left out: ${md(id)} on ${md(run)}: ${md(reason)}`),
    ...(gate.skipped.length > 0 ? [''] : []),
  ];
}

/** Text between backticks is code if it is a plain name or command; all else is text. */
const ticked = (text: string): string =>
  text
    .split(/`([^`]*)`/)
    .map((part, i) => (i % 2 === 1 && /^[\w./:=+-]+( [\w./:=+-]+)*$/.test(part) ? `\`${part}\`` : md(part)))
    .join('');

/** A block of code behind a fence that nothing in it can close, as part of an item of a list. */
function fenced(code: string): string[] {
  const longest = [...code.matchAll(/`+/g)].reduce((most, [ticks]) => Math.max(most, ticks.length), 2);
  const fence = '`'.repeat(longest + 1);
  return ['', fence, ...code.split('\n'), fence, ''].map((line) => (line === '' ? '' : `  ${line}`));
}

/** The answer of the brief page. */
function answerLines(answer: Answer, id: string): string[] {
  const { title, change, facts, checked, tried } = answer;
  return [
    `## ${md(id)}: ${md(title)}`,
    '',
    ticked(change),
    '',
    ticked(facts),
    ...(checked === null ? [] : ['', ticked(checked.join(' · '))]),
    '',
    // Problems of the inputs, and notes, have separate sections.
    ...partsWithTried(answer)
      .filter(({ label }) => label !== 'Beware' && label !== 'Noted')
      .flatMap(({ label, text, code, after }) => [
        `- **${label}**: ${ticked(text)}`,
        ...(code === undefined ? [] : fenced(code)),
        ...(after === undefined ? [] : [`  ${ticked(after)}`]),
      ]),
    '',
    ...table(
      ['tried', 'holds', ...figuresOf(tried).map(({ title }) => title)],
      tried.map((one) => [
        one.use ? `**${md(one.name)}** (use this)` : md(one.name),
        one.holds === null ? 'not known' : one.holds ? 'yes' : 'no',
        ...figuresOf(tried).map((figure) => figureText(figure, one, '')),
      ]),
    ),
  ];
}

/** Replays without the estimates that a closed loop under the same rule has decided. */
function decided(entries: readonly ReplayEntry[]): readonly ReplayEntry[] {
  const loops = new Set(
    entries.filter(({ mode }) => mode === 'closed-loop').map((entry) => replayLabel(entry)),
  );
  return entries.filter(
    (entry) =>
      entry.mode === 'closed-loop' || entry.verdict !== 'cannot-tell' || !loops.has(replayLabel(entry)),
  );
}

function noForecastLines({ curvature }: RunReport): string[] {
  const words = forecastWords(curvature);
  return words === undefined ? [] : [words, ''];
}

function runLines(run: RunReport, report: Report): string[] {
  const thresholds = otherThresholds(run);
  return [
    ...answerLines(answerOf(run, report), run.id),
    ...(thresholds === null ? [] : [md(thresholds), '']),
    ...table(
      ['severity', 'finding', 'steps', 'message', 'place'],
      run.findings.map((f) => [
        f.severity,
        md(f.id),
        f.steps === null ? '' : f.steps[0] === f.steps[1] ? steps(f.steps[0]) : f.steps.map(steps).join('–'),
        md(f.message),
        f.locations[0] === undefined
          ? ''
          : md(`${f.locations[0].path}${f.locations[0].line === undefined ? '' : `:${f.locations[0].line}`}`),
      ]),
    ),
    ...table(
      ['task', 'class', 'onset'],
      run.tasks.map((task) => [md(task.name), task.class, steps(task.onsetStep)]),
    ),
    ...table(
      ['evidence of the cause', 'what was measured'],
      (run.cause?.evidence ?? []).map(({ id, statement }) => [id, md(statement)]),
    ),
    ...table(
      ['clipping rule', 'mode', 'verdict', 'confidence', 'first acts', 'why'],
      decided(run.replay).map((entry) => [
        md(replayLabel(entry)),
        entry.mode,
        entry.verdict,
        entry.confidence,
        steps(entry.firstEngagedStep),
        md(entry.why),
      ]),
    ),
    ...table(
      ['checkpoint', 'step', 'operator', 'block', 'task', 'top eigenvalue', 'limit', 'ratio', 'converged'],
      run.curvature.map((entry) => [
        md(entry.checkpoint),
        steps(entry.step),
        entry.operator,
        md(entry.block),
        md(entry.task),
        number(entry.eigenvalues[0]?.value ?? null),
        number(entry.stability.limit),
        number(entry.stability.ratio),
        entry.eigenvalues.every(({ converged }) => converged) ? 'yes' : '**no**',
      ]),
    ),
    ...run.curvature.flatMap(({ step, spread }) => {
      const apart = spread === undefined ? null : spreadWords(spread);
      return apart === null ? [] : [`- the ratio at step ${steps(step)}: ${apart}`];
    }),
    ...(run.curvature.some(({ spread }) => spread !== undefined) ? [''] : []),
    ...noForecastLines(run),
    ...table(
      RULE_RATIO_HEAD,
      ruleRatioRows(ruledSpread(run.curvature)).map(([rule, ...cells]) => [md(rule!), ...cells]),
    ),
  ];
}

/** The table of runs, with a line before each of its groups. */
function tableLines(report: Report): string[] {
  const runsTable = tableOf(report);
  const { columns, rows } = runsTable;
  const names = shortNames(
    rows.map(({ run }) => inertName(String(run))),
    CELL_WIDTH,
  );
  const cells = rows.map((row, r) => [
    md(names[r]!),
    ...columns.slice(1).map((name) => (row[name] == null ? '' : md(cellText(row[name], name)))),
  ]);
  const parts = byGroup(runsTable, cells).flatMap(({ title, own }) => [
    ...(title === null ? [] : [`**${md(title)}**`, '']),
    ...table(columns.map(md), own),
  ]);
  const ill = illSentence(report);
  return [`## ${countsTitle(runsTable)}`, '', ...(ill === null ? [] : [md(ill), '']), ...parts];
}

function renderMarkdown(report: Report): string {
  const { verdict } = report;
  const damaged = damagesOf(report.inputs).map(({ path, text }) => `- ${md(path)}: ${md(text)}`);
  const lines = [
    `# clippy-diag: ${verdict.class}`,
    '',
    ...(report.gate === undefined ? [] : gateLines(report.gate)),
    ...(damaged.length > 0 ? ['## Damaged inputs', '', ...damaged, ''] : []),
    ...(report.comparison === undefined
      ? []
      : ['## Comparison', '', ...comparisonLines(report.comparison).map((line) => `- ${md(line)}`), '']),
    ...(report.runs.length > 1 ? tableLines(report) : []),
    ...report.runs.flatMap((run) => runLines(run, report)),
    ...report.warnings.map((warning) => `- ${md(warning.message)}`),
  ];
  return cutToBytes(`${lines.join('\n').trimEnd()}\n`, MAX_BYTES);
}

export const markdown: ReportFormat = {
  id: 'markdown',
  title: 'Markdown for pull requests and job summaries',
  render: (report) => inertOutput(renderMarkdown(report)),
};
