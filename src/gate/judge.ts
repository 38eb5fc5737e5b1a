/**
 * The gate: a policy judged on a report. Pure. Passing needs proof: a rule that could not be judged on complete data,
 * for whatever reason, is `inconclusive`, and so is the gate.
 */

import { dirname, relative, resolve, sep } from 'node:path';
import { ERROR_TEXTS } from '../model/errors.ts';
import type { Finding, Severity } from '../model/finding.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import type { GateProblem, GateResult, GateRule, RuleStatus } from '../model/gate.ts';
import { isGlob, matchesGlob } from '../model/glob.ts';
import { nearest } from '../model/nearest.ts';
import { medianInPlace } from '../model/order-statistics.ts';
import {
  type ChartSeries,
  type Report,
  type RunReport,
  type SeriesStatistics,
  VERDICT_CLASSES,
} from '../model/report.ts';
import { placeOf, ROLES, type Run } from '../model/run.ts';
import { seriesStatistics } from '../model/series-summary.ts';
import type { SourceRef } from '../model/source-ref.ts';
import { type Baseline, judgeBaseline } from './baseline.ts';
import type { GateConfig, RuleConfig } from './config.ts';
import {
  failsForGood,
  holds,
  isComplete,
  statisticOf,
  stepsDone,
  type Threshold,
  touches,
} from './thresholds.ts';

export interface GateEvidence {
  readonly report: Report;
  /**
   * The runs behind the report by id, for step windows; empty for a saved report, which keeps statistics over whole
   * series only.
   */
  readonly runs: ReadonlyMap<string, Run>;
  /** The baseline that the config names. */
  readonly baseline: Baseline | null;
}

/** What became of a rule on one run, before seeds are joined. */
type Judgement = Omit<GateRule, 'id' | 'severity' | 'passed' | 'run'> | { readonly missing: string };

/**
 * Judges a config on a report.
 *
 * The exit code: 3 where an input is damaged, else 1 where a rule of severity `error` fails for good, else 4 where
 * anything at all could not be judged on complete data, else 0. A failed rule of another severity is `passed: false`
 * and changes no code.
 */
export function judgeGate(evidence: GateEvidence, config: GateConfig): GateResult {
  const { report } = evidence;
  const problems = reportProblems(report, config);
  const rules: GateRule[] = [];
  const skipped: GateResult['skipped'][number][] = [];
  for (const group of groupsOf(report.runs, config)) {
    const incomplete = new Map<string, boolean>();
    for (const run of group.runs) {
      const own = runProblems(run, config);
      problems.push(...own);
      incomplete.set(run.id, own.length > 0 || problems.some((problem) => problem.run === null));
    }
    for (const rule of rulesOf(group.runs[0]!, config)) {
      if (rule.severity === 'off') continue;
      const judged = group.runs.map((run) => judgeRule(rule, run, evidence.runs.get(run.id)));
      const absent = judged.find((judgement) => 'missing' in judgement);
      if (absent !== undefined && 'missing' in absent && rule.missing !== 'error') {
        skipped.push({
          id: rule.id,
          run: group.id,
          severity: rule.missing === 'warn' ? 'warning' : 'note',
          reason: absent.missing,
        });
        continue;
      }
      const present = judged.map((judgement) => asJudged(judgement, rule));
      const joined =
        config.aggregate === 'worst' ? worst(present) : joinSeeds(present, rule, config.aggregate);
      const open =
        joined.status === 'fail' &&
        group.runs.some((run) => incomplete.get(run.id)) &&
        rule.threshold !== null &&
        !failsForGood(rule.threshold);
      rules.push(
        asRule(rule.id, group.id, rule.severity, {
          ...joined,
          ...(open
            ? {
                status: 'inconclusive' as const,
                message: `${joined.message}; the run is not complete, so this may change`,
              }
            : {}),
        }),
      );
    }
    if (config.baseline !== null && config.baseline.severity !== 'off' && evidence.baseline !== null) {
      for (const run of group.runs)
        for (const judged of judgeBaseline(run, evidence.baseline, config.baseline.tolerance))
          rules.push(asRule('baseline', run.id, config.baseline.severity, judged));
    }
  }
  if (config.baseline !== null && config.baseline.severity !== 'off' && evidence.baseline === null)
    problems.push({ exitCode: 3, id: 'baseline-missing', run: null, message: 'the baseline was not read' });
  if (rules.length === 0)
    problems.push({ exitCode: 4, id: 'nothing-judged', run: null, message: 'no rule was judged' });
  const exitCode = codeOf(rules, problems);
  return { passed: exitCode === 0, exitCode, rules, problems, skipped };
}

