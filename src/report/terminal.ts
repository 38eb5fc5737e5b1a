/**
 * The report on a terminal: the verdict in one line first, then for each run its findings with evidence, charts, what
 * was not run and what to do next. Pure: width, colour and character set come in as options.
 */

import { Ansis } from 'ansis';
import type { Finding, Severity } from '../model/finding.ts';
import { countedPlain, formatCount, formatNumber } from '../model/format-number.ts';
import { inertName, inertOutput } from '../model/inert-text.ts';
import type { ChartSeries, Report, RunReport, VerdictClass } from '../model/report.ts';
import { isRisk } from '../model/run.ts';
import type { SourceRef } from '../model/source-ref.ts';
import { toAscii } from './ascii.ts';
import { byReason } from './by-reason.ts';
import { isTold } from './cause-words.ts';
import { type ChartMarker, drawChart } from './charts.ts';
import { classPaint, type Paint } from './class-paint.ts';
import type { RenderOptions, ReportFormat } from './format.ts';
import { renderGate } from './gate-text.ts';
import { lossesOf } from './input-losses.ts';
import { quantityText } from './quantity-text.ts';
import { ratioChart } from './ratio-chart.ts';
import { forecastWords, RULE_RATIO_HEAD, ruledSpread, ruleRatioRows, spreadWords } from './ratio-text.ts';
import { replaySummary } from './replay-text.ts';
import { eventsOf, symbolOf } from './run-events.ts';
import { comparisonLines, runsLines } from './runs-page.ts';
import { textTable } from './text-table.ts';
import { ratiosOf, whySentences } from './why.ts';
import { wrap } from './wrap.ts';

const severityPaint = (paint: Ansis): Record<Severity, Paint> => ({
  error: (text) => paint.bold.red(text),
  warning: (text) => paint.yellow(text),
  note: (text) => paint.dim(text),
});

/** More runs than this are listed in a table; only those that are not healthy are shown whole. */
const RUNS_SHOWN_WHOLE = 3;
const SKIPPED_SHOWN = 5;

const place = ({ path, line, byteOffset, tensor }: SourceRef): string =>
  inertName(path) +
  (line === undefined ? '' : `:${line}`) +
  (byteOffset === undefined ? '' : ` byte ${formatCount(byteOffset)}`) +
  (tensor === undefined ? '' : ` tensor ${inertName(tensor)}`);

function findingLines(finding: Finding, options: RenderOptions, paint: Ansis): string[] {
  const colour = severityPaint(paint)[finding.severity];
  const evidence = [
    ...(finding.measured ? [`measured ${quantityText(finding.measured)}`] : []),
    ...(finding.threshold ? [`limit ${quantityText(finding.threshold)}`] : []),
    ...(finding.locations[0] ? [place(finding.locations[0])] : []),
  ].join(', ');
  return [
    `  ${colour(finding.severity.padEnd(7))} ${paint.bold(finding.id)}`,
    ...wrap(finding.message, options.width, '          '),
    ...(evidence === '' ? [] : wrap(evidence, options.width, '          ').map((line) => paint.dim(line))),
  ];
}

/** The series worth a chart, the most important first: the losses together, then tasks, evaluation, gradient norm, a guard's risk. */
export function chartGroups(series: readonly ChartSeries[]): { title: string; series: ChartSeries[] }[] {
  const of = (role: ChartSeries['role'], most: number): ChartSeries[] =>
    series.filter((s) => s.role === role && s.points > 1).slice(0, most);
  const groups = [
    { title: 'loss', series: of('loss', 3) },
    { title: 'loss of each task', series: of('task_loss', 6) },
    { title: 'gradient norm', series: of('grad_norm', 2) },
    { title: 'risk', series: series.filter((s) => isRisk(s) && s.points > 1).slice(0, 2) },
  ].filter((group) => group.series.length > 0);
  if (!groups.some((group) => group.title.startsWith('loss'))) {
    const evaluation = of('eval_loss', 3);
    if (evaluation.length > 0) groups.unshift({ title: 'evaluation loss', series: evaluation });
  }
  return groups.map((group) =>
    group.series.length === 1 ? { ...group, title: group.series[0]!.name } : group,
  );
}

/** Onsets, recoveries and restarts of a run, as markers of its charts. */
export const runMarkers = (run: RunReport, ascii: boolean): ChartMarker[] =>
  eventsOf(run)
    .flatMap(({ step, kind, label }): ChartMarker[] => {
      if (kind === 'rewind') return [];
      const words = { onset: 'incident at', back: 'back at', restart: `${label} from` }[kind];
      return [{ step, symbol: symbolOf(kind, ascii), label: `${words} ${formatCount(step)}` }];
    })
    .sort((a, b) => a.step - b.step);

