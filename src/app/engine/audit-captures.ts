/** Audits of every capture and ledger below a path. */
import { auditCapture } from '../../experiment/audit/audit.ts';
import { auditLedger } from '../../experiment/audit/of-ledger.ts';
import type { Audit } from '../../model/audit.ts';
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import { isCapture, openCapture } from '../../read/captures/read.ts';
import { isLedger, openLedger } from '../../read/ledger/read.ts';
import { walk } from './walk.ts';

export interface AuditedCapture {
  readonly path: string;
  readonly audit: Audit;
}

/**
 * Audits the captures and ledgers in a folder, or the one that is named.
 *
 * @returns the audits by path, and the damage of their files
 * @throws capture-manifest-missing, and what opening a capture throws
 */
export async function auditCaptures(
  path: string,
): Promise<{ readonly audits: readonly AuditedCapture[]; readonly errors: readonly ErrorRecord[] }> {
  const audits: AuditedCapture[] = [];
  const errors: ErrorRecord[] = [];
  const { captures, ledgers } = await recordsIn(path);
  for (const folder of captures) {
    const capture = await openCapture(folder);
    errors.push(...capture.errors);
    audits.push({ path: folder, audit: await auditCapture(capture) });
  }
  for (const folder of ledgers)
    audits.push({ path: folder, audit: await auditLedger(await openLedger(folder)) });
  return { audits, errors };
}

/** The record that is named, or those below a folder. @throws capture-manifest-missing for a folder without any */
async function recordsIn(path: string): Promise<{ captures: readonly string[]; ledgers: readonly string[] }> {
  if (path.endsWith('capture.json') || (await isCapture(path))) return { captures: [path], ledgers: [] };
  if (await isLedger(path)) return { captures: [], ledgers: [path] };
  const [captures, ledgers]: [string[], string[]] = [[], []];
  for await (const met of walk(path)) {
    if (met.kind === 'capture') captures.push(met.path);
    if (met.kind === 'ledger') ledgers.push(met.path);
  }
  if (captures.length + ledgers.length === 0)
    throw diagError('capture-manifest-missing', { path, nearest: '' }, { path });
  return { captures, ledgers };
}
