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
  'none-found': 'not found',
};

/** A cause in one sentence, without its end: what changed, how sure that is, and what shows it. Has untrusted text. */
export const causeWords = ({ trigger, confidence, statement }: Cause): string =>
  `${TRIGGERS[trigger]}${confidence === null ? '' : ` (${CONFIDENCE[confidence]})`}: ${statement}`;
