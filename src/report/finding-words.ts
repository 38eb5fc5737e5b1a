/** What is known of each kind of finding, for all pages: the one door from the report to the judge. */
import { findingPage } from '../judge/findings/page.ts';
import { findingTypeOf } from '../judge/findings/registry.ts';
import { tellThresholds } from '../judge/findings/thresholds.ts';
import type { Finding, Severity } from '../model/finding.ts';
import { inertName } from '../model/inert-text.ts';
import type { RunReport } from '../model/report.ts';

/** The title of a finding's kind; of a kind that is not known here, as in a report of another version, its message. */
export const titleOfFinding = ({ id, message }: Pick<Finding, 'id' | 'message'>): string =>
  findingTypeOf(id)?.title ?? inertName(message).replace(/\.$/, '');

/** What to do about findings of a kind; null of a kind that is not known here. */
export const adviceOnKind = (id: string): string | null => findingTypeOf(id)?.docs.advice ?? null;

export interface KindHelp {
  readonly title: string;
  readonly severity: Severity;
  readonly summary: string;
  readonly advice: string;
  /** Its page, in Markdown. */
  readonly page: string;
}

/** What a reader may ask of a kind; null of one that is not known here. */
export function helpOnKind(id: string): KindHelp | null {
  const type = findingTypeOf(id);
  if (type === undefined) return null;
  const { title, severity, docs } = type;
  return { title, severity, summary: docs.summary, advice: docs.advice, page: findingPage(type) };
}

/** The thresholds that a run was judged by, as a sentence without a capital and a full stop; null where they are the defaults. */
export function otherThresholds({ thresholds = {} }: Pick<RunReport, 'thresholds'>): string | null {
  const told = tellThresholds(thresholds);
  return told === '' ? null : `judged by thresholds other than the defaults: ${inertName(told)}`;
}
