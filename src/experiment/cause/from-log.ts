/** What a log alone says of the cause: a jump of the learning rate, a resume, a gradient that was no number; never more than likely. */
import type { Cause, CauseEvidence, Remedy, Trigger } from '../../model/cause.ts';
import { joinedOf } from '../../model/column.ts';
import { formatNumber } from '../../model/format-number.ts';
import { attemptOf, type Run, type TimeSeries } from '../../model/run.ts';
import { raisedRate, warmUpTo } from './changes.ts';
import { CAME_BACK, untried } from './remedies.ts';

/** Logged points before the onset in which a change may have caused it. */
const WINDOW = 10;
const ORDINALS = ['1st', '2nd', '3rd', '4th', '5th', '6th', '7th', '8th', '9th', '10th'] as const;

export interface Why {
  readonly cause: Cause;
  readonly remedies: readonly Remedy[];
}

/** Of a run without an incident. */
export const NO_CAUSE: Why = {
  cause: {
    trigger: 'none-found',
    alsoTriggers: [],
    mechanism: 'none',
    step: null,
    onsetStep: null,
    confidence: null,
    statement: 'the run has no incident',
    evidence: [],
  },
  remedies: [untried('none-needed', 'nothing: the run has no incident')],
};

const UNSEEN =
  'the log does not show what changed: compare the settings, the code and the data with those of a run that went well';

/** Beside a fact that many a run without an incident shows too. */
const UNTOLD = 'the log does not show whether that did it: the same run at half the rate would tell';
const RECORD = 'a capture with batches and a model would tell (`clippy-diag init`)';
/** Of a log that a capture lies beside, which a gate does not replay. */
export const REPLAY =
  'a capture lies beside the log, and a gate does not replay it: `clippy-diag analyze` does';

/**
 * What the log alone says where there is a capture that does not hold the steps before the incident.
 *
 * @param held first and last step of the capture
 * @param onsetStep of the incident, as the capture counts steps
 */
export function besideCapture(ofLog: Why, held: readonly [number, number], onsetStep: number): Why {
  if (ofLog.cause.trigger !== 'none-found') return ofLog;
  const [first, last] = held;
  const lacks =
    onsetStep === first
      ? `the capture begins with the incident, at step ${first}: one that holds the steps before it would tell`
      : `the capture holds steps ${first} to ${last}, and the incident begins at step ${onsetStep}: one that holds the steps up to it would tell`;
  const [fact] = ofLog.cause.evidence;
  const known = fact === undefined ? UNSEEN : `${fact.statement}; ${UNTOLD}`;
  return { ...ofLog, cause: { ...ofLog.cause, statement: `${known}; ${lacks}` } };
}

/**
 * @param onsetStep of the leading incident
 * @param recovered whether the run came back from it
 * @param would what would tell where the log does not, as a clause
 */
export function causeFromLog(run: Run, onsetStep: number, recovered: boolean, would = RECORD): Why {
  const made = (trigger: Trigger, statement: string, evidence: readonly CauseEvidence[]): Cause => ({
    trigger,
    alsoTriggers: [],
    mechanism: trigger === 'precision' ? 'overflow' : 'unknown',
    step: null,
    onsetStep,
    confidence: trigger === 'none-found' ? null : 'likely',
    statement,
    evidence,
  });
  const attempt = run.attempts.findLast(
    ({ firstStep, lastStep }) => firstStep <= onsetStep && lastStep >= onsetStep,
  );
  const seriesOf = (role: TimeSeries['role']): TimeSeries | undefined => {
    const found = run.series.find((one) => one.role === role);
    return found === undefined ? undefined : attemptOf(found, attempt?.index ?? 0);
  };
  const rates = seriesOf('learning_rate');
  const allRates = run.series.find(({ role }) => role === 'learning_rate');
  const cause =
    byRate(allRates && ratesUpTo(run, allRates, attempt?.index ?? 0), onsetStep, run.stepUnit, made) ??
    byNorm(seriesOf('grad_norm'), onsetStep, run.stepUnit, made) ??
    byResume(run, attempt, onsetStep, seriesOf('loss'), made) ??
    inWarmUp(rates, onsetStep, run.stepUnit, made, would) ??
    made('none-found', `${UNSEEN}; ${would}`, []);
  const remedies = recovered ? [untried('none-needed', CAME_BACK)] : [suggestionFor(cause, run.stepUnit)];
  return { cause, remedies };
}

