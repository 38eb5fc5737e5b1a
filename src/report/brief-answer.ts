/**
 * The answer of the brief page, in plain words: what happened to a run, where, why, and what to do. Each part says what is
 * known and nothing else; a run that recovered gets no orders.
 */

import { brokenLinks } from '../model/audit.ts';
import { brokenLinkHeadline } from '../model/audit-words.ts';
import type { Cause } from '../model/cause.ts';
import { decidingSeries } from '../model/deciding-series.ts';
import { failureLeads, failureWords } from '../model/failure-words.ts';
import { type Finding, SEVERITIES } from '../model/finding.ts';
import { formatCount } from '../model/format-number.ts';
import { incidentClause, incidentHeadline, isIncidentClass, NOT_BACK } from '../model/incident-words.ts';
import { inertName } from '../model/inert-text.ts';
import { listed } from '../model/listed.ts';
import { pathParts } from '../model/path-parts.ts';
import { type Incident, isBack, type Report, type RunReport } from '../model/report.ts';
import type { StepUnit } from '../model/run.ts';
import { areOnOneScale } from '../model/words.ts';
import type { Answer } from './answer.ts';
import { CONFIDENCE, isTold, TRIGGERS } from './cause-words.ts';
import { CLASS_MOODS } from './class-paint.ts';
import { titleOfFinding } from './finding-words.ts';
import { damageLines } from './input-losses.ts';
import { jobAnswer } from './job-answer.ts';
import { at, brief, capital, plural, sentences } from './page-words.ts';
import { proofsOf } from './proof-line.ts';
import { overBatches, triedOf } from './tried.ts';
import { fixOf, isDeadFromTheStart, isOfDataAlone } from './what-to-do.ts';
import { isLeading, isOver, leading, WORSE } from './where-it-ends.ts';

/** The title of a run without an incident. A further warning does not change it. */
export const HEALTHY_TITLE = 'HEALTHY';

const quoted = (names: readonly string[]): string => listed(names.map((name) => `\`${inertName(name)}\``));

/** Columns that a path may take. */
const PATH_WIDTH = 48;

/** The end of a path: names tell files of one tree apart. */
function shortPath(path: string): string {
  const parts = pathParts(path);
  let end = parts.pop()!;
  while (parts.length > 0 && end.length + parts.at(-1)!.length < PATH_WIDTH) end = `${parts.pop()}/${end}`;
  return parts.length === 0 ? end : `…/${end}`;
}

/** The first step from which the deciding loss stays NaN or infinite; undefined where it is the onset. */
function noNumberFrom({ verdict, findings }: RunReport): number | undefined {
  const found = findings.find(
    ({ id, series }) => id === 'non-finite-loss' && series !== null && series === verdict.series,
  );
  const from = found?.steps?.[0];
  return from === undefined || verdict.onsetStep === null || from <= verdict.onsetStep ? undefined : from;
}

/** Whether a loss that rose ends at about its earlier level. */
function isNearlyBack(run: RunReport): boolean {
  const { before, after } = leading(run) ?? {};
  return before != null && after != null && before > 0 && after <= WORSE * before;
}

/** Whether the loss ends at zeros, which may be how its trainer prints NaN. */
const isExactlyZero = (run: RunReport): boolean => leading(run)?.peak === 0;

/** Whether a loss that ends in NaN has finite points after its first NaN or infinity. */
const isFiniteAfter = (series: ReturnType<typeof decidingSeries>, { peakStep }: Incident): boolean =>
  series?.firstStep.some((step, column) => step > peakStep && Number.isFinite(series.min[column])) ?? false;

const LEARNT_NOTHING = 'LEARNT NOTHING';

