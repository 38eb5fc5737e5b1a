/** From sections to reports: that of a run, and the one over all of them. */
import { restartFrom, withStateFile } from '../../experiment/cause/state-file.ts';
import { remedyAdvice, wayBack } from '../../experiment/cause/way-back.ts';
import { adviceOf, rewindAdvice } from '../../judge/detectors/rewind.ts';
import type { Audit } from '../../model/audit.ts';
import type { ErrorRecord } from '../../model/errors.ts';
import { type Finding, SEVERITIES } from '../../model/finding.ts';
import { numberFromJson } from '../../model/json.ts';
import { distanceToNext } from '../../model/order-statistics.ts';
import {
  type Report,
  type ReportInput,
  type RunReport,
  type RunVerdict,
  SCHEMA_VERSION,
  VERDICT_CLASSES,
} from '../../model/report.ts';
import type { Run } from '../../model/run.ts';
import { runsTable } from '../../model/runs-table.ts';
import { summariseSeries } from '../../model/series-summary.ts';
import { logAlone, type RunEvidence } from './evidence.ts';
import { type Judgement, type JudgeOptions, judgementOf } from './judge-run.ts';
import { seriesThatEnd } from './series-end.ts';
import { fromLogAlone, type WhatIf } from './what-if.ts';

/** Buckets kept per series for charts. Series that play no role keep fewer: a wide CSV has a hundred of them. */
const BUCKETS = 1000;
const BUCKETS_OF_OTHERS = 100;

/** Gravest first, then in the order of steps. */
const bySeverity = (a: Finding, b: Finding): number =>
  SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity) ||
  (a.steps?.[0] ?? 0) - (b.steps?.[0] ?? 0);

/** The report of a run from its sections. */
export function runReport(
  evidence: RunEvidence,
  judgement: Judgement,
  whatIf: WhatIf,
  audit: Audit | null = null,
): RunReport {
  const { run } = evidence;
  const { judged, thresholds, detectorsRun, failedDetectors } = judgement;
  const findings = [...judgement.findings].sort(bySeverity);
  const { cause } = whatIf;
  const remedies = withStateFile(
    whatIf.remedies,
    cause,
    judgement.restartPoints.filter(({ optimizerState }) => optimizerState),
  );
  // Advice of experiments replaces that of the findings, which know nothing of this run.
  const tried = remedies.some((remedy) => remedy.tried !== null && remedy.holds === true);
  const points = restartFrom(judgement.restartPoints, remedies);
  const rewind = wayBack(
    judged.verdict,
    remedies,
    rewindAdvice(run, { verdict: beforeCause(judged.verdict, cause) }, points),
    judgement.restartPoints,
  );
  const ended = seriesThatEnd(run);
  return {
    id: run.id,
    paths: run.paths,
    stepUnit: run.stepUnit,
    ...plannedOf(run),
    attempts: run.attempts.length,
    attemptList: run.attempts,
    verdict: judged.verdict,
    tasks: judged.tasks,
    ...(Object.keys(thresholds).length === 0 ? {} : { thresholds }),
    findings,
    detectorsRun,
    notRun: [...judgement.notRun, ...evidence.notRun, ...whatIf.notRun],
    failedDetectors,
    advice: tried ? remedyAdvice(remedies) : adviceOf(findings, rewind),
    rewind,
    series: run.series.map((s) => ({
      ...summariseSeries(s, s.role === 'other' ? BUCKETS_OF_OTHERS : BUCKETS),
      endsEarly: ended.has(s),
    })),
    // Defines own members, `__proto__` too. A text that reads as JSON writes a number is one, here as in a saved report.
    hyperparameters: Object.fromEntries(
      Array.from(run.hyperparameters, ([name, value]) => [name, numberFromJson(value) ?? value]),
    ),
    notes: [...new Set([...run.notes, ...evidence.notes, ...whatIf.notes])],
    ...(run.job === undefined ? {} : { job: run.job }),
    cause,
    remedies,
    replay: whatIf.replay,
    curvature: whatIf.curvature,
    ...(audit === null ? {} : { audit }),
  };
}

/** Where training was to end, if the log ends more than one of its records before. */
function plannedOf({ planned, series }: Run): Pick<RunReport, 'planned'> {
  const axis = series.find(({ role }) => role === 'loss' || role === 'task_loss') ?? series[0];
  if (planned === undefined || axis === undefined || axis.step.length === 0) return {};
  const next = axis.step.at(-1)! + distanceToNext(axis.step);
  return next < planned ? { planned } : {};
}

/** A verdict whose onset is the first harmful step, where that lies before it: what came between is nothing to go back to. */
function beforeCause(verdict: RunVerdict, { step }: WhatIf['cause']): RunVerdict {
  const { onsetStep, lastGoodStep } = verdict;
  if (step === null || onsetStep === null || lastGoodStep === null || step > lastGoodStep) return verdict;
  return { ...verdict, onsetStep: step, lastGoodStep: Math.max(0, step - 1) };
}

/** The report of a run of which only the log is known, without a replay. */
export function diagnoseRun(run: Run, options: JudgeOptions = {}): RunReport {
  const evidence = logAlone(run);
  const judgement = judgementOf(evidence, options);
  return runReport(evidence, judgement, fromLogAlone(run, judgement.judged));
}

const NOTHING_JUDGED: RunVerdict = {
  class: 'inconclusive',
  series: null,
  onsetStep: null,
  lastGoodStep: null,
  recoveredStep: null,
  why: 'no run was found',
  incidents: [],
};

/** The class that outranks: the worst incident decides. */
const rank = (verdict: RunVerdict): number => VERDICT_CLASSES.indexOf(verdict.class);

/** What a report is made of. */
export interface ReportParts
  extends Pick<Report, 'toolVersion' | 'createdAt' | 'budget' | 'skipped' | 'comparison'> {
  readonly inputs: readonly ReportInput[];
  readonly runs: readonly RunReport[];
  readonly warnings: readonly ErrorRecord[];
}

/** Assembles the report; the verdict is the worst run's. */
export function assembleReport({ inputs, runs, skipped, warnings, ...about }: ReportParts): Report {
  const worst = runs.reduce<RunReport | undefined>(
    (a, b) => (a === undefined || rank(b.verdict) > rank(a.verdict) ? b : a),
    undefined,
  );
  return {
    schemaVersion: SCHEMA_VERSION,
    ...about,
    inputs,
    verdict: { run: worst?.id ?? null, ...(worst?.verdict ?? NOTHING_JUDGED) },
    runs,
    ...(runs.length > 1 ? { table: runsTable({ runs }) } : {}),
    skipped,
    warnings,
  };
}
