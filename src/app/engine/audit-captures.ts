/** Audits of every capture below a path. */
import { auditCapture } from '../../experiment/audit/audit.ts';
import type { Audit } from '../../model/audit.ts';
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { isCapture, openCapture } from '../../read/captures/read.ts';
import { walk } from './walk.ts';

export interface AuditedCapture {
  readonly path: string;
  readonly audit: Audit;
}

/**
 * Audits the captures in a folder, or the one that is named.
 *
 * @returns the audits by path, and the damage of their files
 * @throws capture-manifest-missing, and what opening a capture throws
 */
export async function auditCaptures(
  path: string,
): Promise<{ readonly audits: readonly AuditedCapture[]; readonly errors: readonly ErrorRecord[] }> {
  const audits: AuditedCapture[] = [];
  const errors: ErrorRecord[] = [];
  for (const folder of await capturesIn(path)) {
    const capture = await openCapture(folder);
    errors.push(...capture.errors);
    audits.push({ path: folder, audit: await auditCapture(capture) });
  }
  return { audits, errors };
}

/** The capture that is named, or those below a folder. @throws capture-manifest-missing for a folder without captures */
async function capturesIn(path: string): Promise<string[]> {
  if (path.endsWith('capture.json') || (await isCapture(path))) return [path];
  const found: string[] = [];
  for await (const met of walk(path)) if (met.kind === 'capture') found.push(met.path);
  if (found.length === 0) throw diagError('capture-manifest-missing', { path, nearest: '' }, { path });
  return found;
}
