/**
 * The results of a study on disk: a header and a line for each cell that is done, appended as it is done. A process that is
 * killed loses the cells in work; a line that it was writing has no end and is left out.
 */

import { diagError } from '../../model/errors.ts';
import { numberFromJson, toJson } from '../../model/json.ts';
import { CELL_VERDICTS, type StudyCell } from '../../model/study.ts';
import { appendLine, truncateFile } from '../../read/bytes/append.ts';
import { holdFile } from '../../read/bytes/hold-file.ts';
import { kindOfPath, readText } from '../../read/bytes/source.ts';
import { idOf, type Results } from './plan.ts';

export interface Resume {
  readonly results: Results;
  add(cell: StudyCell): Promise<void>;
  /** Lets another process have the file. */
  close(): Promise<void>;
}

/**
 * Opens the results of a study, or begins them, and holds the file until it is closed: two that write it would train and
 * write each cell twice.
 *
 * @throws file-held, study-state (they are of another study, or damaged), output-unwritable
 */
export async function openResume(path: string, key: string): Promise<Resume> {
  const close = await holdFile(path);
  try {
    return { ...(await readOrBegin(path, key)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function readOrBegin(path: string, key: string): Promise<Omit<Resume, 'close'>> {
  const results = new Map<string, StudyCell>();
  const fail = (problem: string) => diagError('study-state', { problem }, { path });
  const add = (cell: StudyCell): Promise<void> => appendLine(path, toJson(cell, 0));
  if ((await kindOfPath(path)) === 'missing') {
    await appendLine(path, JSON.stringify({ study: key }));
    return { results, add };
  }
  const text = await readText(path).catch((error: unknown) => {
    throw diagError('study-state', { problem: (error as Error).message }, { path }, error);
  });
  const end = text.lastIndexOf('\n') + 1;
  const [header = '', ...lines] = text.slice(0, end).split('\n').slice(0, -1);
  let found: unknown;
  try {
    found = (JSON.parse(header) as { study?: unknown } | null)?.study;
  } catch {
    found = undefined;
  }
  if (typeof found !== 'string') throw fail('the file holds no results of a study');
  if (found !== key)
    throw fail(
      'they belong to another study: its file, its data or the version that trained them are others',
    );
  for (const [i, line] of lines.entries()) {
    const cell = cellFrom(line);
    if (cell === undefined) throw fail(`line ${i + 2} is damaged`);
    // What crashed is tried again: memory may be there now.
    if (cell.verdict !== 'crashed') results.set(idOf(cell), cell);
  }
  // Otherwise the next cell would be appended to the torn line.
  if (end < text.length) await truncateFile(path, Buffer.byteLength(text.slice(0, end)));
  return { results, add };
}

/** A cell of its JSON; undefined for anything else. */
export function cellFrom(json: string | object): StudyCell | undefined {
  let value: Partial<Record<keyof StudyCell, unknown>>;
  try {
    value = (typeof json === 'string' ? JSON.parse(json) : json) as typeof value;
  } catch {
    return undefined;
  }
  const { model, rule, label, learningRate, seed, verdict } = value ?? {};
  const finalLoss = numberFromJson(value?.finalLoss);
  const whole =
    typeof model === 'string' &&
    typeof rule === 'string' &&
    typeof label === 'string' &&
    typeof learningRate === 'number' &&
    typeof seed === 'number' &&
    CELL_VERDICTS.some((one) => one === verdict) &&
    finalLoss !== undefined &&
    Array.isArray(value.curve) &&
    typeof value.metrics === 'object' &&
    value.metrics !== null;
  if (!whole) return undefined;
  const numbers = (members: object): Record<string, number | null> =>
    Object.fromEntries(Object.entries(members).map(([name, x]) => [name, numberFromJson(x) ?? null]));
  return {
    ...(value as unknown as StudyCell),
    finalLoss,
    curve: (value.curve as unknown[]).map((x) => numberFromJson(x) ?? Number.NaN),
    metrics: Object.fromEntries(
      Object.entries(value.metrics as Record<string, object>).map(([task, one]) => [task, numbers(one)]),
    ) as unknown as StudyCell['metrics'],
  };
}
