/** Rules that are kinds of findings or classes of verdict. Pure. */

import { AUDIT_FINDINGS, AUDIT_RULE } from '../../judge/findings/audit-links.ts';
import { FINDINGS, findingsOfRule, sourceOf } from '../../judge/findings/registry.ts';
import type { Finding } from '../../model/finding.ts';
import type { RunReport } from '../../model/report.ts';
import type { Role, Run, TimeSeries } from '../../model/run.ts';
import { causeWords } from '../../report/cause-words.ts';
import { inconclusive, type Judgement, notInWindow, windowOf } from './judgement.ts';
import type { RuleConfig } from './resolve-config.ts';
import { holds, touches } from './thresholds.ts';

/**
 * A kind of finding or a class of verdict: at most `max` in the window. More than that fail it whatever else is unknown;
 * otherwise it holds only where all there is was looked at.
 */
export function judgeFindings(
  rule: RuleConfig,
  report: RunReport,
  run: Run | undefined,
  otherThresholds: string | null,
): Judgement {
  const expected = `at most ${rule.max} ${rule.id === AUDIT_RULE ? 'broken links' : rule.id}${windowOf(rule)}`;
  const unknown = otherThresholds ?? notInWindow(rule, report.series, readBy(rule.id, run));
  if (unknown !== null) return inconclusive(expected, null, unknown);
  const kinds = findingsOfRule(rule.id);
  const crashed = report.failedDetectors.find(({ id }) => kinds.includes(id));
  if (crashed !== undefined)
    return inconclusive(expected, null, `the detector failed: ${crashed.error.message}`);
  const inWindow = (steps: Finding['steps']): boolean =>
    steps === null || touches(steps[0], steps[1], rule.from, rule.to);
  const findings = report.findings.filter(
    (finding) => kinds.includes(finding.id) && !isExplained(finding) && inWindow(finding.steps),
  );
  const incidents = report.verdict.incidents.filter(
    (incident) =>
      incident.class === rule.id && inWindow([incident.onsetStep, incident.recoveredStep ?? Infinity]),
  );
  const tasks = report.tasks.filter(
    (task) => task.class === rule.id && inWindow([task.onsetStep ?? -Infinity, Infinity]),
  );
  const isClass =
    report.verdict.class === rule.id && inWindow([report.verdict.onsetStep ?? -Infinity, Infinity]);
  const told = findings.reduce((sum, { more = 0 }) => sum + 1 + more, 0);
  const found = Math.max(told, incidents.length, tasks.length, isClass ? 1 : 0);
  const open = found > rule.max ? null : notProven(rule, report, findings, expected);
  if (open !== null) return open;
  const first = findings[0];
  const series = first?.series ?? incidents[0]?.series ?? report.verdict.series;
  // Null where nothing was found.
  const step = first?.steps?.[0] ?? incidents[0]?.onsetStep ?? (isClass ? report.verdict.onsetStep : null);
  return {
    status: holds(found, '<=', rule.max) ? 'pass' : 'fail',
    expected,
    found,
    series: found === 0 ? null : series,
    step,
    message:
      found === 0
        ? `no ${rule.id === AUDIT_RULE ? 'broken link' : rule.id}${windowOf(rule)}`
        : (first?.message ?? (isClass ? report.verdict.why : `${found} ${rule.id} from step ${step}`)) +
          causeOf(report, step),
    locations: findings.flatMap(({ locations }) => locations),
  };
}

/** Whether what a finding names is as it should be, so that it is a note where others of its kind are not: a step that a loss scaler skipped. */
const isExplained = ({ id, severity }: Finding): boolean =>
  severity === 'note' &&
  Object.hasOwn(FINDINGS, id) &&
  FINDINGS[id as keyof typeof FINDINGS].severity !== 'note';

/** Why few findings are no proof that there are no more; null where all there is was looked at. */
function notProven(
  rule: RuleConfig,
  report: RunReport,
  findings: readonly Finding[],
  expected: string,
): Judgement | null {
  const proof = provenBy(rule.id);
  const unread = report.notRun.find(({ id }) => id === sourceOf(proof));
  if (unread !== undefined) return inconclusive(expected, null, `${unread.id}: ${unread.reason}`);
  const isOfAudit = Object.hasOwn(AUDIT_FINDINGS, proof);
  const absent =
    report.notRun.find(({ id }) => id === proof) ??
    (isOfAudit ? report.notRun.find(({ id }) => id === AUDIT_RULE) : undefined);
  if (absent !== undefined) return { missing: `not looked for: ${absent.reason}` };
  const ran = !Object.hasOwn(FINDINGS, proof) || report.detectorsRun?.includes(proof) === true;
  if (!ran) return inconclusive(expected, null, 'the report does not say that it was looked for');
  const more = findings.find((finding) => finding.more !== undefined);
  return more !== undefined && windowOf(rule) !== ''
    ? inconclusive(expected, more.series, `${more.more} more follow whose steps the report does not say`)
    : null;
}

/** What of a log each kind of finding reads, where that is not the loss. */
const ROLES_READ: readonly (readonly [RegExp, readonly Role[]])[] = [
  [/gradient|clipping/, ['grad_norm', 'clip']],
  [/update/, ['update_norm']],
  [/eval|overfit/, ['eval_loss']],
  [/metric|reward/, ['metric']],
  [/learning-rate/, ['learning_rate']],
];
const LOSSES: readonly Role[] = ['loss', 'task_loss'];

/**
 * The series in which a kind of finding must have a point in the window: without one it would hold because nothing was
 * looked at. All series where the run has none of that kind; null where a saved report did not keep points.
 */
function readBy(rule: string, run: Run | undefined): readonly TimeSeries[] | null {
  if (run === undefined) return null;
  const roles = ROLES_READ.find(([pattern]) => pattern.test(rule))?.[1] ?? LOSSES;
  const read = run.series.filter(({ role }) => roles.includes(role));
  return read.length > 0 ? read : run.series;
}

/**
 * The kind of finding that must have been looked for. Links that a recording leaves open do not keep the audit from
 * holding, but without the comparison of the weights it says nothing.
 */
const provenBy = (rule: string): string => (rule === AUDIT_RULE ? 'audit-optimizer' : rule);

/** Why the incident that a rule found came about, where something is known of it: a finding elsewhere has another cause. */
function causeOf({ cause }: RunReport, step: number | null): string {
  if (cause === undefined || cause.confidence === null || cause.onsetStep !== step) return '';
  return ` Why: ${causeWords(cause)}.`;
}