function titleOf(run: RunReport): string {
  const { verdict, stepUnit } = run;
  const where = verdict.onsetStep === null ? '' : at(verdict.onsetStep, stepUnit);
  switch (verdict.class) {
    case 'healthy':
      return HEALTHY_TITLE;
    case 'inconclusive':
      return where === '' ? 'CANNOT TELL' : incidentHeadline('inconclusive', where, isNearlyBack(run));
    case 'never-learned':
      return LEARNT_NOTHING;
    case 'micro-divergence':
      if (isBack(verdict))
        return `RECOVERED from ${Number.isFinite(leading(run)?.peak ?? 0) ? 'a rise' : String(leading(run)!.peak)} at ${where}`;
      return isOver(run) ? `ROSE at ${where}` : `SETTLED HIGHER since ${where}`;
    case 'drift':
    case 'full-divergence':
      return isOfDataAlone(run)
        ? `LOSS UP since ${where}: the data changed, the weights are unharmed`
        : incidentHeadline(verdict.class, where);
    case 'non-finite': {
      if (isExactlyZero(run)) return `EXACTLY 0 from ${where} to the end`;
      const from = noNumberFrom(run);
      return from === undefined
        ? incidentHeadline('non-finite', where)
        : `${incidentHeadline('full-divergence', where)}, ${incidentHeadline('non-finite', at(from, stepUnit))}`;
    }
  }
}

/** Times the level after it from which on the highest point of a drift is said: a drift has no peak of its own. */
const PEAK = 3;

/** Times the first loss above which the level of the first points is not that of the untrained model. */
const FIRST_STEPS = 2;

/** What the deciding series of a run without an incident did, from its first level to its last. */
function learntOf(run: RunReport): string {
  const { verdict } = run;
  const series = decidingSeries(run);
  if (verdict.class === 'inconclusive' || series === undefined) return verdict.why;
  const { first, last } = series.statistics;
  // One point may be a lucky one: levels, where they are known.
  const [level, to] = verdict.provenBy?.learnt.levels ?? [first, last];
  // First steps that throw the loss up are no level of the untrained model; nor is one low point that the loss never came back to.
  const from = level > FIRST_STEPS * first && first >= to ? first : level;
  return `${inertName(verdict.series ?? 'loss')} ${brief(from)} → ${brief(to)}`;
}

/** Whether a failure that goes on has the first line, and not the incident, which is over. */
const isAfterAll = (run: RunReport): boolean =>
  !failureLeads(run.cause?.failure, false) && failureLeads(run.cause?.failure, isOver(run));

/** Where a rise came back, and how the series ends. */
function cameBackOf(run: RunReport, { recoveredStep, recoveredIn }: Incident): string {
  const goesOn = run.series.find((one) => one.name === recoveredIn) ?? decidingSeries(run);
  const ends = goesOn === undefined ? '' : `, ends at ${brief(goesOn.statistics.last)}`;
  // A pattern goes on, though each of its rises comes back.
  if (recoveredStep === null || failureLeads(run.cause?.failure, false)) return ends;
  const back = recoveredIn === undefined ? ', back' : `; ${inertName(recoveredIn)} back`;
  const late = run.verdict.class === 'full-divergence' ? ': too late' : '';
  return `${back} at ${at(recoveredStep, run.stepUnit)}${late}${ends}`;
}

/** What the deciding series did, from its level before to its last. */
function changeOf(run: RunReport): string {
  const { verdict } = run;
  const incident = leading(run);
  const series = decidingSeries(run);
  const name = inertName(verdict.series ?? 'loss');
  if (incident === undefined || isAfterAll(run)) return learntOf(run);
  const isPattern = failureLeads(run.cause?.failure, false);
  const before = isPattern ? 'up to ' : incident.before == null ? '' : `${brief(incident.before)} → `;
  const peak = Number.isFinite(incident.peak) ? brief(incident.peak) : String(incident.peak);
  if (incident.recoveredStep !== null) return `${name} ${before}${peak}${cameBackOf(run, incident)}`;
  if (verdict.class === 'inconclusive') {
    // One point may be a lucky one: the median of the last ones, where they are enough.
    const last = incident.after ?? series?.statistics.last;
    return last == null || last === incident.peak
      ? `${name} ${before}${peak}, where the log ends`
      : `${name} ${before}${peak}, and ${brief(last)} where the log ends`;
  }
  if (verdict.class === 'non-finite') {
    if (isExactlyZero(run)) return `${name} ${before}0 to the end`;
    return `${name} ${before}no number ${isFiniteAfter(series, incident) ? 'at the end, finite now and then' : 'to the end'}`;
  }
  // A drift has no peak: its levels are reported.
  if (verdict.class === 'drift' && incident.after != null && !(incident.peak > PEAK * incident.after))
    return `${name} ${before}${brief(incident.after)}: no recovery`;
  // If a loss is highest at its end, nothing follows the peak.
  const endsAtPeak = incident.after === incident.peak || incident.peakStep === series?.lastStep.at(-1);
  const then =
    isPattern || incident.after == null || endsAtPeak || brief(incident.after) === peak
      ? ''
      : `, then ${brief(incident.after)}`;
  // A loss that falls too late for a recovery is reported with its end.
  const end =
    (isPattern || isOver(run)) && series !== undefined
      ? `, ends at ${brief(series.statistics.last)}`
      : ': no recovery';
  return `${name} ${before}${peak}${then}${end}`;
}

