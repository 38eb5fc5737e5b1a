/** A cause in words. */
import type { Cause } from '../model/cause.ts';

/** How sure a cause is, in words. */
export const CONFIDENCE = { shown: 'shown by experiment', likely: 'likely' } as const;

/** What changed, as a reader calls it. */
export const TRIGGERS: Readonly<Record<Cause['trigger'], string>> = {
  data: 'the data changed',
  'learning-rate': 'the learning rate rose',
  'optimizer-state': 'the optimizer state was lost or replaced',
  'weight-decay': 'weight decay times the learning rate was too large',
  precision: 'numbers overflowed',
  sharpness: 'the steps were too long for the curvature of the loss',
  code: 'the training code computes something else than it declares',
  hardware: 'the hardware changed a value',
  initialisation: 'the initial weights do not train',
  order: 'the order of the data changed',
  schedule: 'the learning rate schedule restarted as planned',
  evaluation: 'the evaluation is wrong, not the training',
  'none-found': 'not found',
};

/** A cause in one sentence, without its end: what changed, how sure that is, and what shows it. Has untrusted text. */
export const causeWords = ({ trigger, confidence, statement, failure }: Cause): string =>
  failure !== undefined
    ? statement
    : `${TRIGGERS[trigger]}${confidence === null ? '' : ` (${CONFIDENCE[confidence]})`}: ${statement}`;

/** Whether there is something to tell: an incident, or a failure beyond the loss. */
export const isTold = ({ onsetStep, failure }: Cause): boolean => onsetStep !== null || failure !== undefined;