/**
 * A cause that no experiment showed, with what only the log knows: a learning rate that rose before the first recorded step, and a
 * resume shortly before the incident.
 *
 * @param start first step of the capture
 */
export function withLog(why: Why, ofLog: Why, start: number): Why {
  const { trigger, confidence, evidence, statement } = why.cause;
  const [told] = ofLog.cause.evidence;
  const unseen = ofLog.cause.trigger === 'learning-rate' && told!.at.step! <= start;
  if (trigger === 'none-found' && unseen)
    return {
      cause: { ...why.cause, ...ofLog.cause, evidence: [...ofLog.cause.evidence, ...evidence] },
      remedies: why.remedies.some(({ tried }) => tried !== null) ? why.remedies : ofLog.remedies,
    };
  const open = trigger === 'none-found' || (trigger === 'sharpness' && confidence === 'likely');
  if (!open || told?.id !== 'resume') return why;
  const compare =
    trigger === 'none-found'
      ? ': compare how the two were launched (clipping, learning rate, optimizer state, order of the data)'
      : '';
  return {
    ...why,
    cause: {
      ...why.cause,
      statement: `${told.statement}${compare}; ${statement}`,
      evidence: [...evidence, told],
    },
  };
}

type Made = (trigger: Trigger, statement: string, evidence: readonly CauseEvidence[]) => Cause;

/** Points up to a step, the last ones before it included. */
const upTo = ({ step }: Pick<TimeSeries, 'step'>, onsetStep: number): number =>
  step.findLastIndex((one) => one <= onsetStep);

type Rates = Pick<TimeSeries, 'step' | 'value'>;

/** The rates of an attempt; those of the one that it goes on from, before its first step, stand in front. */
function ratesUpTo({ attempts }: Run, series: TimeSeries, index: number): Rates {
  const own = attemptOf(series, index);
  const first = attempts[index]?.firstStep ?? 0;
  if (index === 0 || !(first > attempts[index - 1]!.firstStep)) return own;
  const { step, value } = attemptOf(series, index - 1);
  let count = 0;
  while (count < step.length && step.at(count)! < first) count++;
  return {
    step: joinedOf([step.subarray(0, count), own.step]),
    value: joinedOf([value.subarray(0, count), own.value]),
  };
}

function byRate(rates: Rates | undefined, onsetStep: number, unit: string, made: Made): Cause | null {
  if (rates === undefined) return null;
  const until = upTo(rates, onsetStep);
  const raised = until < 1 ? null : raisedRate(rates.value, until);
  if (raised === null) return null;
  const step = rates.step.at(raised.from)!;
  const value = rates.value.at(raised.from)!;
  const statement = `the learning rate rises ${formatNumber(raised.times)}-fold to ${formatNumber(value)} at ${unit} ${step}, before the loss leaves its usual range at ${unit} ${onsetStep}`;
  return made('learning-rate', statement, [
    {
      id: 'learning-rate',
      statement,
      value,
      unit: 'learning rate',
      usual: null,
      at: { step, batchStep: null },
    },
  ]);
}

