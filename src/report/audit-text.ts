/** An audit as a table of its links, broken ones first. */
import { Ansis } from 'ansis';
import { type Audit, type AuditLink, type AuditOutcome, brokenLinks } from '../model/audit.ts';
import { counted, formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { RenderOptions } from './format.ts';
import { wrap } from './wrap.ts';

/** Marks of the outcomes of a check, and the order in which they are shown. */
export const OUTCOME_MARKS: Readonly<Record<AuditOutcome, readonly [mark: string, ascii: string]>> = {
  broken: ['✗', 'x'],
  'cannot-tell': ['?', '?'],
  holds: ['✓', '+'],
  'not-applicable': ['–', '-'],
};
export const OUTCOME_ORDER: readonly AuditOutcome[] = ['broken', 'cannot-tell', 'holds', 'not-applicable'];
/** Width of the column of names. */
const NAMES = 15;

/** `holds` of so many checks, in one line. */
function auditSummary({ links, checks }: Audit): string {
  const held = links.filter(({ outcome }) => outcome === 'holds').length;
  return `${formatCount(checks)} checks of ${held} ${held === 1 ? 'link' : 'links'} hold`;
}

/** How the links went, in one line. */
export function auditHeadline(audit: Audit): string {
  const { length } = brokenLinks(audit);
  return length === 0 ? auditSummary(audit) : `${counted(length, 'link')} broken`;
}

/** Pure. What holds and what does not apply is one line each; what is broken has its proof, its fix and its certainty. */
export function renderAudit(audit: Audit, options: RenderOptions): string {
  const paint = new Ansis(options.colour ? 1 : 0);
  const mark = (outcome: AuditOutcome): string => {
    const text = OUTCOME_MARKS[outcome][options.ascii ? 1 : 0]!;
    return outcome === 'broken' ? paint.red(text) : outcome === 'holds' ? paint.green(text) : paint.dim(text);
  };
  const lines = OUTCOME_ORDER.flatMap((outcome) =>
    audit.links
      .filter((link) => link.outcome === outcome)
      .flatMap((link) => [
        ...headed(`${mark(outcome)} ${link.link.padEnd(NAMES - 2)}`, textOf(link), options.width),
        ...details(link).flatMap((text) => wrap(inertName(text), options.width, ' '.repeat(NAMES))),
      ]),
  );
  return lines.join('\n');
}

function textOf({ outcome, statement, confidence, cause, step }: AuditLink): string {
  if (outcome !== 'broken') return inertName(statement);
  const since = step === null ? '' : `, step ${step}`;
  return inertName(`${cause} (${confidence ?? 'cause not known'}${since}): ${statement}`);
}

function details({ fix, wouldTell, follows }: AuditLink): string[] {
  return [
    ...(fix === null ? [] : [`try: ${fix}`]),
    ...(wouldTell === null ? [] : [`would tell: ${wouldTell}`]),
    ...(follows === null ? [] : [`follows from ${follows}`]),
  ];
}

/** A text to the right of a head of fixed width. */
function headed(head: string, text: string, width: number): string[] {
  const [first = '', ...others] = wrap(text, width, ' '.repeat(NAMES));
  return [head + first.slice(NAMES), ...others];
}
