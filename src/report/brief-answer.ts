/**
 * The answer of the brief page, in plain words: what happened to a run, where, why, and what to do. Each part says what is
 * known and nothing else; a run that recovered gets no orders.
 */

import { brokenLinks } from '../model/audit.ts';
import { type Cause, LEARNS_SLOWER, type Remedy, takesBack } from '../model/cause.ts';
import { decidingSeries } from '../model/deciding-series.ts';
import { failureLeads, failureWords } from '../model/failure-words.ts';
import { type Finding, SEVERITIES } from '../model/finding.ts';
import { formatCount, formatNumber } from '../model/format-number.ts';
import { incidentClause, incidentHeadline, isIncidentClass, NOT_BACK } from '../model/incident-words.ts';
import { inertName } from '../model/inert-text.ts';
import { listed } from '../model/listed.ts';
import { pathParts } from '../model/path-parts.ts';
import { isBack, type Report, type RunReport } from '../model/report.ts';
import type { StepUnit } from '../model/run.ts';
import { CONFIDENCE, isTold, TRIGGERS } from './cause-words.ts';
import { CLASS_MOODS, type Mood } from './class-paint.ts';
import { titleOfFinding } from './finding-words.ts';
import { damageLines } from './input-losses.ts';
import { jobAnswer } from './job-answer.ts';
import { proofsOf } from './proof-line.ts';
import { replayLabel } from './replay-label.ts';
import { endOf, higherAtEnd, isLeading, isOver, leading, WORSE } from './where-it-ends.ts';
import { remedyName, remedyWords } from './why.ts';

/** The title of a run without an incident. A warning beside it does not change it. */
export const HEALTHY_TITLE = 'HEALTHY';

export interface Answer {
  /** How grave the first line is, for its mark and colour. */
  readonly mood: Mood;
  /** DIVERGED at step 400 */
  readonly title: string;
  /** loss 0.45 → 147, then 2.67: no recovery */
  readonly change: string;
  /** log.jsonl · 600 steps */
  readonly facts: string;
  /** What the verdict of a run that is well rests on, part by part; null for any other. */
  readonly checked: readonly string[] | null;
  /** Labelled paragraphs in reading order; lines of code are separate. */
  readonly parts: readonly {
    readonly label: string;
    readonly text: string;
    /** What stands for the text where its first sentence has no room. */
    readonly short?: string;
    readonly code?: string;
    readonly after?: string;
  }[];
  /** What was tried, the one to use first; empty where nothing was. */
  readonly tried: readonly Tried[];
  /** The batches that it was tried on, as a clause; empty where nothing was trained. */
  readonly over: string;
}

export interface Tried {
  /** null where it learns too slowly to tell. */
  readonly holds: boolean | null;
  readonly name: string;
  readonly finalLoss: number | null;
  /** Share of the steps before the incident that it changes, times how hard; null where that means nothing. */
  readonly interference: number | null;
  readonly smallestFactor: number | null;
  /** Whether it is the one to use. */
  readonly use: boolean;
}

interface TriedFigure {
  readonly title: string;
  /** null where it is not known. */
  readonly value: (one: Tried) => number | null;
  readonly text: (value: number) => string;
}

/** The columns of figures of what was tried, as every page has them. */
export const TRIED_FIGURES: readonly TriedFigure[] = [
  { title: 'loss at the end', value: ({ finalLoss }) => finalLoss, text: (loss) => brief(loss) },
  {
    title: 'changes healthy steps',
    value: ({ interference }) => interference,
    text: (share) => `${Math.round(100 * share)} %`,
  },
  {
    title: 'hardest cut',
    value: ({ smallestFactor }) => smallestFactor,
    text: (factor) => (factor === 1 ? 'none' : `to ${brief(100 * factor)} %`),
  },
];

/** The columns of figures of which some row has a value. */
export const figuresOf = (tried: readonly Tried[]): readonly TriedFigure[] =>
  TRIED_FIGURES.filter(({ value }) => tried.some((one) => value(one) !== null));

/** A figure of a row, or what replaces it where it is not known. */
export const figureText = ({ value, text }: TriedFigure, one: Tried, unknown: string): string => {
  const known = value(one);
  return known === null ? unknown : text(known);
};