function codeOf(rules: readonly GateRule[], problems: readonly GateProblem[]): GateResult['exitCode'] {
  if (problems.some((problem) => problem.exitCode === 3)) return 3;
  if (rules.some((rule) => rule.severity === 'error' && rule.status === 'fail')) return 1;
  if (problems.length > 0 || rules.some((rule) => rule.status === 'inconclusive')) return 4;
  return 0;
}

const asRule = (
  id: string,
  run: string,
  severity: Severity,
  judged: Omit<GateRule, 'id' | 'severity' | 'passed' | 'run'>,
): GateRule => ({ id, run, severity, passed: judged.status === 'pass', ...judged });

/**
 * The config's rules for a run: overrides apply in their order, the last one wins. A pattern may name the run, one of
 * its paths as given, or one as seen from the config: the same file has the same rules from every working folder.
 */
function rulesOf(run: RunReport, config: GateConfig): RuleConfig[] {
  const rules = new Map(config.rules);
  const folder = config.path === null ? null : dirname(config.path);
  const names = [
    run.id,
    ...run.paths,
    ...(folder === null ? [] : run.paths.map((path) => relative(folder, resolve(path)).split(sep).join('/'))),
  ];
  for (const override of config.overrides)
    if (override.runs.some((pattern) => names.some((name) => matchesGlob(name, pattern))))
      for (const [id, rule] of override.rules) rules.set(id, rule);
  return [...rules.values()];
}

/** `lr-0.1/seed-3/log.csv` and `lr-0.1/seed-4/log.csv` are one setting. */
const SEED = /(seed|rep|trial)([-_=.]?)\d+/gi;

function groupsOf(
  runs: readonly RunReport[],
  config: GateConfig,
): { id: string; runs: [RunReport, ...RunReport[]] }[] {
  const groups = new Map<string, [RunReport, ...RunReport[]]>();
  runs.forEach((run, index) => {
    // Two runs of one id are two runs; with the worst of each every run is its own group.
    const key = config.aggregate === 'worst' ? `${index}` : run.id.replace(SEED, '$1$2*');
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [run]);
    else group.push(run);
  });
  return [...groups].map(([key, group]) => ({ id: group.length === 1 ? group[0].id : key, runs: group }));
}

/** Damage and gaps that no rule can see. */
function reportProblems(report: Report, config: GateConfig): GateProblem[] {
  const problems: GateProblem[] = [];
  const add = (exitCode: 3 | 4, id: string, message: string): void => {
    problems.push({ exitCode, id, run: null, message });
  };
  for (const input of report.inputs) {
    for (const error of input.errors ?? []) add(3, error.id, `${input.path}: ${error.message}`);
    if ((input.lost ?? 0) > 0)
      add(
        3,
        'records-lost',
        `${input.path}: ${input.lost} of ${input.lost! + (input.kept ?? 0)} records lost`,
      );
    if ((input.unreadBytes ?? 0) > 0)
      add(4, 'truncated', `${input.path}: its last ${input.unreadBytes} bytes are no whole record`);
    if ((input.grownBytes ?? 0) > 0)
      add(4, 'still-growing', `${input.path}: grew by ${input.grownBytes} bytes while it was read`);
    // A file has a hash exactly when it was read to its end; a folder of several files has none.
    const isFile = report.runs.some(({ paths }) => paths.includes(input.path));
    if (input.sha256 === null && input.kept !== undefined && isFile)
      add(4, 'not-read', `${input.path}: was not read to its end`);
    if (input.kept === 0) add(4, 'no-records', `${input.path}: has no record`);
  }
  for (const warning of report.warnings) {
    const code = ERROR_TEXTS[warning.id]?.exitCode;
    add(code === 4 || code === undefined ? 4 : 3, warning.id, warning.message);
  }
  if (report.runs.length === 0) add(4, 'no-runs', 'there is no run to judge');
  else if (report.runs.length < config.expect.runs)
    add(4, 'too-few-runs', `${report.runs.length} runs, expected at least ${config.expect.runs}`);
  return problems;
}

