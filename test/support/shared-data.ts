/** The folder of real logs and checkpoints with independently computed facts; tests that need it skip without it. */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const projectRoot = fileURLToPath(new URL('../..', import.meta.url));

/** Absolute path of the folder, or undefined where it is not present. */
export const sharedData: string | undefined = [
  process.env.CLIPPY_DIAG_SHARED_DATA,
  resolve(projectRoot, '../shared/data'),
].find((path): path is string => path !== undefined && existsSync(join(path, 'manifest.json')));

/** One file of the manifest. Numbers that are not finite are the strings "NaN", "Infinity", "-Infinity". */
export interface ManifestFile {
  readonly kind: string;
  readonly dest: string;
  readonly facts?: Record<string, unknown>;
  readonly expectedClass?: readonly string[];
  readonly expectedOnset?: { readonly step: number; readonly tolerance: number };
}

/** The manifest's entries, none where the folder is not present. */
export const manifestFiles: readonly ManifestFile[] =
  sharedData === undefined
    ? []
    : (JSON.parse(readFileSync(join(sharedData, 'manifest.json'), 'utf8')) as { files: ManifestFile[] })
        .files;
