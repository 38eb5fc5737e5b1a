/** Appends to a file of ours, line by line. */
import { appendFile, truncate } from 'node:fs/promises';
import { diagError } from '../../model/errors.ts';

const unwritable = (path: string, error: unknown): Error =>
  diagError('output-unwritable', { path, reason: (error as Error).message }, { path }, error);

/** @param line without its end @throws output-unwritable */
export async function appendLine(path: string, line: string): Promise<void> {
  await appendFile(path, `${line}\n`).catch((error: unknown) => {
    throw unwritable(path, error);
  });
}

/** Cuts a file after so many bytes. @throws output-unwritable */
export async function truncateFile(path: string, bytes: number): Promise<void> {
  await truncate(path, bytes).catch((error: unknown) => {
    throw unwritable(path, error);
  });
}
