/** How errors look on a terminal. */
import type { DiagError, ErrorRecord } from '../../model/errors.ts';
import { formatCount } from '../../model/format-number.ts';
import { inert } from '../../model/inert-text.ts';
import type { SourceRef } from '../../model/source-ref.ts';

const place = (where: SourceRef): string =>
  inert(where.path) +
  (where.line === undefined ? '' : `, line ${formatCount(where.line)}`) +
  (where.byteOffset === undefined ? '' : `, byte ${formatCount(where.byteOffset)}`) +
  (where.tensor === undefined ? '' : `, tensor "${inert(where.tensor)}"`);

/**
 * Three lines: what, where, what to do.
 *
 *     error[file-missing]: runs/a.csv does not exist
 *       --> runs/a.csv
 *       try: check the path; relative paths start at /home/me
 */
export const formatError = (error: DiagError): string => formatErrorRecord(error.toRecord());

/** The same for an error that was recorded on the way. */
export function formatErrorRecord({ id, message, hint, path, ...where }: ErrorRecord): string {
  return (
    `error[${id}]: ${inert(message)}\n` +
    (path === undefined ? '' : `  --> ${place({ path, ...where })}\n`) +
    (hint === undefined ? '' : `  try: ${inert(hint)}\n`)
  );
}

/** A bug of ours: shown whole, with a request to report it. */
export function formatBug(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `bug: this should not happen; please report it with the command and the input\n${inert(stack)}\n`;
}
