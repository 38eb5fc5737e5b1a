/** Reads a report back. Apart from its schema, so that the public types name no package that the user does not have. */
import { diagError } from '../model/errors.ts';
import { READ_MAJORS, type Report, SCHEMA_VERSION } from '../model/report.ts';
import { parseUniqueJson } from '../model/unique-json.ts';
import { reportSchema } from './report-schema.ts';

/** Whether parsed JSON says of itself that it is a report, so that its errors are a report's. */
export const isReportLike = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'schemaVersion' in value && 'runs' in value;

/**
 * Reads a report back. Members that this version does not know stay, in their order: the report renders to the same
 * bytes.
 *
 * @throws report-invalid where it is no JSON, holds a key twice, is of a major version that is not read, or not of the form
 */
export function parseReport(text: string, path: string): Report {
  const invalid = (problem: string, cause?: unknown): Error =>
    diagError('report-invalid', { path, problem }, { path }, cause);
  const read = parseUniqueJson({ text, path, what: 'the report', maxDepth: 100 }, ({ problem, cause }) =>
    invalid(problem, cause),
  );
  const value = text.includes(PROTO) ? withStandIns(read) : read;
  if (!isReportLike(value)) throw invalid('it has no "schemaVersion" and "runs"');
  const { schemaVersion } = value as { schemaVersion: unknown };
  const major = String(schemaVersion).split('.')[0];
  if (!READ_MAJORS.some((read) => read === major))
    throw invalid(`it has schema version ${String(schemaVersion)}, this tool reads 1.0 to ${SCHEMA_VERSION}`);
  const parsed = reportSchema.safeParse(value);
  if (parsed.success) return inOrderOf(value, parsed.data) as Report;
  const issue = parsed.error.issues[0]!;
  throw invalid(`${issue.path.join('.') || 'its top'}: ${issue.message}`);
}

/** A hyperparameter of this name is one of many, but zod leaves it out: another name replaces it while zod checks. */
const PROTO = '__proto__';
const STAND_IN = '\u0000proto';

function withStandIns(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withStandIns);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key === PROTO ? STAND_IN : key, withStandIns(member)]),
  );
}

/** What zod made of a value, with the members in the order and of the names that they came in. */
function inOrderOf(original: unknown, parsed: unknown): unknown {
  if (Array.isArray(original) && Array.isArray(parsed))
    return original.map((member, i) => inOrderOf(member, parsed[i]));
  if (typeof original !== 'object' || original === null || typeof parsed !== 'object' || parsed === null)
    return parsed;
  const ordered = {};
  for (const key of Object.keys(original)) {
    const member = (original as Record<string, unknown>)[key];
    const value = Object.hasOwn(parsed, key)
      ? inOrderOf(member, (parsed as Record<string, unknown>)[key])
      : member;
    const name = key === STAND_IN ? PROTO : key;
    Object.defineProperty(ordered, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return ordered;
}
