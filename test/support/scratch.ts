/** Folders that a test file writes to, removed when it is done. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** Makes a new empty folder with every call, all in one in the system's temporary folder. */
export function scratchFolders(name: string): () => string {
  const root = mkdtempSync(join(tmpdir(), `clippy-diag-${name}-`));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  let folders = 0;
  return () => {
    const path = join(root, `${folders++}`);
    mkdirSync(path);
    return path;
  };
}
