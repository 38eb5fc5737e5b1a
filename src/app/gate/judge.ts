/**
 * The gate: a policy judged on a report. Pure. Passing needs proof: a rule that could not be judged on complete data,
 * for whatever reason, is `inconclusive`, and so is the gate.
 */

import type { RunComparison } from '../../model/comparison.ts';
import type { Severity } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import type { GateProblem, GateResult, GateRule } from '../../model/gate.ts';
import { medianInPlace } from '../../model/order-statistics.ts';
import type { Report, RunReport } from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { judgeBaseline } from './baseline.ts';
import type { Baseline } from './baseline-file.ts';
import { otherThresholds, rulesFor } from './for-run.ts';
import { judgeFindings } from './judge-findings.ts';
import { judgeSameAs } from './judge-same-as.ts';
import { judgeThreshold, refusedIn } from './judge-series.ts';
import { asJudged, type Judged, type Judgement, worst } from './judgement.ts';
import { reportProblems, runProblems } from './problems.ts';
import type { GateConfig, RuleConfig } from './resolve-config.ts';
import { failsForGood, holds, type Threshold } from './thresholds.ts';

export interface GateEvidence {
  readonly report: Report;
  /**
   * The runs behind the report by id, for step windows; empty for a saved report, which keeps statistics over whole
   * series only.
   */
  readonly runs: ReadonlyMap<string, Run>;
  /** Of each run, by its id, the comparisons that rules ask for, by the absolute path of the other run. */
  readonly comparisons?: ReadonlyMap<string, ReadonlyMap<string, RunComparison>>;
  /** The baseline that the config names. */
  readonly baseline: Baseline | null;
}

/**
 * Judges a config on a report.
 *
 * The exit code: 3 where an input is damaged, else 1 where a rule of severity `error` finally fails, else 4 where anything
 * could not be judged on complete data, else 0. A failed rule of another severity is `passed: false` and changes no code.
 */
export function judgeGate(evidence: GateEvidence, config: GateConfig): GateResult {
  const { report } = evidence;
  const found: Found = { problems: reportProblems(report, config), rules: [], skipped: [] };
  for (const runs of groupsOf(report.runs, config)) {
    const group = readRuns(runs, evidence, config, found);
    for (const rule of rulesFor(group.runs[0], config)) judgeOnGroup(rule, group, evidence, config, found);
    judgeOnBaseline(group, evidence, config, found);
  }
  const { problems, rules, skipped } = found;
  if (config.baseline !== null && config.baseline.severity !== 'off' && evidence.baseline === null)
    problems.push({ exitCode: 3, id: 'baseline-missing', run: null, message: 'the baseline was not read' });
  if (rules.length === 0)
    problems.push({ exitCode: 4, id: 'nothing-judged', run: null, message: 'no rule was judged' });
  const exitCode = codeOf(rules, problems);
  return { passed: exitCode === 0, exitCode, rules, problems, skipped };
}

/** What a gate has found so far. */
interface Found {
  readonly problems: GateProblem[];
  readonly rules: GateRule[];
  readonly skipped: GateResult['skipped'][number][];
}

/** Runs that differ in their seed alone, or one run. */
interface Group {
  readonly id: string;
  readonly runs: readonly [RunReport, ...RunReport[]];
}

/** A group whose runs were looked at for damage and gaps. */
interface ReadGroup extends Group {
  /** Whether something of a run is missing, so that what fails now may still change. */
  readonly isIncomplete: boolean;
  /** Of each run, with what other thresholds its report was made; null where with the config's. */
  readonly madeWithOthers: ReadonlyMap<RunReport, string | null>;
}

/** Adds the damage and the gaps of the runs of a group to what was found. */
function readRuns(group: Group, evidence: GateEvidence, config: GateConfig, found: Found): ReadGroup {
  const madeWithOthers = new Map<RunReport, string | null>();
  let isIncomplete = found.problems.some((problem) => problem.run === null);
  for (const run of group.runs) {
    madeWithOthers.set(run, otherThresholds(run, config));
    found.skipped.push(...unreadOf(run));
    const own = runProblems(run, config, !evidence.runs.has(run.id));
    found.problems.push(...own);
    isIncomplete ||= own.length > 0;
  }
  return { ...group, isIncomplete, madeWithOthers };
}