function factsOf(run: RunReport, { skipped, inputs }: Pick<Report, 'skipped' | 'inputs'>): string {
  const { attemptList, stepUnit } = run;
  const series = decidingSeries(run);
  const first = attemptList[0]?.firstStep;
  const ends = attemptList.at(-1)?.lastStep;
  const last = series?.statistics.lastStep ?? ends;
  const isGuess = inputs.some(({ path, readBy }) => readBy?.how === 'guess' && run.paths.includes(path));
  const same = skipped.filter(({ sameRun }) => sameRun !== undefined && run.paths.includes(sameRun));
  return [
    shortPath(inertName(run.id)),
    ...(same.length === 0
      ? []
      : [`also in ${listed(same.map(({ path }) => inertName(pathParts(path).at(-1)!)))}`]),
    ...(series === undefined ? [] : [plural(series.points, 'point')]),
    ...(series !== undefined && isGuess ? [`${inertName(series.name)} by guess`] : []),
    ...(first === undefined || last === undefined || Number.isNaN(first + last)
      ? []
      : [
          `${stepUnit}s ${formatCount(first)} to ${formatCount(last)}${run.planned === undefined ? '' : ` of ${formatCount(run.planned)}`}`,
          // A log may go on without the series that was judged.
          ...(ends !== undefined && ends > last ? [`the log goes on to ${formatCount(ends)}`] : []),
        ]),
    ...(run.attempts > 1 ? [plural(run.attempts, 'attempt')] : []),
    ...(leading(run) === undefined || series === undefined || !Number.isFinite(series.statistics.first)
      ? []
      : [`first ${inertName(series.name)} ${brief(series.statistics.first)}`]),
  ].join(' · ');
}

/** The first broken link of the audit, where the cause does not say it already; it is the cause where no other was found. */
function codeOf(
  { audit, cause, verdict }: RunReport,
  isCrash: boolean,
  fix: string | undefined,
): Answer['parts'] {
  const [first] = audit === undefined ? [] : brokenLinks(audit);
  const isCause = cause !== undefined && cause.trigger !== 'none-found';
  const isSaid =
    isCause &&
    first !== undefined &&
    first.step !== null &&
    // An option that changed is evidence of its own.
    (first.cause === 'options-changed' ? cause.evidence : cause.evidence.slice(0, 1)).some(
      ({ at: { step } }) => step === first.step,
    );
  if (first === undefined || isSaid || cause?.statement === first.statement) return [];
  const isOpen = !isCrash && cause?.trigger === 'none-found' && verdict.onsetStep !== null;
  const order = inertName(first.fix ?? '');
  return [
    {
      label: isOpen ? 'Why' : 'Code',
      // What to do may say it already.
      text: `${inertName(first.statement)}.${fix === sentences(order) ? '' : ` Try: ${order}.`}`,
    },
  ];
}

/** Number of rises from which their regular distance is reported. */
const EVENLY = 4;
/** Share of the reported rise that another one has to reach to be counted with it: noise is no such rise. */
const LIKE = 0.1;

/**
 * How often a loss rose, and how regularly: a rise every hundred steps is seldom caused by the step length. And that another
 * rise than the reported one did not come back.
 */
