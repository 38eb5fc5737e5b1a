/** What the Python recorders share: the model description in a capture, and when a capture begins. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

it.skipIf(python === undefined).each([
  ['asked for while one is written', 'asked'],
  ['of a jump at the last step of one', 'jump'],
])('a capture %s begins at the step after', (_what, how) => {
  const scratch = mkdtempSync(join(tmpdir(), 'clippy-recorder-next-'));
  const folder = join(scratch, 'capture');
  const script = `
import sys, numpy as np
from clippy_capture import CaptureBuffer
buffer = CaptureBuffer(sys.argv[1], 10, 4, 3, None, lambda step, rates: {})
for step in range(50):
    due = buffer.snapshot_due()
    w = {"param/w": np.zeros(1, np.float32)} if due else None
    if step == 40 or step == 42 and sys.argv[2] == "asked":
        buffer.wanted = "requested"
    loss = 1 + 0.001 * (step % 3) + (9 if step >= 44 and sys.argv[2] == "jump" else 0)
    buffer.add(step, loss, [0.1], {}, {"grad/w": np.ones(1, np.float32)}, w, {} if due and buffer.manifest is None else None)
`;
  try {
    execFileSync(python!, ['-B', '-c', script, folder, how], {
      env: { ...process.env, PYTHONPATH: join(projectRoot, 'recorders/python') },
      stdio: 'pipe',
    });
    const recorded = (path: string): number[] =>
      (
        JSON.parse(readFileSync(join(path, 'capture.json'), 'utf8')) as { steps: { step: number }[] }
      ).steps.map(({ step }) => step);
    expect(recorded(folder).at(-1)).toBe(44);
    expect(recorded(`${folder}-2`).slice(0, 2)).toEqual([45, 46]);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

it.skipIf(python === undefined)('five times the loss on the way down is captured, once', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'clippy-recorder-falling-'));
  const script = `
import math, sys, numpy as np
from clippy_capture import CaptureBuffer
buffer = CaptureBuffer(sys.argv[1], 10, 4, 3, None, lambda step, rates: {})
for step in range(100):
    due = buffer.snapshot_due()
    w = {"param/w": np.zeros(1, np.float32)} if due else None
    loss = math.exp(-2 * step / 100) * (1 + 0.02 * math.sin(7 * step)) * (5 if step >= 60 else 1)
    buffer.add(step, loss, [0.1], {}, {"grad/w": np.ones(1, np.float32)}, w, {} if due and buffer.manifest is None else None)
`;
  try {
    execFileSync(python!, ['-B', '-c', script, join(scratch, 'capture')], {
      env: { ...process.env, PYTHONPATH: join(projectRoot, 'recorders/python') },
      stdio: 'pipe',
    });
    const { flushed } = JSON.parse(readFileSync(join(scratch, 'capture/capture.json'), 'utf8')) as {
      flushed: { step: number; reason: string };
    };
    expect(flushed.step).toBe(60);
    expect(flushed.reason).toMatch(/^loss 1\.\d+ after a median of 0\.3\d+$/);
    expect(readdirSync(scratch)).toEqual(['capture']);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
