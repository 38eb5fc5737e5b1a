/** The first line of a page about a run whose loss is healthy and whose steps did not do what the code declares. */
import type { AuditLink, AuditLinkName } from './audit.ts';
import { formatNumber } from './format-number.ts';

const timesOf = ({ factor }: AuditLink): string =>
  factor === null ? 'NOT' : `${formatNumber(factor, 'brief')} TIMES`;

/** By the first link that is broken. */
const LINK_WORDS: Readonly<Record<AuditLinkName, (link: AuditLink) => string>> = {
  batch: () => 'BATCHES ARE WRONG',
  mode: () => 'TRAINED IN THE WRONG MODE',
  loss: () => 'LOSS NOT THAT OF THE BATCH',
  gradient: () => 'GRADIENT IS WRONG',
  accumulation: (link) => `GRADIENT ${timesOf(link)} THAT OF THE LOSS`,
  unscale: () => 'CLIPPED BEFORE UNSCALING',
  clip: () => 'CLIPPING NOT AS DECLARED',
  optimizer: () => 'OPTIMIZER NOT AS DECLARED',
  weights: () => 'SOMETHING ELSE MOVED THE WEIGHTS',
  between: () => 'SOMETHING CHANGED BETWEEN STEPS',
  ranks: () => 'RANKS ARE NOT ONE TRAINING',
};

/** @param unit of its step */
export function brokenLinkHeadline(link: AuditLink, unit: string): string {
  const at = link.step === null ? '' : ` at ${unit} ${link.step}`;
  return `${LINK_WORDS[link.link](link)}${at}, the loss is healthy`;
}