function howOften(run: RunReport): string | null {
  const { verdict, stepUnit } = run;
  const reported = leading(run);
  if (verdict.class !== 'micro-divergence' || reported === undefined) return null;
  const height = ({ peak, before }: Incident) => peak - (before ?? 0);
  const least = LIKE * Math.max(0, height(reported));
  const rises = verdict.incidents
    .filter((one) => one.class === 'micro-divergence' && one.series === verdict.series)
    // A rise without a number is no smaller one.
    .filter((one) => one.recoveredStep === null || !(height(one) < least))
    .sort((a, b) => a.onsetStep - b.onsetStep);
  if (rises.length < 2) return null;
  const steps = rises.map(({ onsetStep }) => onsetStep);
  const gaps = steps.slice(1).map((step, i) => step - steps[i]!);
  const [nearest, farthest] = [Math.min(...gaps), Math.max(...gaps)];
  const even = steps.length >= EVENLY && nearest > 0 && farthest <= 1.02 * nearest;
  const stayed = rises.filter(
    ({ recoveredStep, onsetStep }) => recoveredStep === null && onsetStep !== verdict.onsetStep,
  );
  const settled =
    stayed.length === 0
      ? ''
      : ` The loss settled higher at ${at(stayed[0]!.onsetStep, stepUnit)}${stayed[0]!.after == null ? '' : `, at ${brief(stayed[0]!.after)}`}${stayed.length > 1 ? ', and later again' : ''}.`;
  return `${plural(steps.length, stayed.length === 0 ? 'such rise' : 'rise')}, ${stepUnit}s ${formatCount(steps[0]!)} to ${formatCount(steps.at(-1)!)}${even ? `, one every ${formatCount(nearest)}` : ''}.${settled}`;
}

/** Which task was first, which metric is lost, or at least the line of the log; and how often. */
function whereOf(run: RunReport): string | null {
  const parts = failureLeads(run.cause?.failure, isOver(run))
    ? []
    : [placeOf(run), howOften(run)].filter((part) => part !== null);
  return parts.length === 0 ? null : parts.join(' ');
}

function placeOf(run: RunReport): string | null {
  const { stepUnit } = run;
  const hit = run.tasks
    .filter((task) => task.onsetStep !== null && task.class !== 'micro-divergence')
    .sort((a, b) => a.onsetStep! - b.onsetStep!);
  const lost = run.findings.filter(({ id }) => id === 'metric-collapse');
  const collapsed = lost.flatMap(({ series }) => {
    const last = run.series.find(({ name }) => name === series)?.statistics.last;
    return series === null || last === undefined ? [] : [{ name: series, last }];
  });
  const metrics =
    collapsed.length === 0
      ? []
      : [
          `${quoted(collapsed.map(({ name }) => name))} ${collapsed.length === 1 ? 'ends' : 'end'} at chance (${listed(collapsed.map(({ last }) => brief(last)))}).`,
        ];
  const fallen = run.findings
    .filter(({ id }) => id === 'reward-collapse')
    .map(({ message }) => `${inertName(message).replace(/\.$/, '')}.`);
  if (fallen.length > 0) return [...metrics, ...fallen].join(' ');
  if (hit.length > 0) {
    const first = hit[0]!.onsetStep!;
    const names = (step: number): string[] => hit.filter((t) => t.onsetStep === step).map((t) => t.name);
    const steps = [...new Set(hit.map((task) => task.onsetStep!))].slice(1);
    const later = steps
      .slice(0, 3)
      .map((step) => `${quoted(names(step))} ${plural(step - first, stepUnit)} later`);
    const calm = run.tasks.filter((task) => task.onsetStep === null).map((task) => task.name);
    return [
      `${names(first).length === 1 ? 'Task' : 'Tasks'} ${quoted(names(first))} broke first (${stepUnit} ${formatCount(first)})${later.length === 0 ? '' : `, ${listed(later)}`}` +
        `${calm.length > 0 && calm.length <= 4 ? `; ${quoted(calm)} not at all` : ''}.`,
      ...metrics,
    ].join(' ');
  }
  if (metrics.length > 0) return metrics.join(' ');
  const source = run.findings.find(
    (finding) => isLeading(finding, run) && finding.series === run.verdict.series,
  )?.locations[0];
  return source?.line === undefined
    ? null
    : `Line ${formatCount(source.line)} of ${shortPath(inertName(source.path))}.`;
}