function runProblems(report: RunReport, config: GateConfig): GateProblem[] {
  const problems: GateProblem[] = [];
  const add = (id: string, message: string): void => {
    problems.push({ exitCode: 4, id, run: report.id, message });
  };
  if (report.series.every((series) => series.points === 0)) add('no-points', 'the run has no points');
  if (report.verdict.class === 'inconclusive') add('inconclusive', report.verdict.why);
  for (const { id, error } of report.failedDetectors)
    add('detector-crashed', `the detector ${id} failed: ${error.message}`);
  for (const entry of report.curvature)
    if (!entry.eigenvalues.every(({ converged }) => converged === true))
      add('not-converged', `the eigenvalue of ${entry.checkpoint} (${entry.block}) did not converge`);
  for (const series of report.series)
    if ((series.role === 'loss' || series.name === report.verdict.series) && stopsEarly(report, series))
      add('series-ends', endsMessage(series));
  const { steps } = config.expect;
  if (steps !== null) {
    const done = stepsOf(report);
    if (!isComplete(done, steps))
      add('too-few-steps', `${formatCount(done)} of ${formatCount(steps)} steps done`);
  }
  return problems;
}

/** The most steps that any series of the run shows as done; NaN without points. */
function stepsOf(report: RunReport): number {
  let most = Number.NaN;
  for (const { points, firstStep, lastStep } of report.series) {
    if (points === 0) continue;
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const step of firstStep) if (step < low) low = step;
    for (const step of lastStep) if (step > high) high = step;
    const done = stepsDone(low, high, points > 1 ? (high - low) / (points - 1) : 0);
    if (!(most >= done)) most = done;
  }
  return most;
}

const stopsEarly = (report: RunReport, series: ChartSeries): boolean =>
  series.endsEarly ?? lagsBehind(report, series);

/** For a report that does not say it: more than two usual gaps behind the last step of the run. */
function lagsBehind(report: RunReport, series: ChartSeries): boolean {
  const last = series.statistics.lastStep;
  const first = series.firstStep[0] ?? Number.NaN;
  const gap = series.points > 1 ? Math.abs(last - first) / (series.points - 1) : Math.abs(last);
  return report.series.some((other) => other.points > 0 && !(other.statistics.lastStep - last <= 2 * gap));
}

const endsMessage = (series: ChartSeries): string =>
  `the series ${series.name} ends at step ${series.statistics.lastStep} while others go on`;

const inconclusive = (expected: string, series: string | null, message: string): Judgement => ({
  status: 'inconclusive',
  expected,
  found: null,
  series,
  step: null,
  message,
  locations: [],
});

function judgeRule(rule: RuleConfig, report: RunReport, run: Run | undefined): Judgement {
  return rule.threshold === null
    ? judgeFindings(rule, report)
    : judgeThreshold({ ...rule, threshold: rule.threshold }, report, run);
}

const windowOf = ({ from, to }: RuleConfig): string =>
  from === Number.NEGATIVE_INFINITY && to === Number.POSITIVE_INFINITY
    ? ''
    : ` from step ${from === Number.NEGATIVE_INFINITY ? 'the first' : from} to ${to === Number.POSITIVE_INFINITY ? 'the last' : to}`;

/** A detector or a class of verdict: at most `max` findings in the window. */
function judgeFindings(rule: RuleConfig, report: RunReport): Judgement {
  const expected = `at most ${rule.max} ${rule.id}${windowOf(rule)}`;
  const crashed = report.failedDetectors.find(({ id }) => id === rule.id);
  if (crashed !== undefined)
    return inconclusive(expected, null, `the detector failed: ${crashed.error.message}`);
  const inWindow = (steps: Finding['steps']): boolean =>
    steps === null || touches(steps[0], steps[1], rule.from, rule.to);
  const findings = report.findings.filter(({ id, steps }) => id === rule.id && inWindow(steps));
  const incidents = report.verdict.incidents.filter(
    (incident) =>
      incident.class === rule.id && inWindow([incident.onsetStep, incident.recoveredStep ?? Infinity]),
  );
  const tasks = report.tasks.filter(
    (task) => task.class === rule.id && inWindow([task.onsetStep ?? -Infinity, Infinity]),
  );
  const isClass =
    report.verdict.class === rule.id && inWindow([report.verdict.onsetStep ?? -Infinity, Infinity]);
  const found = Math.max(findings.length, incidents.length, tasks.length, isClass ? 1 : 0);
  const skipped = report.notRun.find(({ id }) => id === rule.id);
  const ran = report.detectorsRun;
  if (
    ran !== undefined &&
    !ran.includes(rule.id) &&
    !isVerdict(rule.id) &&
    found === 0 &&
    skipped === undefined
  )
    return { missing: 'the report does not say that the detector ran' };
  if (skipped !== undefined && found === 0) return { missing: `the detector did not run: ${skipped.reason}` };
  const first = findings[0];
  const series = first?.series ?? incidents[0]?.series ?? report.verdict.series;
  const step = first?.steps?.[0] ?? incidents[0]?.onsetStep ?? (isClass ? report.verdict.onsetStep : null);
  return {
    status: holds(found, '<=', rule.max) ? 'pass' : 'fail',
    expected,
    found,
    series: found === 0 ? null : series,
    step: found === 0 ? null : step,
    message:
      found === 0
        ? `no ${rule.id}${windowOf(rule)}`
        : (first?.message ?? (isClass ? report.verdict.why : `${found} ${rule.id} from step ${step}`)),
    locations: findings.flatMap(({ locations }) => locations),
  };
}

