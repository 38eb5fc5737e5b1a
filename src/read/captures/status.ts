/** `status.json`, in which the recorder of the Python package says how it fares. */
import { join } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { kindOfPath, readText } from '../bytes/source.ts';

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

/**
 * The folder of a recorder that wrote no capture: the run may well be healthy.
 *
 * @throws recorder-without-capture, where it is one
 */
export async function tellRecorder(path: string): Promise<void> {
  const status = await recorderStatus(path).catch((error) => {
    if (error instanceof SyntaxError) return null;
    throw error;
  });
  if (status === null || status.steps === null) return;
  const { steps, stopped, problems } = status;
  const [why] = stopped === null ? problems : [`it stopped: ${stopped}`];
  const saw = why === undefined ? 'and no incident in their losses' : `and says: ${why}`;
  throw diagError('recorder-without-capture', { path, steps, saw }, { path });
}