function whyOf(cause: Cause | undefined): string | null {
  if (cause === undefined || !isTold(cause)) return null;
  // The statement of a known failure says how sure its cause is, and names it.
  if (cause.failure !== undefined) return sentences(cause.statement);
  if (cause.trigger === 'none-found') return `No cause was found. ${sentences(cause.statement)}`;
  const sure = cause.confidence === null ? '' : ` (${CONFIDENCE[cause.confidence]})`;
  return `${capital(TRIGGERS[cause.trigger])}${sure}. ${sentences(cause.statement)}`;
}

/** Whether what a named cause rests on lies in these steps. */
function isWithin(cause: Cause | undefined, steps: Finding['steps']): boolean {
  const at = cause?.trigger === 'none-found' ? null : (cause?.evidence[0]?.at.step ?? null);
  return at !== null && steps !== null && steps[0] <= at && at <= steps[1];
}

/**
 * Findings that are not in the first lines, the gravest first; of a run that is well what it noted, or null.
 *
 * @param isOfLoss whether the first line is that of the verdict
 */
function alsoOf(run: RunReport, noted: boolean, isOfLoss = true): { text: string; short: string } | null {
  const told = new Set<string>(
    run.verdict.class === 'healthy' || !isOfLoss
      ? []
      : [run.verdict.class, 'metric-collapse', 'reward-collapse'],
  );
  // The first line says it of the series that was judged.
  const broken = run.audit === undefined ? undefined : brokenLinks(run.audit)[0]?.statement;
  const { finding: ofFailure, leads } = failureWords(run.cause?.failure) ?? {};
  const isSaid = ({ id, series, steps, message }: Finding): boolean =>
    told.has(id) ||
    // A failure that leads the page says it of all rises of its loss.
    (leads && isIncidentClass(id) && series === run.verdict.series) ||
    // The same rise under another class: the first line says whether it came back.
    (isOfLoss &&
      isIncidentClass(id) &&
      series === run.verdict.series &&
      steps !== null &&
      steps[0] === run.verdict.onsetStep) ||
    (id === ofFailure && run.verdict.onsetStep === null) ||
    // A change that the cause names, or the line on the code, explains weights that the gradients do not.
    (id === 'capture-mismatch' && (broken !== undefined || isWithin(run.cause, steps))) ||
    // What ended in NaN has NaN in its weights.
    (id === 'non-finite-tensor' && run.verdict.class === 'non-finite') ||
    (id === 'non-finite-loss' && run.verdict.class === 'non-finite' && series === run.verdict.series) ||
    // The line on the code has the first broken link.
    (id.startsWith('audit-') && broken !== undefined && message.includes(broken));
  const kinds = new Map<string, { first: Finding; count: number }>();
  for (const finding of run.findings) {
    const { id, severity, more = 0 } = finding;
    if ((severity === 'note') !== noted || isSaid(finding)) continue;
    const known = kinds.get(id);
    kinds.set(id, { first: known?.first ?? finding, count: (known?.count ?? 0) + 1 + more });
  }
  const sorted = [...kinds.values()].sort(
    (a, b) => SEVERITIES.indexOf(b.first.severity) - SEVERITIES.indexOf(a.first.severity),
  );
  const [worst, ...others] = sorted;
  const again = noted ? null : openLater(run);
  if (worst === undefined) return again === null ? null : { text: again, short: again };
  const { severity } = worst.first;
  const kind = `${capital(severity)}${worst.count > 1 ? ` ×${worst.count}` : ''}: `;
  const lead = noted ? '' : kind;
  const more = others.length === 0 ? '' : ` ${plural(others.length, 'more finding')}.`;
  const before = again === null ? '' : `${again} `;
  return {
    text: `${before}${lead}${inWords(worst.first, run.stepUnit)}${more}`,
    short: again ?? `${lead}${titleOfFinding(worst.first)}.`,
  };
}

