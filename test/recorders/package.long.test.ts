/** What the Python package records, read by the command line: formulas follow the run, and what has no formula is never guessed. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { recordedReplays } from '../../src/experiment/replay/recorded.ts';
import { replayCapture } from '../../src/experiment/replay/replay.ts';
import type { ReplayEntry } from '../../src/model/replay.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';

const python = pythonWith('torch', 'numpy');

interface Truth {
  readonly norms: Record<number, number>;
  readonly updates: Record<number, number>;
  readonly problems: readonly string[];
}

describe.skipIf(python === undefined)(
  'captures of the Python package (skipped where Python has no torch)',
  () => {
    const out = mkdtempSync(join(tmpdir(), 'clippy-package-'));
    let truth: Record<'adamw' | 'nadam' | 'few', Truth>;
    beforeAll(() => {
      const script = join(projectRoot, 'test/recorders/package_captures.py');
      execFileSync(python!, ['-B', script, join(projectRoot, 'python/src'), out], { stdio: 'pipe' });
      truth = JSON.parse(readFileSync(join(out, 'truth.json'), 'utf8')) as typeof truth;
    });
    afterAll(() => rmSync(out, { recursive: true, force: true }));
    const analyse = (path: string) => analyze([path], { toolVersion: '1', now: () => new Date(0) });
    const open = (name: string) => openCapture(join(out, name));
    const replay = async (name: string, mode: 'as-recorded' | 'open-loop', ...rules: string[]) =>
      replayCapture(await open(name), { mode, rules: rules.flatMap(parseRule) });

    it('steps of a formula are rebuilt, a parameter without gradient left as it is, and every snapshot is met', async () => {
      const { findings, snapshots, entries } = await replay('adamw', 'as-recorded', 'none', 'global-norm:1');
      expect([findings, snapshots]).toEqual([[], 4]);
      for (const [i, step] of entries[1]!.steps.entries()) {
        const factor = Math.min(1, 1 / (truth.adamw.norms[step]! + 1e-6));
        expect(entries[1]!.minClipFactor[i]! / factor).toBeCloseTo(1, 5);
        expect(entries[1]!.updateNorm[i]! / truth.adamw.updates[step]!).toBeCloseTo(1, 3);
      }
    });

    it('without a formula factors of gradients are exact, updates are those that were recorded, the rest is unknown', async () => {
      const { entries, notes, onsetStep } = await replay(
        'nadam',
        'as-recorded',
        'none',
        'global-norm:1',
        'global-norm:1e9',
        'clippy',
      );
      expect(entries.map((entry: ReplayEntry) => entry.rule)).toEqual(['none', 'global-norm', 'global-norm']);
      expect(notes.join()).toContain('rules that act on the update are left out: clippy');
      const [none, clipped, loose] = entries as [ReplayEntry, ReplayEntry, ReplayEntry];
      expect(none.optimizer).toMatchObject({ name: 'NAdam', learningRate: 1e-3 });
      for (const [i, step] of none.steps.entries()) {
        expect(none.updateNorm[i]! / truth.nadam.updates[step]!).toBeCloseTo(1, 5);
        expect(clipped.minClipFactor[i]! / Math.min(1, 1 / (truth.nadam.norms[step]! + 1e-6))).toBeCloseTo(
          1,
          5,
        );
      }
      expect(clipped.updateNorm.at(-1)).toBeNaN();
      expect(clipped).toMatchObject({
        verdict: 'cannot-tell',
        why: expect.stringContaining('no formula is known'),
      });
      // What changes no step up to the onset prevents nothing, whatever the optimizer.
      expect(loose).toMatchObject({ verdict: 'not-prevented', confidence: 'exact' });
      expect(onsetStep).toBe(101);
      await expect(replay('nadam', 'open-loop', 'none')).rejects.toThrow(
        'no formula is known for the steps of NAdam',
      );
    });

    it('closed loops of the own framework are shown with their arms, judged against the one without any', async () => {
      for (const name of ['adamw', 'nadam']) {
        const { entries, notes } = recordedReplays(await open(name));
        expect(notes).toEqual([]);
        const labels = entries.map(({ label }) => label);
        const recorded = name === 'adamw' ? 'global-norm:1' : 'none';
        expect(labels.slice(0, 4)).toEqual(['none', 'global-norm:1', 'agc:0.01', 'clippy:paper']);
        expect(labels).toContain(`${recorded}, learning rate times 0.1`);
        expect(labels).toContain(`${recorded}, learning rate 0.001`);
        const old = entries.find(({ arm }) => arm?.learningRate === 0.001)!;
        expect(old.arm).toEqual({ kind: 'learning-rate', learningRate: 0.001 });
        expect(old.verdict).toBe('prevented');
        expect(old.referenceLoss).toHaveLength(old.steps.length);
      }
    });

    it('and say why, and what would have held, with a line for the script', async () => {
      const [lost] = (await analyse(join(out, 'lost'))).runs;
      expect(lost!.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown' });
      const rate = lost!.remedies!.find(({ learningRate }) => learningRate === 0.01)!;
      expect(rate).toMatchObject({ holds: true, tried: 'closed-loop' });
      expect(rate.paste).toBe('for group in optimizer.param_groups: group["lr"] = 0.01');
      const clip = lost!.remedies!.find(({ rule }) => rule === 'global-norm:1')!;
      expect(clip.paste).toBe('torch.nn.utils.clip_grad_norm_(model.parameters(), 1)');
      expect(lost!.remedies!.map(({ rule }) => rule)).not.toContain('global-norm:1000000');
    });

    it('a run that came back is shown its cause, with or without a formula, and needs nothing', async () => {
      for (const name of ['adamw', 'nadam']) {
        const [run] = (await analyse(join(out, name))).runs;
        expect(run!.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'shown', onsetStep: 101 });
        expect(run!.remedies![0]).toMatchObject({ action: 'none-needed', holds: true });
        expect(run!.remedies!.map(({ action }) => action)).not.toContain('clip');
      }
    });

    it('loops that leave the recorded losses before the onset show nothing', async () => {
      const folder = join(out, 'adrift');
      cpSync(join(out, 'adamw'), folder, { recursive: true });
      const manifest = JSON.parse(readFileSync(join(folder, 'capture.json'), 'utf8'));
      for (const { loss } of manifest.replay) for (const i of [7, 8]) loss[i] *= 1.02;
      writeFileSync(join(folder, 'capture.json'), JSON.stringify(manifest));
      const [run] = (await analyse(folder)).runs;
      expect(run!.cause).toMatchObject({ trigger: 'learning-rate', confidence: 'likely' });
      expect(run!.remedies!.map(({ tried }) => tried)).toEqual([null]);
    });

    it('gradients that memory was too small for are missed by name, and there once Python has computed them again', async () => {
      expect((await open('few')).errors).toEqual([]);
      await expect(replay('few', 'as-recorded', 'none')).rejects.toThrow('step 90 has no gradients');
      const { findings, entries } = await replay('complete', 'as-recorded', 'global-norm:1');
      expect(findings).toEqual([]);
      for (const [i, step] of entries[0]!.steps.entries())
        expect(entries[0]!.minClipFactor[i]! / Math.min(1, 1 / (truth.few.norms[step]! + 1e-6))).toBeCloseTo(
          1,
          3,
        );
    });
  },
);