function runLines(run: RunReport, options: RenderOptions, paint: Ansis): string[] {
  const { verdict } = run;
  const facts = [
    countedPlain(run.attempts, 'attempt'),
    ...(verdict.onsetStep === null ? [] : [`onset at ${run.stepUnit} ${formatCount(verdict.onsetStep)}`]),
    ...(verdict.lastGoodStep === null
      ? []
      : [`last good ${run.stepUnit} ${formatCount(verdict.lastGoodStep)}`]),
    ...(verdict.recoveredStep === null
      ? []
      : [`back at ${run.stepUnit} ${formatCount(verdict.recoveredStep)}`]),
  ];
  const lines = [
    `${paint.bold(inertName(run.id))}  ${classPaint(paint, verdict.class)(verdict.class)}`,
    ...wrap(facts.join(', '), options.width, '  '),
    // A finding that says the same says it with its evidence.
    ...(run.findings.some((f) => f.message === verdict.why) ? [] : wrap(verdict.why, options.width, '  ')),
  ];
  const tasks = run.tasks.filter((task) => task.onsetStep !== null);
  if (tasks.length > 0) {
    const order = [...tasks].sort((a, b) => a.onsetStep! - b.onsetStep!);
    lines.push(
      ...wrap(
        `order of onset: ${order.map((t) => `${inertName(t.name)} (${t.class}, ${run.stepUnit} ${formatCount(t.onsetStep!)})`).join(', then ')}`,
        options.width,
        '  ',
      ),
    );
  }
  lines.push(...whySentences(run).flatMap((sentence) => wrap(sentence, options.width, '  ')));
  const section = (title: string, body: readonly string[]): void => {
    if (body.length > 0) lines.push('', paint.bold(title), ...body);
  };

  const notes = new Map<string, Finding[]>();
  for (const f of run.findings) if (f.severity === 'note') notes.set(f.id, [...(notes.get(f.id) ?? []), f]);
  section('Findings', [
    ...run.findings.filter((f) => f.severity !== 'note').flatMap((f) => findingLines(f, options, paint)),
    // Of notes the first of each kind: what a healthy run may show must not drown the rest.
    ...[...notes.values()].flatMap((same) => [
      ...findingLines(same[0]!, options, paint),
      ...(same.length > 1 ? [paint.dim(`          and ${same.length - 1} more of these (in --json)`)] : []),
    ]),
  ]);
  for (const group of chartGroups(run.series)) {
    lines.push(
      '',
      drawChart(group.title, group.series, {
        width: options.width,
        colour: options.colour,
        ascii: options.ascii,
        stepName: run.stepUnit,
        markers: runMarkers(run, options.ascii),
      }),
    );
  }
  section('Curvature', [...curvatureLines(run, options), ...ruleRatioLines(run, options)]);
  if (ratiosOf(run).length > 2)
    lines.push(
      '',
      ratioChart(ratiosOf(run), { ...options, stepName: run.stepUnit }, runMarkers(run, options.ascii)),
    );
  if (run.replay.length > 0)
    lines.push(
      '',
      paint.bold('Clipping rules'),
      ...replaySummary(run.replay, { ...options, stepUnit: run.stepUnit }),
    );
  if (run.cause !== undefined && isTold(run.cause))
    section(
      'Evidence',
      run.cause.evidence.flatMap(({ id, statement }) => hanging(inertName(`${id}: ${statement}`), options)),
    );
  section(
    'Next',
    run.advice.flatMap((sentence) => hanging(sentence, options)),
  );
  section('Not run', [
    ...byReason(run.notRun).flatMap(({ ids, one }) => hanging(`${ids}: ${one.reason}`, options)),
    ...run.failedDetectors.flatMap(({ id, error }) => hanging(`${id}: failed: ${error.message}`, options)),
  ]);
  section(
    'About the log',
    run.notes.flatMap((note) => hanging(note, options)),
  );
  return lines;
}

const OPERATOR_NAMES = {
  hessian: 'Hessian',
  'preconditioned-hessian': 'preconditioned Hessian',
  'gauss-newton': 'Gauss-Newton matrix',
};

/** The top eigenvalue of each operator against what the learning rate tolerates. */
function curvatureLines(run: RunReport, options: RenderOptions): string[] {
  const lines = run.curvature.flatMap(
    ({ operator, step, block, task, eigenvalues, stability, spread, source }) => {
      const [top] = eigenvalues;
      const part = [
        block === 'all' ? '' : ` of ${inertName(block)}`,
        task === 'all' ? '' : ` of task ${inertName(task)}`,
      ];
      const found = `top eigenvalue ${top === undefined ? 'not found' : formatNumber(top.value)}${top?.converged === false ? ' (not converged)' : ''}`;
      const against =
        stability.ratio === null || stability.limit === null
          ? ''
          : `, ${formatNumber(stability.ratio)} times the limit of ${formatNumber(stability.limit)}${stability.rule === undefined ? '' : ` (${stability.rule})`}`;
      const where = step === null ? '' : `${run.stepUnit} ${formatCount(step)}: `;
      const apart = spread === undefined ? null : spreadWords(spread);
      return hanging(
        `${where}${OPERATOR_NAMES[operator]}${part.join('')}: ${found}${against}${source === 'recorded' ? ', recorded' : ''}${apart === null ? '' : `; ${apart}`}`,
        options,
      );
    },
  );
  return [...lines, ...wrap(forecastWords(run.curvature) ?? '', options.width, '  ')];
}