/** A rise after the one that the page is about, which the log does not see the end of; null where there is none. */
function openLater({ verdict, stepUnit }: RunReport): string | null {
  if (verdict.onsetStep === null || verdict.class === 'inconclusive') return null;
  const open = verdict.incidents.find(
    ({ class: kind, onsetStep }) => kind === 'inconclusive' && onsetStep > verdict.onsetStep!,
  );
  return open === undefined
    ? null
    : `The loss rises again at ${at(open.onsetStep, stepUnit)}, to ${brief(open.peak)}, and the log ends before it could come back.`;
}

/** A longer message is for the full page: here the title of the finding replaces it. */
const LONG = 130;

/** A finding without the words of the judge of incidents, which this page does not explain. */
function inWords(finding: Finding, unit: StepUnit): string {
  const { id, series, steps, message } = finding;
  if (id === 'capture-mismatch' && steps !== null)
    return `between ${unit}s ${formatCount(steps[0])} and ${formatCount(steps[1])} the weights changed in a way that the recorded gradients do not explain. Either something else wrote to the weights or to the optimizer’s state there, or the recording is wrong: look at what ran between these ${unit}s, then at capture.json.`;
  if (isIncidentClass(id) && series !== null && steps !== null) {
    const back = id === 'micro-divergence' && !message.includes(NOT_BACK) ? formatCount(steps[1]) : null;
    return `${incidentClause(id, `\`${inertName(series)}\``, at(steps[0], unit), back)}.`;
  }
  return `${message.length > LONG ? titleOfFinding(finding) : inertName(message).replace(/\.$/, '')}.`;
}

/** Inputs that were lost in part, left unread or refused. */
export function troubleOf({ inputs, warnings, skipped }: Report): string | null {
  const all = [
    ...damageLines(inputs),
    ...warnings.map(({ message }) => inertName(message)),
    ...unreadLogs(skipped.filter(({ saysLog }) => saysLog !== undefined)),
  ];
  if (all.length === 0) return null;
  return `${all[0]!.replace(/\.$/, '')}.${all.length > 1 ? ` ${plural(all.length - 1, 'more warning')}: --verbose.` : ''}`;
}

/** Whether something was lost of what a run was read from; of several runs, what belongs to none of them is the report's. */
function isTroubled({ paths }: RunReport, report: Report): boolean {
  if (report.runs.length < 2) return troubleOf(report) !== null;
  return damageLines(report.inputs.filter(({ path }) => paths.includes(path))).length > 0;
}

/** Files of a walked folder that seem to be logs, and could not be read. */
function unreadLogs(unread: Report['skipped']): string[] {
  const [first] = unread;
  if (first === undefined) return [];
  const name = `${inertName(pathParts(first.path).at(-1)!)}: ${inertName(first.reason)}`;
  return unread.length === 1
    ? [`One file that seems to be a log was not read (${name})`]
    : [`${formatCount(unread.length)} files that seem to be logs were not read (the first, ${name})`];
}

/** Steps by which a log that averages losses, or counts from another number, shows an incident later or earlier than its capture. */
const ONE_INCIDENT = 20;

/** That a capture in the folder of the log shows another incident, so it may belong to another run. */
function otherIncident({ cause, verdict: { onsetStep } }: RunReport): string | null {
  const told = cause?.onsetStep ?? null;
  if (told === null || onsetStep === null || Math.abs(told - onsetStep) <= ONE_INCIDENT) return null;
  return `Is the capture of this run? Its incident begins at ${at(told, 'step')}.`;
}

/** The first line of a run whose log shows a failure that the class of its loss does not say; null for any other. */
function titleOfFailure(run: RunReport): Pick<Answer, 'mood' | 'title'> | null {
  const { cause, verdict, stepUnit } = run;
  const words = failureWords(cause?.failure);
  if (cause === undefined || words === null || cause.step === null) return null;
  if (verdict.class !== 'healthy' && !failureLeads(cause.failure, isOver(run))) return null;
  return {
    mood: words.isWell === true ? 'good' : CLASS_MOODS[verdict.class] === 'bad' ? 'bad' : 'doubtful',
    title: words.headline(at(cause.step, stepUnit), cause.factor ?? null),
  };
}

const withoutCrash = (run: RunReport): RunReport => ({
  ...run,
  findings: run.findings.filter(({ id }) => id !== 'job-crashed'),
});

/** Whether the loss of a run without an incident ends no lower than it began, by the test or by the finding. */
const learntNothing = ({ verdict, findings }: RunReport): boolean =>
  verdict.class === 'healthy' &&
  (verdict.provenBy?.learnt.holds === false || findings.some(({ id }) => id === 'nothing-learnt'));

/** The metric or gradient norm that shows that nothing is learnt, of a run whose loss falls. */
function fallsWith({ verdict, findings, series }: RunReport): RunReport['series'][number] | undefined {
  if (verdict.provenBy?.learnt.holds !== true) return undefined;
  const found = findings.find((one) => one.id === 'nothing-learnt' && one.series !== verdict.series);
  return series.find(({ name }) => name === found?.series);
}

/** A loss that rises is not steady; one that falls may be so while a metric, or the gradient, shows that nothing is learnt. */
const titleOfNoFall = (run: RunReport): string => {
  const { verdict } = run;
  const other = fallsWith(run);
  if (other !== undefined)
    return other.role === 'metric'
      ? `THE LOSS FALLS, but ${inertName(other.name)} stays at chance`
      : 'THE LOSS FELL, but no gradient reaches the weights';
  const [first, last] = verdict.provenBy?.learnt.levels ?? [0, 0];
  return last > first ? 'THE LOSS ENDS HIGHER THAN IT BEGAN' : 'STEADY, but the loss does not fall';
};

/** The test that distinguishes what keeps a metric at chance while the loss falls. */
const TRAINING_ROWS =
  'Evaluate training rows the same way. Above chance: other labels or inputs in the evaluation, or rows known by heart.';
const tryOf = (run: RunReport): string => (fallsWith(run)?.role === 'metric' ? TRAINING_ROWS : ONE_BATCH);

/** The test that distinguishes what keeps a loss from falling. */
const ONE_BATCH =
  'Train on one batch alone for 200 steps: a loss that comes down to 0 there means that the net can learn, so look at labels and inputs. One that stays means that no gradient gets through: rate 0, dead units, frozen parameters.';

/** The first line of a run whose loss is healthy and which is not: what the code did, where that is all. */
function titleOfErrors({ audit, findings, stepUnit }: RunReport): string {
  const [first] = audit === undefined ? [] : brokenLinks(audit);
  const isOfCode = findings.every(({ severity, id }) => severity !== 'error' || id.startsWith('audit-'));
  return first !== undefined && isOfCode
    ? brokenLinkHeadline(first, stepUnit)
    : 'THE LOSS IS HEALTHY, THE RUN IS NOT';
}

/** The first line, and how grave it is: what ended the process, else a failure that the loss does not show, else the verdict. */
function firstLineOf(
  run: RunReport,
  job: ReturnType<typeof jobAnswer>,
  hasWarning: boolean,
  hasTrouble: boolean,
): Pick<Answer, 'mood' | 'title'> {
  if (job !== null) return { mood: job.isError ? 'bad' : 'doubtful', title: job.title };
  const healthy = run.verdict.class === 'healthy';
  const said = failureWords(run.cause?.failure)?.finding;
  const hasErrors = run.findings.some(({ severity, id }) => severity === 'error' && id !== said);
  const failure = hasErrors && !failureLeads(run.cause?.failure, isOver(run)) ? null : titleOfFailure(run);
  if (failure !== null) return failure;
  if (isDeadFromTheStart(run)) return { mood: 'bad', title: LEARNT_NOTHING };
  if (!healthy) return { mood: CLASS_MOODS[run.verdict.class], title: titleOf(run) };
  if (hasErrors) return { mood: 'bad', title: titleOfErrors(run) };
  if (!hasWarning && learntNothing(run)) return { mood: 'doubtful', title: titleOfNoFall(run) };
  return {
    mood: hasWarning || hasTrouble ? 'doubtful' : CLASS_MOODS.healthy,
    title: hasWarning ? 'HEALTHY, with a warning' : titleOf(run),
  };
}

/** What is wrong besides the first line; a crash in that line is on the page once. */
const besideOf = (run: RunReport, job: ReturnType<typeof jobAnswer>) =>
  job === null ? alsoOf(run, false) : alsoOf(withoutCrash(run), false, false);

/** Runs whose loss is healthy and which are not well, the gravest first: a class is of the loss alone. */
export function illBeside(
  runs: readonly RunReport[],
): readonly { readonly id: string; readonly title: string }[] {
  const ill = runs
    .filter(({ verdict }) => verdict.class === 'healthy')
    .map((run) => {
      const job = jobAnswer(run);
      return { id: run.id, ...firstLineOf(run, job, besideOf(run, job) !== null, false) };
    })
    .filter(({ mood }) => mood !== 'good');
  return [...ill.filter(({ mood }) => mood === 'bad'), ...ill.filter(({ mood }) => mood !== 'bad')];
}

/** Times the training loss at its end that an evaluation loss is worth a word. */
const APART = 1.5;

/** That an evaluation loss ends far above the training loss, and the look that decides why; null where it does not. */
function evaluationApart(run: RunReport): string | null {
  const trained = decidingSeries(run);
  if (trained === undefined || trained.role !== 'loss') return null;
  const last = run.verdict.provenBy?.learnt.levels?.[1] ?? trained.statistics.last;
  const evaluated = run.series.find(
    ({ name, role, statistics }) =>
      role === 'eval_loss' &&
      areOnOneScale(name, trained.name) &&
      last > 0 &&
      statistics.last >= APART * last,
  );
  if (evaluated === undefined) return null;
  const times = brief(evaluated.statistics.last / last);
  return `\`${inertName(evaluated.name)}\` ends at ${brief(evaluated.statistics.last)}, ${times} times the training loss: over-fitting, or computed otherwise (evaluate training rows the same way).`;
}

