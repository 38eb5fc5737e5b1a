/** Sessions of TensorBoard's hparams plugin, as PyTorch and Keras lay them down (fixtures/make/hparams.py). */
import { cpSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Run } from '../../src/model/run.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('hparams');
const runsOf = async (path: string): Promise<Run[]> =>
  (await collectInputs([path])).logs.flatMap(({ runs }) => runs);
const fixture = (name: string): string => join(projectRoot, 'fixtures/conventions', name);
const told = (runs: readonly Run[]) =>
  runs.map((run) => [run.id, judgeRun(run).verdict.class, run.hyperparameters.get('lr')]);

it("PyTorch's sessions lie below their runs", async () => {
  const runs = await runsOf(fixture('hparams-pytorch'));
  expect(told(runs).sort()).toEqual([
    ['run0', 'healthy', 0.01],
    ['run1', 'healthy', 0.02],
    ['run2', 'non-finite', 2.5],
  ]);
  const first = runs.find(({ id }) => id === 'run0')!;
  expect(first.attempts).toHaveLength(1);
  expect(first.series.map(({ name, step }) => [name, step.length])).toEqual([
    ['loss', 60],
    ['hparams/loss', 1],
  ]);
  expect(first.hyperparameters.get('optimizer')).toBe('sgd');
});

it("Keras's stand above the folders of their losses", async () => {
  const runs = await runsOf(fixture('hparams-keras'));
  expect(told(runs).sort()).toEqual([
    ['session0', 'healthy', 0.01],
    ['session1', 'healthy', 0.02],
    ['session2', 'non-finite', 2.5],
  ]);
  for (const run of runs) {
    const roles = new Map(run.series.map(({ name, role }) => [name, role]));
    expect(roles.get('epoch_loss')).toBe('loss');
    expect(roles.get('validation/epoch_loss')).toBe('eval_loss');
    expect(run.hyperparameters.get('units')).toBe(1);
  }
});

it('a folder of another name below a run is a run of its own', async () => {
  const at = join(scratch(), 'runs');
  cpSync(join(fixture('hparams-pytorch'), 'run0'), at, { recursive: true });
  const session = readdirSync(at).find((name) => /^\d+\.\d+$/.test(name))!;
  renameSync(join(at, session), join(at, 'later'));
  expect(await runsOf(at)).toHaveLength(2);
});
