/** The audits of a run's captures: what each link amounts to, and the one audit that its report shows. */
import { AUDIT_RULE, type AuditedCapture, auditOutcomes } from '../../judge/findings/audit-links.ts';
import { type Audit, brokenLinks } from '../../model/audit.ts';
import { DiagError, reasonOf } from '../../model/errors.ts';
import type { Outcome } from '../../model/finding.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { Limits } from './evidence.ts';

export interface AuditLook {
  /** Of the captures the first whose links are broken, else the first; null where none was audited. */
  readonly audit: Audit | null;
  /** Of every link, or of all of them at once (`audit`) where nothing was audited. */
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** Captures that were not audited, each with the reason. */
  readonly unread: readonly string[];
}

export const notAudited = (reason: string): AuditLook => ({
  audit: null,
  outcomes: new Map([[AUDIT_RULE, { kind: 'not-applicable', reason }]]),
  unread: [],
});

export const NO_AUDIT: AuditLook = notAudited('no capture is in the folder of the log');

/** Audits each capture until the deadline. */
export async function auditOf(
  captures: readonly Capture[],
  { clock, deadline, late }: Pick<Limits, 'clock' | 'deadline' | 'late'>,
): Promise<AuditLook> {
  if (captures.length === 0) return NO_AUDIT;
  const { auditCapture } = await import('../../experiment/audit/audit.ts');
  const audited: AuditedCapture[] = [];
  const unread: string[] = [];
  for (const capture of captures) {
    const { path } = capture;
    if (clock() >= deadline) {
      unread.push(`${path} was not audited: ${late}`);
      continue;
    }
    try {
      audited.push({ path, audit: await auditCapture(capture) });
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      unread.push(`${path} could not be audited: ${reasonOf(error)}`);
    }
  }
  if (audited.length === 0) return { ...notAudited('no capture was audited'), unread };
  const shown = audited.find(({ audit }) => brokenLinks(audit).length > 0) ?? audited[0]!;
  return { audit: shown.audit, outcomes: auditOutcomes(audited), unread };
}
