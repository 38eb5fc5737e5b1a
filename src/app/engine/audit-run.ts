/** The audit of a run: of its captures the one whose links are broken, else the first. */
import { type Audit, brokenLinks } from '../../model/audit.ts';
import { DiagError } from '../../model/errors.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { Limits } from './evidence.ts';

/** @returns null without a capture, without time, and where no capture can be read to its end */
export async function auditOf(captures: readonly Capture[], limits: Limits): Promise<Audit | null> {
  if (captures.length === 0) return null;
  const { auditCapture } = await import('../../experiment/audit/audit.ts');
  let first: Audit | null = null;
  for (const capture of captures) {
    if (limits.clock() >= limits.deadline) break;
    try {
      const audit = await auditCapture(capture);
      if (brokenLinks(audit).length > 0) return audit;
      first ??= audit;
    } catch (error) {
      // Checks of captures report what cannot be read.
      if (!(error instanceof DiagError)) throw error;
    }
  }
  return first;
}
