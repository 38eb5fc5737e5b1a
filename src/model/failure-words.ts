/** What a page says first of a known failure that the loss itself does not show. */
import { formatNumber } from './format-number.ts';

interface FailureWords {
  /** The first line, of a place (`step 300`) and the factor of the cause. */
  readonly headline: (where: string, factor: number | null) => string;
  /** Whether the run is well all the same. */
  readonly isWell?: true;
  /**
   * Whether it says more of what happened than the class of an incident does: of any, or of one that is over while the failure
   * goes on to the end of the log.
   */
  readonly leads?: 'always' | 'goes on';
  /** The kind of finding that says the same. */
  readonly finding?: string;
}

const times = (factor: number | null): string =>
  factor === null ? '' : `${formatNumber(factor > 1 ? factor : 1 / factor, 'brief')} times `;

/** By the id of the failure. One without words here has the first line of the verdict. */
const FAILURE_WORDS: Readonly<Record<string, FailureWords>> = {
  'evaluation-alone-bad': { headline: () => 'TRAINING IS HEALTHY, the evaluation is not' },
  'evaluation-jumps-alone': {
    headline: (where) => `TRAINING IS HEALTHY, the evaluation jumps at ${where}`,
    finding: 'eval-only-spike',
  },
  'rate-is-zero': {
    headline: (where, factor) =>
      `LEARNING RATE ${factor === 0 ? '0' : 'NEXT TO NOTHING'} since ${where}: no weight changes any more`,
    leads: 'goes on',
    finding: 'learning-rate-anomaly',
  },
  'rate-raised': {
    headline: (where, factor) => `LEARNING RATE ${times(factor)}higher since ${where}`,
    finding: 'learning-rate-anomaly',
  },
  'rate-raised-for-a-moment': {
    headline: (where, factor) => `LEARNING RATE ${times(factor)}higher at ${where}, the loss is healthy`,
    finding: 'learning-rate-anomaly',
  },
  'schedule-began-anew': { headline: (where) => `SCHEDULE BEGAN ANEW at ${where}` },
  'loss-times-k': {
    headline: (where, factor) => `LOSS ${times(factor)}larger since ${where}`,
    leads: 'always',
  },
  'loss-falls-abruptly': { headline: (where) => `FELL ABRUPTLY at ${where}`, leads: 'goes on' },
  'saw-tooth': { headline: (where) => `SAW-TOOTH since ${where}`, leads: 'always' },
  'jump-at-resume': { headline: (where) => `HIGHER since the resume at ${where}` },
  'untrained-at-resume': { headline: (where) => `BEGAN UNTRAINED at the resume at ${where}` },
  'gradient-norm-times-k': {
    headline: (where, factor) =>
      `GRADIENT NORM ${times(factor)}${factor !== null && factor < 1 ? 'smaller' : 'larger'} since ${where}, the loss hardly moves`,
    leads: 'goes on',
    finding: 'gradient-norm-spike',
  },
  'scaler-skips-every-step': {
    headline: (where) => `SKIPS EVERY STEP since ${where}: no weight changes any more`,
    leads: 'goes on',
    finding: 'loss-scale-falls',
  },
  'over-fitting': {
    headline: (where) => `EVALUATION GETS WORSE since ${where}`,
    finding: 'overfit',
  },
  'first-steps-too-long': {
    headline: (_, factor) =>
      `FIRST UPDATES TOO LARGE: the loss rose ${times(factor).replace(' times ', '-fold')}, then it learnt`,
  },
  'training-slowed': {
    headline: (where, factor) => `${times(factor)}SLOWER since ${where}, the loss is healthy`,
    finding: 'throughput-drop',
  },
  'training-stood-still': { headline: (where) => `STOOD STILL after ${where}, the loss is healthy` },
  'guard-acted': {
    headline: (where) => `HEALTHY, and the guard acted at ${where}`,
    isWell: true,
    finding: 'guard-alarm',
  },
};

/** The words of a known failure; null for one without words of its own, and without a failure. */
export const failureWords = (id: string | undefined): FailureWords | null =>
  id !== undefined && Object.hasOwn(FAILURE_WORDS, id) ? FAILURE_WORDS[id]! : null;

/**
 * Whether a failure says more of what happened than the class of an incident does, so that it has the first line.
 *
 * @param over whether the incident is over at the end of the log
 */
export function failureLeads(id: string | undefined, over: boolean): boolean {
  const leads = failureWords(id)?.leads;
  return leads === 'always' || (leads === 'goes on' && over);
}
