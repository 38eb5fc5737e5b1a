/** A folder of W&B: each run in it is one run, whatever files tell of it. */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('wandb-folder');
const [BROKEN, HEALTHY] = ['wandb-offline', 'wandb-blocks'];
const nameOf = (k: number): string => `run-202401${String(k + 1).padStart(2, '0')}_030405-abc${k}`;

function put(root: string, path: string, text: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), text);
}
function history(root: string, run: string, fixture: string): void {
  mkdirSync(join(root, run), { recursive: true });
  copyFileSync(
    join(projectRoot, 'fixtures/formats', fixture, 'input.wandb'),
    join(root, run, `${run}.wandb`),
  );
}
const printed = (loss: (k: number) => number | string): string =>
  Array.from({ length: 40 }, (_, k) => `step ${k} loss ${loss(k)}\n`).join('');
const falling = (k: number): number => 1 + 1 / (k + 1);
const summary = (members: object): string =>
  JSON.stringify({ _step: 230, _wandb: { runtime: 1 }, ...members });
const config = (lr: number): string =>
  `wandb_version: 1\n\n_wandb:\n  desc: null\n  value:\n    cli_version: 0.12.21\nlr:\n  desc: null\n  value: ${lr}\n`;

async function found(root: string) {
  const { logs, skipped, errors, sidecars } = await collectInputs([root]);
  expect(errors).toEqual([]);
  return {
    logs,
    sidecars: sidecars.map(({ path }) => relative(root, path)),
    ids: logs.flatMap(({ runs }) => runs.map(({ id }) => id)),
    skipped: Object.fromEntries(
      skipped.map(({ path, reason, saysLog }) => [relative(root, path), [reason, saysLog]]),
    ),
  };
}

it('a run is one run, latest-run is counted once, and what W&B logs of itself is none', async () => {
  const root = join(scratch(), 'wandb');
  for (const [k, fixture] of [BROKEN!, HEALTHY!].entries()) {
    const run = nameOf(k);
    history(root, run, fixture);
    put(root, `${run}/files/output.log`, printed(falling));
    put(root, `${run}/files/wandb-summary.json`, summary({ 'train/loss': 0.5 }));
    put(root, `${run}/files/config.yaml`, config(0.1 * (k + 1)));
    put(root, `${run}/files/wandb-metadata.json`, '{"cpu_count": 8, "loss": 3}');
    put(root, `${run}/files/requirements.txt`, 'torch==2.4.0\n');
    put(
      root,
      `${run}/logs/debug.log`,
      `2024-01-01 MainThread:1 [wandb_init.py:init():1] ${printed(falling)}`,
    );
  }
  put(root, 'debug-internal.log', '{"time":"2024","level":"INFO","msg":"loss"}\n');
  symlinkSync(nameOf(1), join(root, 'latest-run'));
  const { ids, logs, skipped, sidecars } = await found(root);
  expect(ids).toEqual([nameOf(0), nameOf(1)]);
  expect(logs.map(({ format }) => format)).toEqual(['wandb', 'wandb']);
  expect(sidecars.sort()).toEqual([0, 1].map((k) => `${nameOf(k)}/files/config.yaml`));
  // The log's own configuration stands before what lies beside it.
  expect(logs[0]!.runs[0]!.hyperparameters.get('lr')).toBe(0.001);
  expect([...logs[0]!.runs[0]!.hyperparameters.keys()].filter((key) => key.includes('wandb'))).toEqual([]);
  expect(skipped[`${nameOf(0)}/files/output.log`]![0]).toContain('what was printed of a W&B run');
  expect(skipped[`${nameOf(0)}/files/wandb-summary.json`]![0]).toContain('the last values of a W&B run');
  expect(skipped['debug-internal.log']).toEqual(['what W&B logs of itself', undefined]);
  expect(Object.values(skipped).filter(([, saysLog]) => saysLog !== undefined)).toEqual([]);
});

it('27 runs that were printed are 27 runs, with the configuration of each', async () => {
  const root = scratch();
  for (let k = 0; k < 27; k++) {
    put(root, `wandb/${nameOf(k)}/files/output.log`, printed(falling));
    put(root, `wandb/${nameOf(k)}/files/wandb-summary.json`, summary({ loss: 0.5 }));
    put(root, `wandb/${nameOf(k)}/files/config.yaml`, config(k));
  }
  const { logs, ids } = await found(root);
  expect(ids).toEqual(Array.from({ length: 27 }, (_, k) => `wandb/${nameOf(k)}/files/output.log`));
  expect(logs.map(({ runs }) => runs[0]!.hyperparameters.get('lr'))).toEqual(ids.map((_, k) => k));
});

it('a loss that only the printed lines or the last values show as NaN is not passed over', async () => {
  const root = scratch();
  for (let k = 0; k < 3; k++) history(root, nameOf(k), HEALTHY!);
  put(
    root,
    `${nameOf(0)}/files/output.log`,
    printed((k) => (k > 30 ? 'nan' : falling(k))),
  );
  put(root, `${nameOf(1)}/files/wandb-summary.json`, summary({ 'train/loss': 'NaN' }));
  put(root, `${nameOf(2)}/files/output.log`, printed(falling));
  put(root, `${nameOf(2)}/files/wandb-summary.json`, summary({ 'train/loss': 0.5 }));
  expect((await found(root)).ids.sort()).toEqual([
    nameOf(0),
    `${nameOf(0)}/files/output.log`,
    nameOf(1),
    `${nameOf(1)}/files/wandb-summary.json`,
    nameOf(2),
  ]);
});

it('a run of which nothing but its last values are left has those; another summary.json is no log', async () => {
  const root = scratch();
  put(root, `${nameOf(0)}/files/wandb-summary.json`, summary({ 'train/loss': 0.25, 'val/auc': 0.7 }));
  put(root, `${nameOf(0)}/files/config.yaml`, config(0.3));
  put(root, 'other/wandb-summary.json', summary({ 'train/loss': 0.25 }));
  const { logs, skipped } = await found(root);
  expect(logs).toHaveLength(1);
  const { series, hyperparameters } = logs[0]!.runs[0]!;
  const loss = series.find(({ role }) => role === 'loss')!;
  expect([...loss.value, ...loss.step]).toEqual([0.25, 230]);
  expect(hyperparameters.get('lr')).toBe(0.3);
  expect(skipped['other/wandb-summary.json']![0]).toBe('a JSON document without series');
});

it('printed text without a record says nothing beside a history, and a traceback in it is how that run ended', async () => {
  const root = scratch();
  history(root, nameOf(0), HEALTHY!);
  history(root, nameOf(1), HEALTHY!);
  put(root, `${nameOf(0)}/files/output.log`, 'hello\n');
  put(
    root,
    `${nameOf(1)}/files/output.log`,
    'Traceback (most recent call last):\n  File "a.py"\nValueError\n',
  );
  put(root, `${nameOf(2)}/files/output.log`, 'hello\n');
  const { skipped, ids } = await found(root);
  expect(ids).toEqual([nameOf(0), nameOf(1)]);
  expect([0, 1, 2].map((k) => skipped[`${nameOf(k)}/files/output.log`]![1])).toEqual([
    undefined,
    undefined,
    'name',
  ]);
  expect(skipped[`${nameOf(1)}/files/output.log`]![0]).toMatch(
    /^output of the run of .*: read for how its process ended$/,
  );
});
