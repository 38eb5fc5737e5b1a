/** `status.json`, in which the recorder of the Python package says how it fares. */
import { join } from 'node:path';
import { kindOfPath, readText } from '../bytes/source.ts';
import { isJsonObject } from '../model/json.ts';

export const RECORDER_STATUS = 'status.json';

export interface RecorderStatus {
  /** Steps that it saw; null where the file does not say. */
  readonly steps: number | null;
  /** Why it records no more; null where it does. */
  readonly stopped: string | null;
  /** What it could not do. */
  readonly problems: readonly string[];
}

/**
 * @returns null where the folder has none
 * @throws SyntaxError for a file that is no JSON
 */
export async function recorderStatus(folder: string): Promise<RecorderStatus | null> {
  const path = join(folder, RECORDER_STATUS);
  if ((await kindOfPath(path)) !== 'file') return null;
  const document: unknown = JSON.parse(await readText(path));
  const { steps, stopped, problems } = isJsonObject(document) ? document : {};
  return {
    steps: typeof steps === 'number' ? steps : null,
    stopped: typeof stopped === 'string' ? stopped : null,
    problems: Array.isArray(problems) ? problems.filter((problem) => typeof problem === 'string') : [],
  };
}
