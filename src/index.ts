/** The public API: what semantic versioning covers. */
export {
  DiagError,
  ERROR_TEXTS,
  type ErrorCode,
  type ErrorRecord,
  EXIT,
  type ExitCode,
} from './model/errors.ts';
