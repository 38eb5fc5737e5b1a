/** What an incident of a class is called. Titles of findings, alerts and the first lines of pages are made of these words. */
import type { VerdictClass } from './report.ts';

export type IncidentClass = Exclude<VerdictClass, 'healthy'>;

interface IncidentWords {
  /** Follows the name of a series. */
  readonly did: string;
  /** Precedes the step at which it began. */
  readonly since: 'at' | 'from' | 'since';
  /** How it ends, where it is described without its steps. */
  readonly end: string;
}

const WORDS: Readonly<Record<IncidentClass, IncidentWords>> = {
  inconclusive: { did: 'is high', since: 'since', end: ', too soon to tell whether it stays' },
  'micro-divergence': { did: 'rose', since: 'at', end: ' and came back, or settled a little higher' },
  drift: { did: 'went up', since: 'from', end: ' and stays up' },
  'never-learned': { did: 'learnt nothing', since: 'since', end: '' },
  'full-divergence': { did: 'diverged', since: 'at', end: ' and did not come back' },
  'non-finite': { did: 'is not a number', since: 'from', end: ' (NaN or infinite)' },
};

export const isIncidentClass = (name: string): name is IncidentClass => Object.hasOwn(WORDS, name);

/** As the title of a kind of finding: `The loss went up and stays up`. */
export const incidentTitle = (name: IncidentClass): string => `The loss ${WORDS[name].did}${WORDS[name].end}`;

/** What a sentence about an incident says of one that is not over. */
export const NOT_BACK = 'does not come back';

/**
 * As a headline: `DIVERGED at step 400`.
 *
 * @param nearlyBack of a rise that the log does not see the end of: whether the loss is about where it was
 */
export function incidentHeadline(name: IncidentClass, onset: string, nearlyBack = false): string {
  const { did, since, end } = WORDS[name];
  if (name === 'inconclusive' && nearlyBack) return `ROSE at ${onset}, too soon to tell whether it is over`;
  const head = `${did.replace(/^is /, '').toUpperCase()} ${since} ${onset}`;
  return name === 'inconclusive' ? head + end : head;
}

/**
 * As a clause: `loss rose at step 400, back at 412`.
 *
 * @param onset with its unit
 * @param back where it came back; null where it did not
 */
export function incidentClause(
  name: IncidentClass,
  series: string,
  onset: string,
  back: string | null,
): string {
  const { did, since, end } = WORDS[name];
  const came = back === null ? '' : `, back at ${back}`;
  const late = name === 'full-divergence' && back !== null ? ': too late' : '';
  return `${series} ${did} ${since} ${onset}${name === 'inconclusive' ? end : came}${late}`;
}
