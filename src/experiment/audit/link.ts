/** Entries of an audit, completed. */
import type { AuditLink, AuditLinkName } from '../../model/audit.ts';

type Given = Pick<AuditLink, 'outcome' | 'checks' | 'statement'> & Partial<AuditLink>;

/** An entry with nothing said beyond what is given. */
export const linkEntry = (link: AuditLinkName, given: Given): AuditLink => ({
  id: given.cause == null ? link : `${link}:${given.cause}`,
  link,
  broken: given.outcome === 'broken' ? 1 : 0,
  step: null,
  tensor: null,
  index: null,
  cause: null,
  factor: null,
  residual: null,
  residualDeclared: null,
  confidence: null,
  fix: null,
  wouldTell: null,
  follows: null,
  ...given,
});

export const holds = (link: AuditLinkName, checks: number, statement: string): AuditLink =>
  linkEntry(link, { outcome: 'holds', checks, statement });

export const cannotTell = (link: AuditLinkName, statement: string, wouldTell: string): AuditLink =>
  linkEntry(link, { outcome: 'cannot-tell', checks: 0, statement, wouldTell });

export const notApplicable = (link: AuditLinkName, statement: string): AuditLink =>
  linkEntry(link, { outcome: 'not-applicable', checks: 0, statement });

export const broken = (
  link: AuditLinkName,
  given: Omit<Given, 'outcome' | 'cause'> & Required<Pick<AuditLink, 'cause' | 'confidence' | 'fix'>>,
): AuditLink => linkEntry(link, { ...given, outcome: 'broken' });

/** `"a"`, or `"a" and 2 more`. */
export const named = (names: readonly string[]): string =>
  `"${names[0]}"${names.length > 1 ? ` and ${names.length - 1} more` : ''}`;