const isVerdict = (id: string): boolean => (VERDICT_CLASSES as readonly string[]).includes(id);

/** Series by name, then by glob over names, then by role. */
function seriesFor(metric: string, report: RunReport): readonly ChartSeries[] {
  const all = [...report.series, ...curvatureSeries(report)];
  const named = all.filter(({ name }) => name === metric);
  if (named.length > 0) return named;
  return all.filter(isGlob(metric) ? ({ name }) => matchesGlob(name, metric) : ({ role }) => role === metric);
}

/** Numbers of the curvature entries under names that a threshold can use. */
function curvatureSeries(report: RunReport): readonly ChartSeries[] {
  const quantities = [
    { name: 'curvature.ratio', of: (k: number) => report.curvature[k]!.stability.ratio },
    { name: 'curvature.eigenvalue', of: (k: number) => report.curvature[k]!.eigenvalues[0]?.value ?? null },
  ];
  return quantities.flatMap(({ name, of }) => {
    const entries = report.curvature.map((entry, k) => ({ step: entry.step ?? k, value: of(k) }));
    const known = entries.filter((entry): entry is { step: number; value: number } => entry.value !== null);
    if (known.length === 0) return [];
    const step = Float64Array.from(known, (entry) => entry.step);
    const value = Float64Array.from(known, (entry) => entry.value);
    const steps = [...step];
    const values = [...value];
    return [
      {
        name,
        role: 'other' as const,
        points: known.length,
        firstStep: steps,
        lastStep: steps,
        min: values,
        max: values,
        nonFinite: values.map((x) => (Number.isFinite(x) ? 0 : 1)),
        endsEarly: false,
        statistics: seriesStatistics({ step, value }),
      },
    ];
  });
}

/** A threshold must hold on every series that it names. */
function judgeThreshold(
  rule: RuleConfig & { threshold: Threshold },
  report: RunReport,
  run: Run | undefined,
): Judgement {
  const { metric } = rule.threshold;
  const matching = seriesFor(metric, report);
  if (matching.length === 0) {
    const names = report.series.map(({ name }) => name);
    const near = nearest(metric, [...names, ...ROLES]);
    const what = isGlob(metric) ? `no series matches "${metric}"` : `no series "${metric}"`;
    return {
      missing: `${what}; nearest: ${near === '' ? 'none' : near}; found: ${names.join(', ') || 'none'}`,
    };
  }
  const judged = matching.map((series) => judgeSeries(rule, series, report, run));
  const absent = judged.find((judgement) => 'missing' in judgement);
  return absent ?? worst(judged.map((judgement) => asJudged(judgement, rule)));
}

function judgeSeries(
  rule: RuleConfig & { threshold: Threshold },
  series: ChartSeries,
  report: RunReport,
  run: Run | undefined,
): Judgement {
  const { statistic, operator, limit } = rule.threshold;
  const expected = `${statistic}(${series.name}) ${operator} ${limit}${windowOf(rule)}`;
  const statistics = statisticsIn(rule, series, run);
  if (statistics === undefined)
    return inconclusive(
      expected,
      series.name,
      'a saved report keeps no points, so a step window cannot be judged on it; gate the log itself',
    );
  const value = statisticOf(statistics, statistic);
  if (value === undefined) return { missing: `the series ${series.name} has no points${windowOf(rule)}` };
  // A window that ends before the series does is complete, however the series ends.
  if (!(rule.to <= series.statistics.lastStep) && stopsEarly(report, series))
    return inconclusive(expected, series.name, endsMessage(series));
  const nonFinite = statistics.nan + statistics.posInf + statistics.negInf;
  const { step, location } = pointOf(rule, series, run);
  // A failed warning lets the gate pass; a value that is no number must not, so it counts as not judged there.
  const failed = Number.isFinite(value) || rule.severity === 'error' ? 'fail' : 'inconclusive';
  return {
    status: holds(value, operator, limit) ? 'pass' : failed,
    expected,
    found: value,
    series: series.name,
    step:
      statistics.points > 0 && (statistic === 'last' || statistic === 'count') ? statistics.lastStep : step,
    message:
      `${statistic}(${series.name}) is ${formatNumber(value, 'lookup')}` +
      (Number.isFinite(value) || nonFinite === 0
        ? ''
        : `: ${nonFinite} of ${statistics.points} values are not finite`),
    locations: location === undefined ? [] : [location],
  };
}