function byNorm(norms: TimeSeries | undefined, onsetStep: number, unit: string, made: Made): Cause | null {
  if (norms === undefined) return null;
  const until = upTo(norms, onsetStep);
  const from = Math.max(0, until - WINDOW);
  const broken = norms.value.subarray(from, until + 1).findIndex((norm) => !Number.isFinite(norm));
  if (until < 0 || broken < 0 || norms.step.at(from + broken)! >= onsetStep) return null;
  const step = norms.step.at(from + broken)!;
  const statement = `the gradient norm is ${norms.value.at(from + broken)} at ${unit} ${step}, before the loss leaves its usual range at ${unit} ${onsetStep}`;
  return made('precision', statement, [
    {
      id: 'non-finite-gradient',
      statement,
      value: norms.value.at(from + broken)!,
      unit: 'norm',
      usual: null,
      at: { step, batchStep: null },
    },
  ]);
}

function byResume(
  run: Run,
  attempt: Run['attempts'][number] | undefined,
  onsetStep: number,
  losses: TimeSeries | undefined,
  made: Made,
): Cause | null {
  if (attempt === undefined || attempt.index === 0) return null;
  const points = (losses?.step ?? new Float64Array()).filter((step) => step <= onsetStep).length;
  if (points > WINDOW) return null;
  const statement = `training was resumed at ${run.stepUnit} ${attempt.firstStep}, and the ${ORDINALS[Math.max(0, points - 1)]} loss after that is out of the usual range`;
  return made('optimizer-state', `${statement}: the optimizer state may be lost`, [
    {
      id: 'resume',
      statement,
      value: attempt.firstStep,
      unit: run.stepUnit,
      usual: null,
      at: { step: attempt.firstStep, batchStep: null },
    },
  ]);
}

/** A loss that breaks in a warm-up or at its height: that is a fact of the log, and no cause. A healthy run has a warm-up too. */
function inWarmUp(
  rates: TimeSeries | undefined,
  onsetStep: number,
  unit: string,
  made: Made,
  would: string,
): Cause | null {
  if (rates === undefined) return null;
  const until = upTo(rates, onsetStep);
  const risen = warmUpTo(rates.value, until);
  if (risen === null) return null;
  const [first, last] = [risen.from, risen.to].map((at) => ({
    rate: formatNumber(rates.value.at(at)!),
    step: rates.step.at(at)!,
  })) as [{ rate: string; step: number }, { rate: string; step: number }];
  const statement =
    risen.to === until
      ? `the learning rate was still rising, from ${first.rate} at ${unit} ${first.step} to ${last.rate} at ${unit} ${last.step}, its highest so far, when the loss left its usual range at ${unit} ${onsetStep}`
      : `the learning rate rose from ${first.rate} at ${unit} ${first.step} to its highest, ${last.rate}, at ${unit} ${last.step}, shortly before the loss left its usual range at ${unit} ${onsetStep}`;
  return made('none-found', `${statement}; ${UNTOLD}; ${would}`, [
    {
      id: 'learning-rate',
      statement,
      value: rates.value.at(risen.to)!,
      unit: 'learning rate',
      usual: null,
      at: { step: last.step, batchStep: null },
    },
  ]);
}

/** What to try, said to be untried; `given` is the learning rate of before or how much less of a weight decay, with its line for the script, where they are known. */
export function suggestionFor(
  { trigger, evidence }: Cause,
  unit: string,
  given: Partial<Remedy> | null = null,
): Remedy {
  if (trigger === 'learning-rate')
    return untried(
      'lower-learning-rate',
      `keep the learning rate as it was before ${unit} ${evidence[0]!.at.step}; not tried`,
      given ?? {},
    );
  if (trigger === 'weight-decay')
    return untried(
      'lower-weight-decay',
      'lower the weight decay or the learning rate, so that their product is far below 1; not tried',
      given ?? {},
    );
  if (trigger === 'precision')
    return untried('raise-precision', 'train in bfloat16 or float32, or lower the loss scale; not tried');
  if (trigger === 'optimizer-state')
    return untried('restore-optimizer-state', 'resume with the optimizer state of before; not tried');
  return untried(
    'rewind',
    'go back to the last good checkpoint and record the steps to the onset; not tried',
  );
}
