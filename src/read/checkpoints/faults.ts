/** What can be wrong with a checkpoint of any format, each said in one way. */
import { type DiagError, diagError } from '../../model/errors.ts';

interface Where {
  readonly path: string;
  readonly tensor?: string;
  readonly byteOffset?: number;
}

/** A file that is not what its format says. @param cause what was thrown where that showed */
export const malformed = (format: string, problem: string, where: Where, cause?: unknown): DiagError =>
  diagError('checkpoint-malformed', { format, problem }, where, cause);

/** A file that says two things. */
export const ambiguous = (problem: string, where: Where): DiagError =>
  diagError('checkpoint-ambiguous', { problem }, where);

/** A file of `bytes` bytes in which something ends at byte `end`, beyond its own. */
export const truncated = (what: string, end: number, bytes: number, where: Where): DiagError =>
  diagError('checkpoint-truncated', { what, end, bytes }, where);

/** A tensor whose element type is not read. */
export const unsupportedDtype = (tensor: string, dtype: string, path: string): DiagError =>
  diagError('dtype-unsupported', { tensor, dtype }, { path, tensor });
