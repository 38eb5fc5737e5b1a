/** Ledgers as each framework of Python writes them, read by every command: a run, its repeat, and one with another row. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { pythonWith } from '../support/python.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('ledger-frameworks');

interface Framework {
  readonly name: string;
  readonly needs: readonly string[];
  readonly backend?: string;
  /** Defines `run(folder, changed)`: `changed` adds 1 to a row of the batch of step 9. */
  readonly program: string;
  /** Whether the loop says when it has stepped. */
  readonly saysSteps: boolean;
  /** What `who` knows of step 9. */
  readonly ids: readonly (string | number)[] | null;
}

const KERAS = `
from test_ledger_keras import SIZE, fit
def row(x, y): y[9 * SIZE] += 1
def run(folder, changed): fit(folder, **({"change": row} if changed else {}))
`;
const JAX = (kind: string): string => `
import jax
from test_ledger_jax import ${kind}
def row(step, batch): return jax.tree.map(lambda leaf: leaf.at[0].add(1) if step == 9 else leaf, batch)
def run(folder, changed): ${kind}(folder, **({"change": row} if changed else {}))
`;
const TORCH = `
import test_ledger
from unittest import mock
real = test_ledger.torch.randn
def run(folder, changed):
    calls = [0]
    def randn(*arguments, **options):
        calls[0] += 1
        return real(*arguments, **options) + (1 if changed and calls[0] == 10 else 0)
    with mock.patch.object(test_ledger.torch, "randn", randn): test_ledger.train(folder)
`;

const FRAMEWORKS: readonly Framework[] = [
  {
    name: 'PyTorch',
    needs: ['torch', 'pytest'],
    program: TORCH,
    saysSteps: true,
    ids: Array.from({ length: 16 }, (_, k) => 144 + k),
  },
  {
    name: 'Keras on TensorFlow',
    needs: ['keras', 'tensorflow', 'pytest'],
    backend: 'tensorflow',
    program: KERAS,
    saysSteps: true,
    ids: null,
  },
  {
    name: 'Keras on torch',
    needs: ['keras', 'torch', 'pytest'],
    backend: 'torch',
    program: KERAS,
    saysSteps: true,
    ids: null,
  },
  {
    name: 'Keras on JAX',
    needs: ['keras', 'jax', 'pytest'],
    backend: 'jax',
    program: KERAS,
    saysSteps: true,
    ids: null,
  },
  {
    name: 'flight of JAX',
    needs: ['jax', 'optax', 'pytest'],
    program: JAX('flown'),
    saysSteps: false,
    ids: Array.from({ length: 8 }, (_, k) => 72 + k),
  },
  {
    name: 'a loop of JAX',
    needs: ['jax', 'optax', 'pytest'],
    program: JAX('looped'),
    saysSteps: false,
    ids: ['shard-9'],
  },
];

/** Trains the three runs; returns their folder. */
function trained(python: string, { program, backend }: Framework): string {
  const folder = scratch();
  const text = `${program}
from pathlib import Path
for name in ("a", "b", "c"): run(Path(${JSON.stringify(folder)}) / name, name == "c")`;
  const { status, stderr } = spawnSync(python, ['-c', text], {
    cwd: join(projectRoot, 'python', 'tests'),
    encoding: 'utf8',
    env: {
      ...process.env,
      PYTHONPATH: join(projectRoot, 'python', 'src'),
      ...(backend === undefined ? {} : { KERAS_BACKEND: backend }),
    },
  });
  expect(status, stderr).toBe(0);
  return folder;
}

it.each(FRAMEWORKS.map((one) => [one.name, one] as const))(
  'compare, analyze, who and audit read that of %s (skipped: it is not installed)',
  async (_, one) => {
    const python = pythonWith(...one.needs);
    if (python === undefined) return;
    const folder = trained(python, one);
    const [a, b, c] = ['a', 'b', 'c'].map((name) => join(folder, name)) as [string, string, string];
    const same = await cli(['compare', a, b, '--json']);
    expect(same.code).toBe(0);
    expect(JSON.parse(same.out).comparison).toMatchObject({ verdict: 'same', differsAt: null });
    const apart = await cli(['compare', a, c, '--json']);
    expect(apart.code).toBe(1);
    expect(JSON.parse(apart.out).comparison.differsAt).toMatchObject({ step: 9, link: 'batch' });

    const report = JSON.parse((await cli(['analyze', join(a, 'ledger'), '--json'])).out);
    expect(report.runs.length).toBe(1);
    expect(report.runs[0].verdict).toMatchObject({ class: 'healthy', series: 'loss' });

    const who = JSON.parse((await cli(['who', '9', a, '--json'])).out).batch;
    expect([who.recorded, who.ids]).toEqual([true, one.ids]);

    const { audit } = JSON.parse((await cli(['audit', join(a, 'ledger'), '--json'])).out);
    expect(audit.broken).toBe(0);
    const outcomes = Object.fromEntries(
      audit.links.map(({ link, outcome }: { link: string; outcome: string }) => [link, outcome]),
    );
    expect(outcomes).toEqual({
      batch: 'holds',
      optimizer: 'cannot-tell',
      between: one.saysSteps ? 'holds' : 'cannot-tell',
    });
  },
);
