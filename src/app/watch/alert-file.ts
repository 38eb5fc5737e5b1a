/** Where a watcher remembers what it raised. */
import { createHash } from 'node:crypto';
import { dirname, join, resolve } from 'node:path';
import { diagError } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { isUrl } from '../../model/url.ts';
import { targetOf, writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { makeFolder } from '../../read/bytes/folder.ts';
import { kindOfPath, readText } from '../../read/bytes/source.ts';
import type { CommandIo } from '../cli/command.ts';
import { type AlertState, alertStateSchema, NO_ALERTS } from '../engine/watch-alerts.ts';

/** The default file for what is watched. A URL is hashed, with what may be a secret in it. */
export function stateFileOf(watched: string): string {
  const name = isUrl(watched) ? watched : resolve(watched);
  return join(
    '.clippy-diag-cache',
    `watch-${createHash('sha256').update(name).digest('hex').slice(0, 16)}.json`,
  );
}

/** @throws output-is-input */
export async function refuseWatched(stateFile: string, path: string): Promise<void> {
  // A log that is not there yet has no file to compare.
  if (!isUrl(path) && (await targetOf(stateFile)) === (await targetOf(path)))
    throw diagError('output-is-input', { path: stateFile }, { path: stateFile });
}

export async function readState(path: string, io: CommandIo): Promise<AlertState> {
  if ((await kindOfPath(path)) === 'missing') return NO_ALERTS;
  try {
    return alertStateSchema.parse(JSON.parse(await readText(path)));
  } catch {
    await io.remark(`${inertName(path)} is no state of a watcher and will be written anew`);
    return NO_ALERTS;
  }
}

export async function writeState(path: string, state: AlertState): Promise<void> {
  await makeFolder(dirname(path));
  await writeFileAtomic(path, `${JSON.stringify(state, null, 2)}\n`);
}
