import { formatNumber } from '../../model/format-number.ts';
import type { FoundFailure, KnownFailure } from './failure.ts';
import {
  type LogEvidence,
  lastBefore,
  levelBefore,
  levelFrom,
  type Points,
  rateEvidence,
  ratesWithHistory,
} from './log-evidence.ts';
import { LEVEL_POINTS, RAMP_RISE, raisedRate, rampOutOfLevel, warmUpTo } from './rates.ts';

/** Share of all that was learnt up to the onset that has to be learnt before a ramp begins: a warm-up begins with it. */
const LEARNT_BEFORE = 0.5;
/** Times the highest rate before that a rise reaches which is reported though the loss has no incident. */
const CALM_RISE = 10;

export const raisedRateFailure: KnownFailure = {
  id: 'rate-raised',
  title: 'The learning rate rose shortly before',
  symptoms: [
    'learning rate',
    'lr',
    'spike',
    'diverged',
    'exploding',
    'blows up',
    'schedule',
    'warmup',
    'warm-up',
  ],
  docs: {
    summary:
      'The logged learning rate rises by half or more in the ten logged points before the loss leaves its usual range, or climbs far above the level at which the run was well.',
    evidence: `One logged rate is at least 1.5 times the one before and 1.5 times the median before, and outside of the range of the earlier ones, widened by half of it. A resume is judged against the attempt that it goes on from. Or the rate rises step by step to at least ${RAMP_RISE} times the highest of ${LEVEL_POINTS} points or more, at which ${100 * LEARNT_BEFORE} % or more of all that was learnt up to the onset was learnt. Without an incident: from ${LEVEL_POINTS} points on, after such learning, a rate is ${CALM_RISE} times the highest before it, and all after it stay ${RAMP_RISE} times as high.`,
    notThis:
      'A warm-up, whose steps are each in proportion and which begins with the training (`broke-in-warm-up`); a restart of the schedule after which the loss is what it was at that rate (`schedule-restart`).',
    whatToDo:
      'Keep the rate as it was before and find what set it: a schedule that begins anew at a resume, a scheduler that steps twice, a typing error. The same steps at the old rate confirm it: the loss stays in its range.',
  },
  look(log) {
    const { run, onsetStep } = log;
    const rates = ratesWithHistory(log);
    if (rates === null) return null;
    if (onsetStep === null) return raisedInCalm(log);
    const until = rates.step.findLastIndex((one) => one <= onsetStep);
    const raised = until < 1 ? null : raisedRate(rates.value, until);
    if (raised === null) return climbed(log, rates, until);
    const step = rates.step.at(raised.from)!;
    const value = rates.value.at(raised.from)!;
    const statement = `the learning rate rises ${formatNumber(raised.times)}-fold to ${formatNumber(value)} at ${run.stepUnit} ${step}, before the loss leaves its usual range at ${run.stepUnit} ${onsetStep}`;
    return {
      trigger: 'learning-rate',
      confidence: 'likely',
      lead: 'the learning rate rose',
      step,
      factor: raised.times,
      statement,
      evidence: [rateEvidence(statement, value, step)],
      remedy: {
        action: 'lower-learning-rate',
        statement: `keep the learning rate as it was before ${run.stepUnit} ${step} (${formatNumber(raised.before)}) and look at what set it; the same steps at that rate confirm it`,
      },
    };
  },
};

/** A rate that rises far above all before it, after most was learnt, and stays there, while the loss has no incident. */
function raisedInCalm(log: LogEvidence): FoundFailure | null {
  const { run, rates } = log;
  const { step, value } = rates!;
  let highest = 0;
  let from = -1;
  for (let i = 0; i < value.length && from < 0; i++) {
    if (i >= LEVEL_POINTS && value.at(i)! >= CALM_RISE * highest) from = i;
    else highest = Math.max(highest, value.at(i)!);
  }
  if (from < 0 || !(highest > 0) || value.length - from < LEVEL_POINTS) return null;
  const stays = value.subarray(from).every((one) => one >= RAMP_RISE * highest);
  if (!stays || !hadLearnt(log, step.at(from)!)) return null;
  const [at, rate, before] = [step.at(from)!, value.at(from)!, value.at(from - 1)!];
  const statement = `the learning rate rises ${formatNumber(rate / before, 'brief')}-fold to ${formatNumber(rate)} at ${run.stepUnit} ${at} and stays high; ${lossBeside(log, at)}`;
  return {
    trigger: 'learning-rate',
    confidence: 'likely',
    lead: 'the learning rate rose',
    step: at,
    factor: rate / before,
    statement,
    evidence: [rateEvidence(statement, rate, at)],
    remedy: {
      action: 'lower-learning-rate',
      statement: `if that is not meant, put back the rate of before (${formatNumber(before)}) and look at what set it; a run at that rate shows what the rise cost`,
    },
  };
}

