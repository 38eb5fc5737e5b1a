/** The model description that a recorder copies into its capture. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';

const python = pythonWith('numpy');

it.skipIf(python === undefined)('an objective comes with the layers model that it names', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'clippy-recorder-model-'));
  try {
    const copied = (name: string, text: string): string[] => {
      const [from, to] = [join(scratch, 'from'), join(scratch, name)];
      for (const folder of [from, to]) mkdirSync(folder, { recursive: true });
      writeFileSync(join(from, 'net.keras'), 'net');
      writeFileSync(join(from, name), text);
      const script =
        'import sys; from clippy_capture import copy_model; copy_model(sys.argv[1], sys.argv[2])';
      execFileSync(python!, ['-B', '-c', script, join(from, name), to], {
        env: { ...process.env, PYTHONPATH: join(projectRoot, 'recorders/python') },
        stdio: 'pipe',
      });
      return readdirSync(to).sort();
    };
    expect(copied('objective.json', '{"kind":"layers","version":1,"model":"net.keras"}')).toEqual([
      'net.keras',
      'objective.json',
    ]);
    expect(copied('model.json', '{"kind":"ranking","version":1}')).toEqual(['model.json']);
    expect(copied('loss.js', 'export const loss = 0')).toEqual(['loss.js']);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
