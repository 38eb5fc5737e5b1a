/** The arm of a closed loop as the Python package stores it in capture.json: made by another program, so nothing of it is taken on trust. */
import { isJsonObject } from '../../model/json.ts';
import type { ReplayArm, SkippedRows } from '../../model/replay.ts';

/** What an arm changed; null for anything else than an arm. */
export function readArm(value: unknown): ReplayArm | null {
  if (!isJsonObject(value) || typeof value.kind !== 'string') return null;
  const { kind, steps, rows, ...rest } = value;
  const numbers = (['factor', 'learningRate', 'at'] as const).filter((name) => rest[name] !== undefined);
  const skipped = rows === undefined ? undefined : readRows(rows);
  if (skipped === null || (kind === 'skip-rows' && skipped === undefined)) return null;
  if (!isNumbers(steps === undefined ? [] : steps) || !isNumbers(numbers.map((name) => rest[name])))
    return null;
  return {
    kind,
    ...(steps === undefined ? {} : { steps: steps as number[] }),
    ...(skipped === undefined ? {} : { rows: skipped }),
    ...Object.fromEntries(numbers.map((name) => [name, rest[name] as number])),
  };
}

const isNumbers = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every(Number.isFinite);

/** A place in a batch, or a step. */
const isPlace = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Rows that were left out; null where the value is no such list, or names no row. */
function readRows(value: unknown): readonly SkippedRows[] | null {
  if (!Array.isArray(value) || value.length === 0) return null;
  const found = value.map(readRowsOfBatch);
  return found.includes(null) ? null : (found as SkippedRows[]);
}

function readRowsOfBatch(value: unknown): SkippedRows | null {
  if (!isJsonObject(value)) return null;
  const { step, rows, ids = null } = value;
  if (!isPlace(step) || !Array.isArray(rows) || rows.length === 0 || !rows.every(isPlace)) return null;
  if (ids === null) return { step, rows, ids };
  const isId = (id: unknown): boolean => typeof id === 'string' || Number.isFinite(id);
  return Array.isArray(ids) && ids.length === rows.length && ids.every(isId) ? { step, rows, ids } : null;
}