/** What each rule makes of the incoming batch. */
function ruleRatioLines({ curvature }: RunReport, options: RenderOptions): string[] {
  const spread = ruledSpread(curvature);
  if (spread === undefined) return [];
  const title = `on the incoming batch ${formatCount(spread.incoming.batchStep)}, with the factors of each rule held:`;
  return [
    ...wrap(title, options.width, '  '),
    ...textTable({
      head: [...RULE_RATIO_HEAD],
      rows: ruleRatioRows(spread).map(([rule, ...cells]) => [inertName(rule!), ...cells]),
      left: 1,
    }).map((line) => `  ${line}`),
  ];
}

const hanging = (text: string, options: RenderOptions): string[] =>
  wrap(text, options.width, '    ').map((line, i) =>
    i === 0 ? `  ${options.ascii ? '-' : '•'} ${line.trimStart()}` : line,
  );

const isCalm = (verdict: VerdictClass): boolean => verdict === 'healthy' || verdict === 'inconclusive';

/** The verdict of everything, in one line. */
export function headline(report: Report): string {
  const { verdict, runs } = report;
  if (verdict.run === null) return 'inconclusive: no run could be judged';
  const run = runs.find((r) => r.id === verdict.run);
  const unit = run?.stepUnit ?? 'step';
  const others = runs.length > 1 ? `, the worst of ${runs.length} runs` : '';
  const onset = verdict.onsetStep === null ? '' : ` from ${unit} ${formatCount(verdict.onsetStep)}`;
  const back =
    verdict.recoveredStep === null ? '' : `, back at ${unit} ${formatCount(verdict.recoveredStep)}`;
  // A healthy loss with weights that are NaN is not a healthy run.
  const found = new Set(
    isCalm(verdict.class)
      ? runs.flatMap(({ findings }) =>
          findings.filter(({ severity }) => severity === 'error').map(({ id }) => id),
        )
      : [],
  );
  const errors = found.size === 0 ? '' : ` by its loss, but ${[...found].join(', ')}`;
  return `${verdict.class}${errors}${onset}${back}: ${inertName(verdict.run)}${others}`;
}

const placeIn = ({ line, byteOffset }: { line?: number; byteOffset?: number }): string =>
  line !== undefined
    ? ` at line ${formatCount(line)}`
    : byteOffset !== undefined
      ? ` at byte ${formatCount(byteOffset)}`
      : '';

/** Renders a report as text for a terminal or a pipe. */
export function renderTerminal(report: Report, options: RenderOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const lines = [classPaint(paint, report.verdict.class)(headline(report))];
  const many = report.runs.length > RUNS_SHOWN_WHOLE;
  if (report.comparison !== undefined)
    for (const line of comparisonLines(report.comparison)) lines.push(...wrap(line, options.width, '', '  '));
  if (many) lines.push('', ...runsLines(report, options));
  for (const run of many ? report.runs.filter((r) => r.verdict.class !== 'healthy') : report.runs)
    lines.push('', ...runLines(run, options, paint));
  const damaged = report.inputs.filter(
    (input) => (input.errors ?? []).length > 0 || lossesOf(input).length > 0,
  );
  if (damaged.length > 0 || report.warnings.length > 0) lines.push('', paint.bold('Warnings'));
  for (const input of damaged) {
    const losses = [
      ...lossesOf(input),
      ...(input.errors ?? []).slice(0, 3).map((e) => `${e.id}${placeIn(e)}: ${e.message}`),
    ];
    lines.push(...hanging(`${input.path}: ${losses.join('; ')}`, options));
  }
  for (const warning of report.warnings)
    lines.push(
      ...hanging(
        `${warning.id}: ${warning.message}${warning.hint === undefined ? '' : `; try: ${warning.hint}`}`,
        options,
      ),
    );
  if (report.skipped.length > 0)
    lines.push('', paint.bold('Skipped'), ...skippedLines(report.skipped, options));
  if (report.budget !== undefined)
    lines.push(
      '',
      ...hanging(
        `at most ${report.budget} s were allowed for checkpoints, replay and curvature (--budget)`,
        options,
      ),
    );
  const text = `${lines.join('\n')}\n`;
  return options.ascii ? toAscii(text) : text;
}

function skippedLines(skipped: Report['skipped'], options: RenderOptions): string[] {
  const shown = skipped
    .slice(0, SKIPPED_SHOWN)
    .flatMap(({ path, reason }) => hanging(`${path}: ${reason}`, options));
  return skipped.length > SKIPPED_SHOWN
    ? [...shown, `  and ${skipped.length - SKIPPED_SHOWN} more (in --json)`]
    : shown;
}

export const terminal: ReportFormat = {
  id: 'text',
  title: 'text for a terminal',
  render: (report, options) =>
    inertOutput(
      renderTerminal(report, options) +
        (report.gate === undefined ? '' : `\n${renderGate(report.gate, options)}`),
    ),
};