/** Statistics over the rule's window; undefined where only the points could tell. */
function statisticsIn(
  rule: RuleConfig,
  series: ChartSeries,
  run: Run | undefined,
): SeriesStatistics | undefined {
  const whole =
    series.firstStep.every((step) => step >= rule.from) && series.lastStep.every((step) => step <= rule.to);
  if (whole) return series.statistics;
  const logged = run?.series.find(({ name }) => name === series.name);
  if (logged === undefined) return undefined;
  const inside = logged.step.map((step) => (touches(step, step, rule.from, rule.to) ? 1 : 0));
  return seriesStatistics({
    step: logged.step.filter((_, i) => inside[i] === 1),
    value: logged.value.filter((_, i) => inside[i] === 1),
  });
}

/** Where the compared value was logged, for the statistics that are one point of the series. */
function pointOf(
  rule: RuleConfig & { threshold: Threshold },
  series: ChartSeries,
  run: Run | undefined,
): { step: number | null; location?: SourceRef } {
  const { statistic } = rule.threshold;
  const logged = run?.series.find(({ name }) => name === series.name);
  if (run === undefined || logged === undefined) return { step: null };
  let at = -1;
  for (let i = 0; i < logged.value.length; i++) {
    if (!touches(logged.step[i]!, logged.step[i]!, rule.from, rule.to)) continue;
    const value = logged.value[i]!;
    if (at === -1 && statistic !== 'nan') at = i;
    else if (statistic === 'last') at = i;
    else if (statistic === 'max' && value > logged.value[at]!) at = i;
    else if (statistic === 'min' && value < logged.value[at]!) at = i;
    // The first non-finite value is why the statistic is none.
    if (!Number.isFinite(value) && statistic !== 'first' && statistic !== 'last' && statistic !== 'count') {
      at = i;
      break;
    }
  }
  const point = statistic === 'first' || statistic === 'last' || statistic === 'max' || statistic === 'min';
  if (at === -1 || !(point || !Number.isFinite(logged.value[at]!))) return { step: null };
  return { step: logged.step[at]!, location: placeOf(run, logged, at) };
}

type Judged = Exclude<Judgement, { readonly missing: string }>;

const asJudged = (judgement: Judgement, rule: RuleConfig): Judged =>
  'missing' in judgement
    ? (inconclusive(rule.id + windowOf(rule), null, judgement.missing) as Judged)
    : judgement;

const ORDER: readonly RuleStatus[] = ['pass', 'inconclusive', 'fail'];

/** The first of the worst: a failure outranks what could not be judged. */
function worst(judged: readonly Judged[]): Judged {
  return judged.reduce((a, b) => (ORDER.indexOf(b.status) > ORDER.indexOf(a.status) ? b : a));
}

/** One value for all seeds of a setting. A seed that could not be judged leaves the setting unjudged. */
function joinSeeds(judged: readonly Judged[], rule: RuleConfig, how: 'median' | 'mean' | 'best'): Judged {
  const unjudged = judged.find(({ status }) => status === 'inconclusive');
  if (unjudged !== undefined) return unjudged;
  if (how === 'best') return judged.find(({ status }) => status === 'pass') ?? judged[0]!;
  const { operator, limit } = rule.threshold ?? { operator: '<=', limit: rule.max };
  const values = Float64Array.from(judged, ({ found }) => found ?? Number.NaN);
  // A median that left NaN out would hide the seed that broke.
  const finite = values.every((value) => Number.isFinite(value));
  const value = !finite
    ? Number.NaN
    : how === 'mean'
      ? values.reduce((a, b) => a + b, 0) / values.length
      : medianInPlace(values);
  return {
    ...worst(judged),
    status: holds(value, operator, limit) ? 'pass' : 'fail',
    found: value,
    step: null,
    message: `${how} over ${judged.length} seeds is ${formatNumber(value, 'lookup')} (${[...values].map((one) => formatNumber(one, 'lookup')).join(', ')})`,
  };
}