/** What the page says of a run. Pure. */
export function answerOf(run: RunReport, report: Report): Answer {
  const job = jobAnswer(run);
  const also = besideOf(run, job);
  const other = otherIncident(run);
  const trouble = other ?? troubleOf(report);
  const where = whereOf(run);
  const ofRun = fixOf(run);
  const code = codeOf(run, job !== null, ofRun?.text);
  // What the code did is known where the log does not show why.
  const isOfCode = code.some(({ label }) => label === 'Why');
  const why = isOfCode ? null : whyOf(run.cause);
  const fix = isOfCode ? null : ofRun;
  const healthy = run.verdict.class === 'healthy';
  const { mood, title } = firstLineOf(run, job, also !== null, other !== null || isTroubled(run, report));
  const isWell = mood === 'good' || learntNothing(run);
  // A rise that is over says nothing of the evaluation.
  const apart = mood === 'good' || (isOver(run) && job === null) ? evaluationApart(run) : null;
  const noted = apart !== null ? { text: apart } : isWell && job === null ? alsoOf(run, true) : null;
  return {
    mood,
    title,
    change: changeOf(run),
    facts: factsOf(run, report),
    checked: isWell ? proofsOf(run) : null,
    parts: [
      ...(where === null || healthy || job !== null ? [] : [{ label: 'Where', text: where }]),
      ...(job !== null
        ? [
            { label: 'Why', text: job.why },
            { label: 'Fix', text: job.fix },
          ]
        : []),
      ...(job !== null || why === null ? [] : [{ label: 'Why', text: why }]),
      ...(job !== null || fix === null ? [] : [{ label: 'Fix', ...fix }]),
      ...code,
      ...(also === null ? [] : [{ label: 'Also', ...also }]),
      ...(noted === null ? [] : [{ label: 'Noted', ...noted }]),
      ...(learntNothing(run) && fix === null ? [{ label: 'Try', text: tryOf(run) }] : []),
      ...(trouble === null ? [] : [{ label: 'Beware', text: trouble }]),
    ],
    tried: triedOf(run),
    over: overBatches(run),
  };
}