/** Judges one rule on one group, unless it is off. */
function judgeOnGroup(
  rule: RuleConfig,
  { id, runs, isIncomplete, madeWithOthers }: ReadGroup,
  evidence: GateEvidence,
  config: GateConfig,
  { problems, rules, skipped }: Found,
): void {
  const { severity } = rule;
  if (severity === 'off') return;
  if (rule.threshold !== null)
    for (const run of runs) problems.push(...refusedProblems(rule.threshold, run, problems));
  const judged = runs.map((run) => judgeRule(rule, run, evidence, madeWithOthers.get(run)!));
  const absent = judged.find((judgement) => 'missing' in judgement);
  if (absent !== undefined && rule.missing !== 'error') {
    const asSkipped = rule.missing === 'warn' ? 'warning' : 'note';
    skipped.push({ id: rule.id, run: id, severity: asSkipped, reason: absent.missing });
    return;
  }
  const joined = joinSeeds(
    judged.map((judgement) => asJudged(judgement, rule)),
    rule,
    config.aggregate,
    runs,
  );
  const mayChange =
    joined.status === 'fail' && isIncomplete && rule.threshold !== null && !failsForGood(rule.threshold);
  const told: Judged = mayChange
    ? {
        ...joined,
        status: 'inconclusive',
        message: `${joined.message}; the run is not complete, so this may change`,
      }
    : joined;
  rules.push(asRule(rule.id, id, severity, told));
}

/** Judges each run of a group on the baseline, where there is one. */
function judgeOnBaseline(
  { runs, madeWithOthers }: ReadGroup,
  { baseline }: GateEvidence,
  config: GateConfig,
  { rules }: Found,
): void {
  if (config.baseline === null || config.baseline.severity === 'off' || baseline === null) return;
  const { severity, tolerance } = config.baseline;
  for (const run of runs)
    for (const judged of judgeBaseline(run, baseline, tolerance, madeWithOthers.get(run)!))
      rules.push(asRule('baseline', run.id, severity, judged));
}

/** Text where a rule reads numbers: values that it does not see. Each series is reported once. */
const refusedProblems = (
  threshold: Threshold,
  run: RunReport,
  known: readonly GateProblem[],
): GateProblem[] =>
  [...refusedIn(threshold, run)]
    .map(([series, count]) => ({
      exitCode: 3 as const,
      id: 'refused-values',
      run: run.id,
      message: `${count} cells of the series ${series} are text, not numbers, and a rule reads it`,
    }))
    .filter(({ message }) => !known.some((one) => one.run === run.id && one.message === message));

/** Files in the folder of a log that were not looked at: reported, whether or not a rule needs them. */
const unreadOf = ({ id: run, notRun }: RunReport): GateResult['skipped'] =>
  notRun
    .filter(({ id }) => UNREAD.has(id))
    .map(({ id, reason }) => ({ id, run, severity: 'note' as const, reason }));
const UNREAD: ReadonlySet<string> = new Set(['checkpoints', 'captures', 'replay']);

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

function judgeRule(
  rule: RuleConfig,
  report: RunReport,
  { runs, comparisons }: GateEvidence,
  otherThresholds: string | null,
): Judgement {
  if (rule.sameAs !== undefined)
    return judgeSameAs(rule.sameAs, comparisons?.get(report.id)?.get(rule.sameAs));
  const run = runs.get(report.id);
  return rule.threshold === null
    ? judgeFindings(rule, report, run, otherThresholds)
    : judgeThreshold({ ...rule, threshold: rule.threshold }, report, run);
}

/** `lr-0.1/seed-3/log.csv` and `lr-0.1/seed-4/log.csv` are one setting; `prep1` and `prep2` are two. */
const SEED = /(?<![a-z])(seed|rep|trial)([-_=.]?)\d+/gi;

function groupsOf(runs: readonly RunReport[], config: GateConfig): Group[] {
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

/**
 * One value for all seeds of a setting. A seed that could not be judged leaves the setting unjudged, and one whose loss
 * or value is not finite fails it: a better seed does not make it a number.
 */
function joinSeeds(
  judged: readonly Judged[],
  rule: RuleConfig,
  how: GateConfig['aggregate'],
  runs: readonly RunReport[],
): Judged {
  if (how === 'worst' || rule.sameAs !== undefined) return worst(judged);
  const unjudged = judged.find(({ status }) => status === 'inconclusive');
  if (unjudged !== undefined) return unjudged;
  const broken = judged.find(
    ({ status, found }, k) =>
      status === 'fail' &&
      (runs[k]?.verdict.class === 'non-finite' || (found !== null && !Number.isFinite(found))),
  );
  if (how === 'best' && broken !== undefined) return broken;
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