/** The row of the run as it was. */
export const NOTHING = 'the run as it was';

const brief = (value: number): string => formatNumber(value, 'brief');
const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);
const plural = (count: number, noun: string, several = `${noun}s`): string =>
  `${formatCount(count)} ${count === 1 ? noun : several}`;
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

const at = (step: number, unit: StepUnit): string => `${unit} ${formatCount(step)}`;

/** Whether experiments show that the loss is high on the new data alone, and the weights are as good as before. */
const isOfDataAlone = ({ cause }: RunReport): boolean =>
  cause?.trigger === 'data' && cause.mechanism === 'bad-batch-only' && cause.confidence === 'shown';

/** The first step at which the deciding loss is no number and stays so; undefined where it is the onset. */
function noNumberFrom({ verdict, findings }: RunReport): number | undefined {
  const found = findings.find(
    ({ id, series }) => id === 'non-finite-loss' && series !== null && series === verdict.series,
  );
  const from = found?.steps?.[0];
  return from === undefined || verdict.onsetStep === null || from <= verdict.onsetStep ? undefined : from;
}

/** Whether a loss that rose stands at its end about where it stood before. */
function isNearlyBack(run: RunReport): boolean {
  const { before, after } = leading(run) ?? {};
  return before != null && after != null && before > 0 && after <= WORSE * before;
}

const LEARNT_NOTHING = 'LEARNT NOTHING';

