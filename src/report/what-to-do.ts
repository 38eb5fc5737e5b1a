/** What to do about a run: the first remedy that holds, a look that decides, or the way back. */

import { type Cause, type Remedy, takesBack } from '../model/cause.ts';
import { decidingSeries } from '../model/deciding-series.ts';
import { failureLeads } from '../model/failure-words.ts';
import { formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import { isBack, type RewindAdvice, type RunReport } from '../model/report.ts';
import { at, brief, capital, sentences } from './page-words.ts';
import { isSlower, triedSteps, triedWords } from './tried.ts';
import { endOf, higherAtEnd, isOver, leading, WORSE } from './where-it-ends.ts';
import { remedyWords } from './why.ts';

/** Whether experiments show that the loss is high on the new data alone, and the weights are as good as before. */
export const isOfDataAlone = ({ cause }: RunReport): boolean =>
  cause?.trigger === 'data' && cause.mechanism === 'bad-batch-only' && cause.confidence === 'shown';

/** Whether the log shows that no level was better than the first loss, whatever became of the rises. */
export const isDeadFromTheStart = ({ cause }: RunReport): boolean => cause?.failure === 'dead-from-the-start';

/** What keeps a cause from coming again. */
const AVERT: Readonly<Record<Cause['trigger'], string>> = {
  data: 'look at the data of these batches',
  'learning-rate': 'put the learning rate back where it is still raised, and look at what set it',
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

/** The place that says how to do what has no line to paste. */
function howTo({ paste, rule, action, statement }: Remedy, { cause }: RunReport): string {
  const isUnlike = cause?.evidence.some(({ id }) => id === 'batches-unlike') === true;
  const batch = isUnlike ? cause.onsetStep : null;
  if (paste !== null) return '';
  // Its last clause names the file, or says that there is none.
  if (action === 'restore-optimizer-state') return ` (${statement.split('; ').at(-1)})`;
  if (action === 'fix-data' && batch !== null)
    return ` (find what changed: compare the rows of batches ${formatCount(batch - 1)} and ${formatCount(batch)}, their labels, order and preprocessing)`;
  if (rule !== null) return ` (explain ${rule.split(/[:+]/, 1)[0]})`;
  const listed = action === 'skip-batches' ? 'batches' : action === 'skip-rows' ? 'rows' : null;
  return listed === null ? '' : ` (the list of these ${listed}: --report skip-list:skip.json)`;
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

/** Whether the log has the end of the run, long after the steps that remedies were tried on. */
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

/** What to do now about a rise that is over: nothing where the run came back, else to put back what changed. */
function afterRise(run: RunReport): string {
  const { before = null, after = null } = leading(run) ?? {};
  if (isBack(run.verdict) || typeof before !== 'number' || typeof after !== 'number')
    return 'Nothing now: the run came back.';
  return `Put back what changed if it was not meant: the loss is ${brief(after)} since then, and was ${brief(before)}.`;
}

/** What to do about a failure that the log alone shows, where nothing was tried; null for any other. */
function orderOfLog({ cause, audit, remedies = [] }: RunReport): string | null {
  const [first] = remedies;
  const isOfLog = cause?.failure !== undefined && remedies.every(({ tried }) => tried === null);
  const isPlanned = first?.action === 'none-needed' && cause?.trigger === 'schedule';
  if (!isOfLog || first === undefined || isPlanned) return null;
  const order = sentences(first.statement);
  // A capture has the batches of the steps at which the norm changed; only the model is missing.
  return audit === undefined || cause.failure !== 'gradient-norm-times-k'
    ? order
    : `\`clippy_diag.audit(CAPTURE, model=…, loss_fn=…)\` computes the recorded gradients again and names the factor. ${order}`;
}

/** That nothing is to be done; what says itself what to look at has no need of the general advice. */
const nothingNow = ({ statement }: Remedy, inFuture: string): string =>
  sentences(statement) + (statement.includes('does not happen again') ? '' : inFuture);

/** The state to keep while a look decides what went wrong; empty where what to do names one. */
const keepWords = (run: RunReport): string => {
  const { cause, rewind, stepUnit } = run;
  if (cause?.trigger !== 'none-found' || rewind === null) return '';
  // The way back is that of the incident, which is over.
  if (cause.step !== null && failureLeads(cause.failure, isOver(run)))
    return `Keep a checkpoint from before ${at(cause.step, stepUnit)}. `;
  return `Keep ${weightsBefore(run, rewind)}. `;
};

/** Weights from before an incident: the checkpoint, where one is known; none is older than those that the run began with. */
function weightsBefore(
  { attemptList, stepUnit }: RunReport,
  { rewindToCheckpoint, rewindToStep }: RewindAdvice,
): string {
  if (rewindToCheckpoint !== null) return inertName(rewindToCheckpoint);
  const first = attemptList[0]?.firstStep ?? Number.NEGATIVE_INFINITY;
  return rewindToStep <= first
    ? 'the weights that the run began with'
    : `a checkpoint at or before ${at(rewindToStep, stepUnit)}`;
}

/** What to do about a run that came back: what keeps it from coming again, and what brings its loss down where it stays higher. */
function fixAfterReturn(
  run: RunReport,
  held: Remedy | undefined,
  stays: string | null,
  inFuture: string,
): NonNullable<ReturnType<typeof fixOf>> {
  const [first] = run.remedies ?? [];
  // A fault of the code is there at the next step, too.
  if (first?.action === 'fix-code' && run.cause?.trigger === 'code')
    return { text: sentences(inertName(first.statement)) };
  if (held === undefined) return { text: `${stays ?? afterRise(run)}${inFuture}` };
  const after = triedWords(run, held);
  const { text, short: _, ...code } = orderOf(run, held);
  // Its loss on batches as before is high also where it follows the new data as it should.
  if (held.action === 'fix-data')
    return {
      text: `Nothing, if the new data are meant: the loss came back on them. If they are not, ${text}`,
      ...code,
      after,
    };
  if (run.cause?.mechanism === 'poisoned-accumulators')
    return {
      text: `The loss came back, but the optimizer takes far shorter steps since. ${capital(text)}`,
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
    held.action === 'restore-optimizer-state' ? AVERT['optimizer-state'] : inertName(remedyWords(held, run));
  return { text: `${afterRise(run)} So that it does not happen again: ${words}.`, after };
}

/** What to do: the first remedy that holds, or what may be tried, or the way back. */
export function fixOf(
  run: RunReport,
): { text: string; short?: string; code?: string; after?: string } | null {
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
  // What is not back is not well, whatever unharmed weights say of the steps that a capture holds.
  if (first?.action === 'none-needed' && !isOver(run) && !isOfDataAlone(run)) {
    const look = lookAtWeights(run);
    if (look !== null) return { text: sentences(look) };
  }
  if (first?.action === 'none-needed') return { text: nothingNow(first, inFuture) };
  const held = remedies.find(({ holds }) => holds === true);
  // A pattern that has the first line goes on, though each of its rises comes back.
  if (isOver(run) && !(failureLeads(run.cause?.failure, true) && ofLog !== null))
    return fixAfterReturn(run, held, stays, inFuture);
  if (held !== undefined) {
    const { text, short, ...code } = orderOf(run, held);
    return { text: capital(text), short: capital(short), ...code, after: triedWords(run, held) };
  }
  if (ofLog !== null) return { text: `${keepWords(run)}${ofLog}` };
  return unheldFix(run, inFuture);
}

/** The look that distinguishes data from weights; null without an incident that batches are counted by. */
function lookAtWeights(run: RunReport): string | null {
  const { verdict, stepUnit } = run;
  if (verdict.onsetStep === null || stepUnit !== 'step') return null;
  return `evaluate weights from after step ${formatCount(verdict.onsetStep)} on batches from before it: a usual loss means that the data changed, a high one that the weights are harmed${wayBack(run)}`;
}

/** Weights to compare with; empty where nothing was well before. */
const wayBack = (run: RunReport): string =>
  run.rewind === null ? '' : `; from before it: ${weightsBefore(run, run.rewind)}`;

/** What decides about a cause that nothing was tried against; null where something was tried, or the cause is another. */
function lookAt(run: RunReport): string | null {
  const { cause, verdict, stepUnit, remedies = [] } = run;
  const wasTried = remedies.some(({ tried }) => tried !== null);
  if (cause === undefined || verdict.onsetStep === null || stepUnit !== 'step' || wasTried) return null;
  if (cause.trigger === 'data')
    return `compare the rows and the labels of the batches from step ${formatCount(verdict.onsetStep)} on with those before, and go on when they are as before${wayBack(run)}`;
  return cause.trigger === 'none-found' ? lookAtWeights(run) : null;
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