/** What the loss did at a step at which it has no incident. */
function lossBeside({ loss }: LogEvidence, step: number): string {
  const calm = 'the loss has no incident';
  if (loss === null) return calm;
  const from = lastBefore(loss, step) + 1;
  const [before, after] = [levelBefore(loss.value, from), levelFrom(loss.value, from)];
  const levels = [before, after].map((one) => formatNumber(one, 'brief'));
  return after > before && levels[0] !== levels[1]
    ? `the loss is ${levels[1]} after it and was ${levels[0]} before, too little for an incident`
    : calm;
}

/** A rate that climbed out of the level at which the run had learnt. */
function climbed(log: LogEvidence, rates: Points, until: number): FoundFailure | null {
  const { run, onsetStep } = log;
  const ramp = rampOutOfLevel(rates.value, until);
  if (ramp === null || !hadLearnt(log, rates.step.at(ramp.from)!)) return null;
  const [from, to] = [rates.step.at(ramp.from)!, rates.step.at(ramp.to)!];
  const value = rates.value.at(ramp.to)!;
  const before = formatNumber(ramp.before);
  const times = value / ramp.before;
  const statement = `up to ${run.stepUnit} ${from} the run is well at a learning rate of at most ${before}; from there the rate climbs ${formatNumber(times, 'brief')}-fold to ${formatNumber(value)} at ${run.stepUnit} ${to}, and the loss leaves its usual range at ${run.stepUnit} ${onsetStep}`;
  return {
    trigger: 'learning-rate',
    confidence: 'likely',
    lead: 'the learning rate rose too far',
    step: from,
    factor: times,
    statement,
    evidence: [rateEvidence(statement, value, to)],
    remedy: {
      action: 'lower-learning-rate',
      learningRate: ramp.before,
      statement: `go back to a checkpoint before ${run.stepUnit} ${from}, keep the learning rate at ${before} and look at what raises it; the same steps at that rate confirm it`,
    },
  };
}

/** Whether most of what was learnt up to the onset, or to the end, was learnt up to a step. */
function hadLearnt({ loss, onset }: LogEvidence, step: number): boolean {
  if (loss === null) return false;
  const first = levelFrom(loss.value, 0, 5);
  const then = levelBefore(loss.value, lastBefore(loss, step) + 1);
  const best = Math.min(then, levelBefore(loss.value, onset < 0 ? loss.value.length : onset));
  return then < first && first - then >= LEARNT_BEFORE * (first - best);
}

/** A loss that breaks in a warm-up or at its height: a fact of the log and no cause, since a healthy run has a warm-up too. */
export const brokeInWarmUp: KnownFailure = {
  id: 'broke-in-warm-up',
  title: 'The loss breaks while the learning rate rises to its height',
  symptoms: ['warmup', 'warm-up', 'no warmup', 'peak learning rate', 'early divergence'],
  docs: {
    summary:
      'The loss leaves its usual range while the learning rate still rises, or within ten logged points of its highest value.',
    evidence:
      'The logged rate rises step by step, at least four times and to half as much again, and is higher than ever before.',
    notThis:
      'A healthy run has a warm-up, too: the log does not show whether the rate did it, so the cause stays open.',
    whatToDo:
      'Run again from a checkpoint before at half of the highest rate, or with a warm-up of twice the length. If the loss breaks at the same step all the same, it was the data of that step.',
  },
  look(log) {
    const { run, onsetStep, rates } = log;
    if (rates === null || onsetStep === null) return null;
    const words = warmUpWords(log, rates);
    if (words === null) return null;
    const { statement, value, step } = words;
    return {
      trigger: 'none-found',
      confidence: null,
      step: null,
      statement: `${statement}; the log does not show whether that did it`,
      evidence: [rateEvidence(statement, value, step)],
      remedy: {
        action: 'rewind',
        statement: `run again from a checkpoint before ${run.stepUnit} ${onsetStep} at half of that rate (${formatNumber(value / 2)}): if the loss breaks at the same ${run.stepUnit} all the same, look at the data of that ${run.stepUnit}`,
      },
    };
  },
};

function warmUpWords(
  { run, onsetStep }: LogEvidence,
  rates: Points,
): { readonly statement: string; readonly value: number; readonly step: number } | null {
  const unit = run.stepUnit;
  const until = rates.step.findLastIndex((one) => one <= onsetStep!);
  const risen = warmUpTo(rates.value, until);
  if (risen === null) return null;
  const [from, to] = [risen.from, risen.to].map(
    (at) => `${formatNumber(rates.value.at(at)!)} at ${unit} ${rates.step.at(at)}`,
  ) as [string, string];
  const statement =
    risen.to === until
      ? `the learning rate was still rising, from ${from} to ${to}, its highest so far, when the loss left its usual range at ${unit} ${onsetStep}`
      : `the learning rate rose from ${from} to its highest, ${to}, shortly before the loss left its usual range at ${unit} ${onsetStep}`;
  return { statement, value: rates.value.at(risen.to)!, step: rates.step.at(risen.to)! };
}