/** Whether the log shows that no level was better than the first loss, whatever became of the rises. */
const isDeadFromTheStart = ({ cause }: RunReport): boolean => cause?.failure === 'dead-from-the-start';

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
      if (isBack(verdict)) return `RECOVERED from a rise at ${where}`;
      return isOver(run) ? `ROSE at ${where}` : `SETTLED HIGHER since ${where}`;
    case 'drift':
    case 'full-divergence':
      return isOfDataAlone(run)
        ? `LOSS UP since ${where}: the data changed, the weights are unharmed`
        : incidentHeadline(verdict.class, where);
    case 'non-finite': {
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

/** What the deciding series did, from its level before to its last. */
function changeOf(run: RunReport): string {
  const { verdict, stepUnit } = run;
  const incident = leading(run);
  const series = decidingSeries(run);
  const name = inertName(verdict.series ?? 'loss');
  if (incident === undefined) return learntOf(run);
  const before = failureLeads(run.cause?.failure)
    ? 'up to '
    : incident.before == null
      ? ''
      : `${brief(incident.before)} → `;
  const peak = Number.isFinite(incident.peak) ? brief(incident.peak) : String(incident.peak);
  if (incident.recoveredStep !== null) {
    const goesOn = run.series.find((one) => one.name === incident.recoveredIn) ?? series;
    const ends = goesOn === undefined ? '' : `, ends at ${brief(goesOn.statistics.last)}`;
    const back = incident.recoveredIn === undefined ? ', back' : `; ${inertName(incident.recoveredIn)} back`;
    return `${name} ${before}${peak}${back} at ${at(incident.recoveredStep, stepUnit)}${verdict.class === 'full-divergence' ? ': too late' : ''}${ends}`;
  }
  if (verdict.class === 'inconclusive') {
    // One point may be a lucky one: the median of the last ones, where they are enough.
    const last = incident.after ?? series?.statistics.last;
    return last == null || last === incident.peak
      ? `${name} ${before}${peak}, where the log ends`
      : `${name} ${before}${peak}, and ${brief(last)} where the log ends`;
  }
  if (verdict.class === 'non-finite') return `${name} ${before}no number to the end`;
  // A drift has no peak: it is told by its levels.
  if (verdict.class === 'drift' && incident.after != null && !(incident.peak > PEAK * incident.after))
    return `${name} ${before}${brief(incident.after)}: no recovery`;
  // Of a loss that is highest at its end nothing follows the peak.
  const endsAtPeak = incident.after === incident.peak || incident.peakStep === series?.lastStep.at(-1);
  const then = incident.after == null || endsAtPeak ? '' : `, then ${brief(incident.after)}`;
  // What comes down later than a recovery may come ends where it ends.
  const end =
    isOver(run) && series !== undefined ? `, ends at ${brief(series.statistics.last)}` : ': no recovery';
  return `${name} ${before}${peak}${then}${end}`;
}

function factsOf(run: RunReport, skipped: Report['skipped']): string {
  const { attemptList, stepUnit } = run;
  const series = decidingSeries(run);
  const first = attemptList[0]?.firstStep;
  const ends = attemptList.at(-1)?.lastStep;
  const last = series?.statistics.lastStep ?? ends;
  const same = skipped.filter(({ sameRun }) => sameRun !== undefined && run.paths.includes(sameRun));
  return [
    shortPath(inertName(run.id)),
    ...(same.length === 0
      ? []
      : [`also in ${listed(same.map(({ path }) => inertName(pathParts(path).at(-1)!)))}`]),
    ...(series === undefined ? [] : [plural(series.points, 'point')]),
    ...(first === undefined || last === undefined || Number.isNaN(first + last)
      ? []
      : [
          `${stepUnit}s ${formatCount(first)} to ${formatCount(last)}`,
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
function codeOf({ audit, cause, verdict }: RunReport, isCrash: boolean): Answer['parts'] {
  const [first] = audit === undefined ? [] : brokenLinks(audit);
  const isCause = cause !== undefined && cause.trigger !== 'none-found';
  const isSaid =
    isCause && first !== undefined && first.step !== null && cause.evidence[0]?.at.step === first.step;
  if (first === undefined || isSaid || cause?.statement === first.statement) return [];
  const isOpen = !isCrash && cause?.trigger === 'none-found' && verdict.onsetStep !== null;
  return [
    {
      label: isOpen ? 'Why' : 'Code',
      text: `${inertName(first.statement)}. Try: ${inertName(first.fix ?? '')}.`,
    },
  ];
}

/** Rises from which on it is told that they come in even steps. */
const EVENLY = 4;

/**
 * How often a loss rose, and how regularly: what comes every hundred steps is seldom the step length. And that a rise beside
 * the one that is told did not come back.
 */
function howOften({ verdict, stepUnit }: RunReport): string | null {
  const rises = verdict.incidents
    .filter((one) => one.class === 'micro-divergence' && one.series === verdict.series)
    .sort((a, b) => a.onsetStep - b.onsetStep);
  if (verdict.class !== 'micro-divergence' || rises.length < 2) return null;
  const steps = rises.map(({ onsetStep }) => onsetStep);
  const gaps = steps.slice(1).map((step, i) => step - steps[i]!);
  const [least, most] = [Math.min(...gaps), Math.max(...gaps)];
  const even = steps.length >= EVENLY && least > 0 && most <= 1.02 * least;
  const stayed = rises.filter(
    ({ recoveredStep, onsetStep }) => recoveredStep === null && onsetStep !== verdict.onsetStep,
  );
  const settled =
    stayed.length === 0
      ? ''
      : ` The loss settled higher at ${at(stayed[0]!.onsetStep, stepUnit)}${stayed[0]!.after == null ? '' : `, at ${brief(stayed[0]!.after)}`}${stayed.length > 1 ? ', and later again' : ''}.`;
  return `${plural(steps.length, stayed.length === 0 ? 'such rise' : 'rise')}, ${stepUnit}s ${formatCount(steps[0]!)} to ${formatCount(steps.at(-1)!)}${even ? `, one every ${formatCount(least)}` : ''}.${settled}`;
}

/** Which task was first, which metric is lost, or at least the line of the log; and how often. */
function whereOf(run: RunReport): string | null {
  const parts = failureLeads(run.cause?.failure)
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

/** Clauses as sentences of their own. */
const sentences = (statement: string): string =>
  statement
    .split('; ')
    .map((clause) => `${capital(inertName(clause)).replace(/\.$/, '')}.`)
    .join(' ');

function whyOf(cause: Cause | undefined): string | null {
  if (cause === undefined || !isTold(cause)) return null;
  // The statement of a known failure begins with its cause, and says how sure that is.
  if (cause.failure !== undefined) return sentences(cause.statement);
  if (cause.trigger === 'none-found') return `No cause was found. ${sentences(cause.statement)}`;
  const sure = cause.confidence === null ? '' : ` (${CONFIDENCE[cause.confidence]})`;
  return `${capital(TRIGGERS[cause.trigger])}${sure}. ${sentences(cause.statement)}`;
}

/** What keeps a cause from coming again. */
const AVERT: Readonly<Record<Cause['trigger'], string>> = {
  data: 'look at the data of these batches',
  'learning-rate': 'look at what set the learning rate',
  'optimizer-state': 'load the optimizer state with the weights when a run is resumed',
  'weight-decay': 'lower the weight decay or the learning rate',
  precision: 'train in bfloat16 or float32, or lower the loss scale',
  sharpness: 'lower the learning rate or clip',
  code: 'correct the training code',
  hardware: 'replace the device',
  initialisation: 'initialise the weights anew or lower the learning rate',
  order: 'shuffle the data and continue its order after a resume',
  schedule: '',
  evaluation: 'correct the evaluation',
  'none-found': '',
};

/** Where it stands how to do what has no line to paste. */
function howTo({ paste, rule, action, statement }: Remedy, { cause }: RunReport): string {
  const isUnlike = cause?.evidence.some(({ id }) => id === 'batches-unlike') === true;
  const batch = isUnlike ? cause.onsetStep : null;
  if (paste !== null) return '';
  // Its last clause names the file, or says that there is none.
  if (action === 'restore-optimizer-state') return ` (${statement.split('; ').at(-1)})`;
  if (action === 'fix-data' && batch !== null)
    return ` (find what changed: compare the rows of batches ${formatCount(batch - 1)} and ${formatCount(batch)}, their labels, order and preprocessing)`;
  if (rule !== null) return ` (explain ${rule.split(/[:+]/, 1)[0]})`;
  const isList = action === 'skip-batches' || action === 'skip-rows';
  return isList ? ' (their list: --report skip-list:skip.json)' : '';
}

/** Why a remedy that holds is the one to use where others that hold end lower, as a clause; empty where none does. */
function whyFirst({ remedies = [], cause }: RunReport, used: Remedy): string {
  const lower = remedies.filter(
    ({ holds, finalLoss }) =>
      used.holds === true && holds === true && (finalLoss ?? Infinity) < (used.finalLoss ?? Infinity),
  );
  if (lower.length === 0 || cause === undefined) return '';
  if (takesBack(used, cause.trigger) && lower.every((one) => !takesBack(one, cause.trigger)))
    return ', which takes the cause away';
  if (lower.some(({ interference }) => interference <= used.interference)) return '';
  return used.interference === 0
    ? ', which changes no healthy step'
    : ', which changes the least of healthy steps';
}

/** The way back and the remedy to take from there. */
function orderOf(run: RunReport, held: Remedy): { text: string; short: string; code?: string } {
  const words = inertName(remedyWords(held, run) + howTo(held, run));
  const { from } = held;
  const begins = from?.path === null && from.step === run.attemptList[0]?.firstStep;
  const back =
    // Weights that are unharmed are good to go on from.
    from === null || (held.action === 'fix-data' && isOfDataAlone(run))
      ? ''
      : begins
        ? 'begin again and '
        : `go back to ${from.path === null ? `${at(from.step, run.stepUnit)}, or a checkpoint before it,` : inertName(from.path)} and `;
  const end = held.paste === null ? '.' : ':';
  return {
    text: back + words + whyFirst(run, held) + end,
    short: back + words + end,
    ...(held.paste === null ? {} : { code: held.paste }),
  };
}

/** Whether the log tells the end of the run, long after the steps that remedies were tried on. */
function goesOnAfterTried(run: RunReport): boolean {
  const series = decidingSeries(run);
  const from = series?.firstStep.at(endOf(series));
  const tried = triedSteps(run).at(-1);
  return from !== undefined && tried !== undefined && from > tried;
}

/** That a run which came back from a rise ends above where it was before; null where it does not. */
function staysHigher(run: RunReport): string | null {
  const lowest = higherAtEnd(run);
  return lowest === null
    ? null
    : `The run came back from this rise, but its loss is ${brief(lowest)} and more at the end, where ${brief(leading(run)!.before!)} was usual before: it is not well.`;
}

/** What to do about a failure that the log alone shows, where nothing was tried; null for any other. */
function orderOfLog({ cause, remedies = [] }: RunReport): string | null {
  const [first] = remedies;
  const isOfLog = cause?.failure !== undefined && remedies.every(({ tried }) => tried === null);
  const isPlanned = first?.action === 'none-needed' && cause?.trigger === 'schedule';
  return !isOfLog || first === undefined || isPlanned ? null : sentences(first.statement);
}

/** That nothing is to be done; what says itself what to look at has no need of the general advice. */
const nothingNow = ({ statement }: Remedy, inFuture: string): string =>
  sentences(statement) + (statement.includes('does not happen again') ? '' : inFuture);

/** The state to keep while a look decides what went wrong; empty where what to do names one. */
const keepWords = ({ cause, rewind, stepUnit }: RunReport): string =>
  cause?.trigger !== 'none-found' || rewind === null
    ? ''
    : `Keep ${rewind.rewindToCheckpoint === null ? `a checkpoint at or before ${at(rewind.rewindToStep, stepUnit)}` : inertName(rewind.rewindToCheckpoint)}. `;

/** What to do: the first remedy that holds, or what may be tried, or the way back. */
function fixOf(run: RunReport): { text: string; short?: string; code?: string; after?: string } | null {
  const { remedies = [], verdict } = run;
  const [first] = remedies;
  const ofLog = orderOfLog(run);
  if (ofLog !== null && (verdict.onsetStep === null || isDeadFromTheStart(run))) return { text: ofLog };
  if (verdict.onsetStep === null) {
    // The loss shows nothing, and something else is wrong: the gravest finding says what to do about it.
    const worst = (['error', 'warning'] as const)
      .map((severity) => run.findings.find((one) => one.severity === severity))
      .find((one) => one !== undefined);
    const advice = worst?.severity === 'error' ? run.advice[0] : worst?.advice;
    return advice == null ? null : { text: sentences(advice) };
  }
  const avert = run.cause === undefined ? '' : AVERT[run.cause.trigger];
  const inFuture = avert === '' ? '' : ` So that it does not happen again: ${avert}.`;
  const stays = verdict.class === 'micro-divergence' ? staysHigher(run) : null;
  if (stays !== null && first?.action === 'none-needed') return { text: `${stays}${inFuture}` };
  if (first?.action === 'none-needed') return { text: nothingNow(first, inFuture) };
  const held = remedies.find(({ holds }) => holds === true);
  if (isOver(run)) {
    if (held === undefined) return { text: `${stays ?? 'Nothing now: the run came back.'}${inFuture}` };
    const after = triedWords(run, held);
    const { text, short: _, ...code } = orderOf(run, held);
    // Its loss on batches as before is high also where it follows the new data as it should.
    if (held.action === 'fix-data')
      return {
        text: `Nothing, if the new data are meant: the loss came back on them. If they are not, ${text}`,
        ...code,
        after,
      };
    const endsHigher = (held.finalLossWithout ?? Number.NaN) > WORSE * (held.finalLoss ?? Number.NaN);
    if (endsHigher && (stays !== null || !goesOnAfterTried(run)))
      return {
        text: `The run came back, but its loss stays higher than with this fix. ${capital(text)}`,
        ...code,
        after,
      };
    const words =
      held.action === 'restore-optimizer-state'
        ? AVERT['optimizer-state']
        : inertName(remedyWords(held, run));
    return { text: `Nothing now: the run came back. So that it does not happen again: ${words}.`, after };
  }
  if (held !== undefined) {
    const { text, short, ...code } = orderOf(run, held);
    return { text: capital(text), short: capital(short), ...code, after: triedWords(run, held) };
  }
  if (ofLog !== null) return { text: `${keepWords(run)}${ofLog}` };
  return unheldFix(run, inFuture);
}

/** What decides about a cause that nothing was tried against; null where something was tried, or the cause is another. */
function lookAt({ cause, verdict, stepUnit, rewind, remedies = [] }: RunReport): string | null {
  const wasTried = remedies.some(({ tried }) => tried !== null);
  if (cause === undefined || verdict.onsetStep === null || stepUnit !== 'step' || wasTried) return null;
  const step = formatCount(verdict.onsetStep);
  const back =
    rewind === null
      ? ''
      : `; ${rewind.rewindToCheckpoint ?? `a checkpoint at or before step ${formatCount(rewind.rewindToStep)}`} is from before it`;
  if (cause.trigger === 'data')
    return `compare the rows and the labels of the batches from step ${step} on with those before, and go on when they are as before${back}`;
  if (cause.trigger !== 'none-found') return null;
  return `evaluate weights from after step ${step} on batches from before it: a usual loss means that the data changed, a high one that the weights are harmed${back}`;
}

/** What to do where no remedy that was tried holds: one that may, or the way back. */
function unheldFix(run: RunReport, inFuture: string): ReturnType<typeof fixOf> {
  const { remedies = [] } = run;
  const resumed = run.cause?.evidence.some(({ id }) => id === 'resume')
    ? 'Resume with the settings of the first launch. '
    : '';
  const unsure = remedies
    .filter((one) => !isSlower(one))
    .find(
      ({ tried, holds, finalLoss, finalLossWithout }) =>
        tried !== null &&
        holds === null &&
        finalLoss !== null &&
        finalLoss < (finalLossWithout ?? Number.MAX_VALUE),
    );
  if (unsure !== undefined) {
    const { text, short: _, ...code } = orderOf(run, unsure);
    return {
      text: resumed === '' ? `Try: ${text}` : `${resumed}Or try: ${text}`,
      ...code,
      after: `${triedWords(run, unsure)} Too little was recorded to be sure that it holds.`,
    };
  }
  const failed = remedies.filter(({ holds }) => holds === false).length;
  const open = remedies.find(({ tried, action }) => tried === null && action !== 'rewind');
  const slower = remedies.filter(isSlower).length;
  const slow =
    slower === 0 ? '.' : `; ${formatCount(slower)} ${slower === 1 ? 'is' : 'are'} too slow to tell.`;
  const none =
    failed === 0
      ? ''
      : failed === 1
        ? `${slower === 0 ? 'The one' : 'One'} remedy tried here did not hold${slow} `
        : `None of ${formatCount(failed)} remedies tried here held${slow} `;
  if (open !== undefined)
    return {
      text: `${none}Try: ${inertName(open.statement).replace(/(; not tried)?\.?$/, '')} (not tried here).`,
      ...(open.paste === null ? {} : { code: open.paste }),
    };
  const advice = lookAt(run) ?? run.advice[0];
  const text = none + resumed + (advice === undefined ? '' : sentences(advice));
  return text === '' ? null : { text: (text.trimEnd() + inFuture).trim() };
}

/** How a remedy that was tried ended. */
function triedWords(run: RunReport, { finalLoss, finalLossWithout }: Remedy): string {
  // Of several it stands with how many of them held.
  const over = judgedOf(run).length > 1 ? '' : overBatches(run);
  if (finalLoss === null) return `Tried here${over}: it holds.`;
  const lost = run.verdict.class === 'non-finite' ? ' (without the fix: not a number)' : '';
  const without = finalLossWithout === null ? lost : ` (without the fix ${brief(finalLossWithout)})`;
  // Another loss than that of the first line, whose batches may be bad.
  return `Tried here${over}: mean loss on normal batches ${brief(finalLoss)}${without}.`;
}

/** The first and the last step that remedies were tried on; empty where none was trained. */
function triedSteps({ replay }: RunReport): readonly number[] {
  const steps = replay
    .filter(({ mode }) => mode === 'closed-loop')
    .flatMap((loop) => [loop.steps[0], loop.steps.at(-1)])
    .filter((one) => one !== undefined);
  return steps.length === 0 ? [] : [Math.min(...steps), Math.max(...steps)];
}

/** The batches that remedies were tried on, as a clause; empty where none was trained. */
function overBatches(run: RunReport): string {
  const [first, last] = triedSteps(run);
  return first === undefined ? '' : ` on batches ${formatCount(first)} to ${formatCount(last!)}`;
}

/** How many held, and which beside the one to use, in full and on one line; null where nothing was tried. */
export function triedSentence({
  tried,
  over,
}: Pick<Answer, 'tried' | 'over'>): { readonly text: string; readonly short: string } | null {
  const remedies = tried.filter(({ name }) => name !== NOTHING);
  if (remedies.length === 0) return null;
  const held = remedies.filter(({ holds }) => holds);
  // That none held stands in the fix, and so does the only one.
  if (held.length === 0 || remedies.length === 1) return null;
  const others = held
    .filter(({ use }) => !use)
    .slice(0, 2)
    .map(({ name, finalLoss }) => name + (finalLoss === null ? '' : ` (${brief(finalLoss)})`));
  const kept = `${held.length} of ${remedies.length}`;
  const also = (names: readonly string[]): string => (names.length === 0 ? '' : ` Also: ${listed(names)}.`);
  return {
    text: `${kept} remedies kept the run well${over}.${also(others)}`,
    short: `${kept} remedies held.${also(others.slice(0, 1))}`,
  };
}

/** The paragraphs of an answer, with what was tried right after the fix. */
export function partsWithTried(answer: Pick<Answer, 'parts' | 'tried' | 'over'>): Answer['parts'] {
  const tried = triedSentence(answer);
  const fix = answer.parts.findIndex(({ label }) => label === 'Fix');
  return tried === null ? answer.parts : answer.parts.toSpliced(fix + 1, 0, { label: 'Tried', ...tried });
}

/** Whether a remedy was tried and does no harm, but holds every update back: what it does where the run broke was not seen. */
const isSlower = ({ statement }: Remedy): boolean => statement.includes(LEARNS_SLOWER);

/** Remedies that were tried and are known to hold, or not to, or are too slow to tell. */
const judgedOf = ({ remedies = [] }: RunReport): readonly Remedy[] =>
  remedies.filter((one) => one.tried !== null && (one.holds !== null || isSlower(one)));

function triedOf(run: RunReport): Tried[] {
  const tried = judgedOf(run);
  if (tried.length === 0 || tried[0]!.action === 'none-needed') return [];
  const smallest = new Map(
    run.replay
      .filter((entry) => entry.mode === 'closed-loop' && entry.arm === undefined)
      .map((entry) => [
        replayLabel(entry),
        entry.minClipFactor.reduce((least, factor) => (factor < least ? factor : least), 1),
      ]),
  );
  const used = tried.find(({ holds }) => holds === true);
  const without = tried.find(({ finalLossWithout }) => finalLossWithout !== null)?.finalLossWithout ?? null;
  return [
    ...tried.map((one): Tried => {
      const least = one.rule === null ? undefined : smallest.get(one.rule);
      return {
        holds: isSlower(one) ? null : one.holds === true,
        name: inertName(remedyName(one, run)) + (isSlower(one) ? ' (too slow to tell)' : ''),
        finalLoss: one.finalLoss,
        interference: ['clip', 'skip-batches', 'skip-rows'].includes(one.action) ? one.interference : null,
        smallestFactor: least ?? null,
        use: one === used,
      };
    }),
    {
      holds: false,
      name: NOTHING,
      finalLoss: without,
      interference: null,
      smallestFactor: null,
      use: false,
    },
  ];
}

/** Whether what a named cause rests on lies in these steps. */
function isWithin(cause: Cause | undefined, steps: Finding['steps']): boolean {
  const at = cause?.trigger === 'none-found' ? null : (cause?.evidence[0]?.at.step ?? null);
  return at !== null && steps !== null && steps[0] <= at && at <= steps[1];
}

/** Findings that the first lines do not tell, the gravest first; of a run that is well what it noted, or null. */
function alsoOf(run: RunReport, noted: boolean): { text: string; short: string } | null {
  const told = new Set<string>(
    run.verdict.class === 'healthy' ? [] : [run.verdict.class, 'metric-collapse', 'reward-collapse'],
  );
  // The first line says it of the series that was judged.
  const broken = run.audit === undefined ? undefined : brokenLinks(run.audit)[0]?.statement;
  const { finding: ofFailure, leads } = failureWords(run.cause?.failure) ?? {};
  const isSaid = ({ id, series, steps, message }: Finding): boolean =>
    told.has(id) ||
    // A failure that leads the page says it of all rises of its loss.
    (leads && isIncidentClass(id) && series === run.verdict.series) ||
    // The same rise under another class: the first line says whether it came back.
    (isIncidentClass(id) &&
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

/** A message of more characters is for who asks for all: the title of the finding stands for it. */
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
export function troubleOf({ inputs, warnings }: Report): string | null {
  const all = [...damageLines(inputs), ...warnings.map(({ message }) => inertName(message))];
  if (all.length === 0) return null;
  return `${all[0]!.replace(/\.$/, '')}.${all.length > 1 ? ` ${plural(all.length - 1, 'more warning')}: --verbose.` : ''}`;
}

/** Steps by which a log that averages losses, or counts from another number, shows an incident later or earlier than its capture. */
const ONE_INCIDENT = 20;

/** That a capture beside the log tells of another incident than the log, so that it may be of another run. */
function otherIncident({ cause, verdict: { onsetStep } }: RunReport): string | null {
  const told = cause?.onsetStep ?? null;
  if (told === null || onsetStep === null || Math.abs(told - onsetStep) <= ONE_INCIDENT) return null;
  return `Is the capture of this run? Its incident begins at ${at(told, 'step')}.`;
}

/** The first line of a run whose log shows a failure that the class of its loss does not say; null for any other. */
function titleOfFailure({ cause, verdict, stepUnit }: RunReport): Pick<Answer, 'mood' | 'title'> | null {
  const words = failureWords(cause?.failure);
  if (cause === undefined || words === null || cause.step === null) return null;
  if (verdict.class !== 'healthy' && words.leads !== true) return null;
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

/** The test that distinguishes what keeps a loss from falling. */
const ONE_BATCH =
  'Train on one batch alone for 200 steps: a loss near 0 there means that labels and inputs do not belong together; any other that no gradient gets through (rate 0, dead units, initial weights, frozen parameters).';

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
  const failure = hasErrors && !failureLeads(run.cause?.failure) ? null : titleOfFailure(run);
  if (failure !== null) return failure;
  if (isDeadFromTheStart(run)) return { mood: 'bad', title: LEARNT_NOTHING };
  if (!healthy) return { mood: CLASS_MOODS[run.verdict.class], title: titleOf(run) };
  if (hasErrors) return { mood: 'bad', title: 'THE LOSS IS HEALTHY, THE RUN IS NOT' };
  if (!hasWarning && learntNothing(run))
    return { mood: 'doubtful', title: 'STEADY, but the loss does not fall' };
  return {
    mood: hasWarning || hasTrouble ? 'doubtful' : CLASS_MOODS.healthy,
    title: hasWarning ? 'HEALTHY, with a warning' : titleOf(run),
  };
}

/** What is wrong beside the first line; a crash that has that line is on the page once. */
const besideOf = (run: RunReport, job: ReturnType<typeof jobAnswer>) =>
  alsoOf(job === null ? run : withoutCrash(run), false);

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
    ({ role, statistics }) => role === 'eval_loss' && last > 0 && statistics.last >= APART * last,
  );
  if (evaluated === undefined) return null;
  const times = brief(evaluated.statistics.last / last);
  return `\`${inertName(evaluated.name)}\` ends at ${brief(evaluated.statistics.last)}, ${times} times the training loss: over-fitting, unless training rows evaluated the same way are as high.`;
}

/** What the page says of a run. Pure. */
export function answerOf(run: RunReport, report: Report): Answer {
  const job = jobAnswer(run);
  const also = besideOf(run, job);
  const trouble = otherIncident(run) ?? troubleOf(report);
  const where = whereOf(run);
  const code = codeOf(run, job !== null);
  // What the code did is known where the log does not show why.
  const isOfCode = code.some(({ label }) => label === 'Why');
  const why = isOfCode ? null : whyOf(run.cause);
  const fix = isOfCode ? null : fixOf(run);
  const healthy = run.verdict.class === 'healthy';
  const { mood, title } = firstLineOf(run, job, also !== null, trouble !== null);
  const isWell = mood === 'good' || learntNothing(run);
  const apart = mood === 'good' ? evaluationApart(run) : null;
  const noted = apart !== null ? { text: apart } : isWell && job === null ? alsoOf(run, true) : null;
  return {
    mood,
    title,
    change: changeOf(run),
    facts: factsOf(run, report.skipped),
    checked: isWell ? proofsOf(run) : null,
    parts: [
      ...(where === null || healthy ? [] : [{ label: 'Where', text: where }]),
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
      ...(learntNothing(run) ? [{ label: 'Try', text: ONE_BATCH }] : []),
      ...(trouble === null ? [] : [{ label: 'Beware', text: trouble }]),
    ],
    tried: triedOf(run),
    over: overBatches(run),
  };
}
