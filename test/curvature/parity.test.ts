/** Top eigenvalues of ranking nets at real checkpoints against dense float64 matrices (fixtures/curvature/ranking.py). */
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type CurvatureOptions,
  measureCurvature,
  parseOptimizer,
} from '../../src/experiment/measure/curvature.ts';
import { capturePoint, checkpointPoint } from '../../src/experiment/measure/point.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { checkpointFile } from '../../src/read/checkpoints/registry.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { projectRoot } from '../support/shared-data.ts';

interface Spectrum {
  readonly largest: number[];
  readonly smallest: number;
  readonly trace: number;
}
interface Expected {
  readonly hessian: Spectrum;
  readonly preconditioned: Spectrum;
  readonly gaussNewton: Spectrum;
  readonly 'block task/*': Spectrum;
  readonly tasks: Record<string, Spectrum>;
}
const folder = (net: string): string => join(projectRoot, 'fixtures/curvature', net);
const expectedOf = (net: string): Expected =>
  JSON.parse(readFileSync(join(folder(net), 'expected.json'), 'utf8')) as Expected;
const adagrad = chooseOptimizer('adagrad', { epsilon: 1e-10, epsilonInside: false });
const pointOf = (net: string) =>
  checkpointPoint(checkpointFile(join(folder(net), 'checkpoint.safetensors')), {
    model: join(folder(net), 'model.json'),
    batch: [join(folder(net), 'batch.safetensors')],
    map: new Map(),
    optimizer: adagrad,
    learningRate: 0.1,
  });
const options: CurvatureOptions = { method: 'lanczos', count: 3, tolerance: 1e-4, seed: 0 };
/** Where it is of no matter what the eigenvalue is. */
const rough: CurvatureOptions = { ...options, count: 1, tolerance: 0.1 };

const near = (found: number, expected: number): void =>
  expect(Math.abs(found / expected - 1), `${found} for ${expected}`).toBeLessThan(1e-3);

describe.each(['embeddings', 'dcn-layernorm', 'mmoe'])('%s', (net) => {
  const expected = expectedOf(net);

  it('top three of the Hessian and of the preconditioned one; Adagrad is held against 2/η on P⁻¹H', async () => {
    const { entries } = await measureCurvature(await pointOf(net), options);
    expect(entries.map((e) => [e.operator, e.block, e.task])).toEqual([
      ['hessian', 'all', 'all'],
      ['preconditioned-hessian', 'all', 'all'],
    ]);
    for (const [entry, spectrum] of [
      [entries[0]!, expected.hessian],
      [entries[1]!, expected.preconditioned],
    ] as const)
      for (const [i, pair] of entry.eigenvalues.entries()) {
        expect(pair.converged).toBe(true);
        near(pair.value, spectrum.largest[i]!);
      }
    expect(entries[0]!.stability).toEqual({ learningRate: 0.1, limit: null, ratio: null });
    expect(entries[1]!.stability.limit).toBe(20);
    near(entries[1]!.stability.ratio!, expected.preconditioned.largest[0]! / 20);
    expect(entries[1]!.criticalSharpness!.value).toBeGreaterThan(0);
  });

  it('Gauss–Newton, one block, each task', async () => {
    const point = await pointOf(net);
    const one = { ...options, count: 1 };
    const gn = await measureCurvature(point, { ...one, operator: 'gauss-newton' });
    near(gn.entries[0]!.eigenvalues[0]!.value, expected.gaussNewton.largest[0]!);
    const block = await measureCurvature(point, { ...one, operator: 'hessian', block: 'task/*' });
    near(block.entries[0]!.eigenvalues[0]!.value, expected['block task/*'].largest[0]!);
    const tasks = await measureCurvature(point, { ...one, operator: 'hessian', task: 'each' });
    expect(tasks.entries.map((e) => e.task)).toEqual(['all', 'click', 'watch']);
    for (const entry of tasks.entries.slice(1))
      near(entry.eigenvalues[0]!.value, expected.tasks[entry.task]!.largest[0]!);
  });

  it('power iteration comes to the same', async () => {
    const { entries } = await measureCurvature(await pointOf(net), {
      ...options,
      method: 'power',
      tolerance: 1e-2,
      starts: 1,
      count: 1,
      operator: 'hessian',
    });
    near(entries[0]!.eigenvalues[0]!.value, expected.hessian.largest[0]!);
  });
});

it('the trace is within its error bar, the density reaches the top', async () => {
  const { entries, density } = await measureCurvature(await pointOf('mmoe'), {
    ...options,
    count: 1,
    operator: 'hessian',
    density: true,
  });
  const { trace } = entries[0]!;
  const expected = expectedOf('mmoe').hessian;
  expect(Math.abs(trace!.value - expected.trace)).toBeLessThan(4 * trace!.standardError);
  near(density!.value.at(-1)!, expected.largest[0]!);
});

it('warm starts need no more products', async () => {
  const warm = new Map();
  const run = async () =>
    (
      await measureCurvature(await pointOf('embeddings'), {
        ...options,
        count: 1,
        operator: 'hessian',
        starts: 1,
        warm,
      })
    ).entries[0]!.hvpCount;
  const cold = await run();
  expect(await run()).toBeLessThan(cold);
});

describe('what cannot be measured', () => {
  it.each([
    [{ block: 'nothing/*' }, 'block-unknown'],
    [{ task: 'buy' }, 'task-unknown'],
  ] as const)('%j', async (change, code) => {
    await expect(measureCurvature(await pointOf('mmoe'), { ...options, ...change })).rejects.toMatchObject({
      code,
    });
  });
  it('a preconditioner without state or optimizer', async () => {
    const point = await pointOf('mmoe');
    const preconditioned = { ...options, operator: 'preconditioned-hessian' } as const;
    await expect(
      measureCurvature({ ...point, missingState: ['accumulator'] }, preconditioned),
    ).rejects.toMatchObject({ code: 'preconditioner-state' });
    await expect(measureCurvature({ ...point, optimizers: null }, preconditioned)).rejects.toMatchObject({
      code: 'preconditioner-optimizer',
    });
    const { entries } = await measureCurvature({ ...point, missingState: ['accumulator'] }, rough);
    expect(entries.map((e) => e.operator)).toEqual(['hessian']);
    expect(entries[0]!.notes!.join()).toContain('no accumulator');
  });
  it('a state that is infinite', async () => {
    const point = await pointOf('mmoe');
    point.tensors[1]!.slots.accumulator![0] = Number.POSITIVE_INFINITY;
    await expect(measureCurvature(point, options)).rejects.toMatchObject({ code: 'preconditioner-values' });
  });
  it('a model without parameters', async () => {
    const point = await pointOf('mmoe');
    const model = { ...point.model, objective: { ...point.model.objective, size: 0 } };
    await expect(measureCurvature({ ...point, model }, options)).rejects.toMatchObject({
      code: 'curvature-empty',
    });
  });
  it('a limit for a learning rate that is none', async () => {
    expect(() => parseOptimizer('sgd:learningRate=Infinity')).toThrow(/no finite number above 0/);
    const point = { ...(await pointOf('mmoe')), learningRates: [1e-320] };
    const { entries } = await measureCurvature(point, rough);
    expect(entries.map(({ stability }) => stability.ratio)).toEqual([null, null]);
  });
  it('a loss that is not finite', async () => {
    const point = await pointOf('mmoe');
    point.tensors[1]!.w[0] = Number.NaN;
    await expect(measureCurvature(point, options)).rejects.toMatchObject({ code: 'curvature-loss' });
  });
});

it('weight decay that the gradient takes is in the preconditioner, and is said to be missing from the curvature', async () => {
  const point = await pointOf('mmoe');
  const top = async (weightDecay: number) => {
    const optimizers = [chooseOptimizer('adagrad', { weightDecay, epsilon: 0 })];
    const { entries } = await measureCurvature(
      { ...point, optimizers },
      { ...options, count: 1, tolerance: 1e-2, operator: 'preconditioned-hessian' },
    );
    return entries[0]!;
  };
  const [one, four] = [await top(1e6), await top(4e6)];
  // P is all but the decay's part there, which is four times as large.
  expect(one.eigenvalues[0]!.value / four.eigenvalues[0]!.value).toBeCloseTo(4, 2);
  expect(one.notes!.join()).toContain('the weight decay of 1000000 is no part of the loss');
});

it('a task that is called all is not taken for all of them', async () => {
  const point = await pointOf('mmoe');
  const { objective } = point.model;
  const names = objective.tasks.map((task, t) => (t === 0 ? 'all' : task));
  const own = (task?: string) => (task === 'all' ? objective.tasks[0] : task);
  const renamed = {
    ...objective,
    tasks: names,
    hvp: (...[w, v, batches, task]: Parameters<typeof objective.hvp>) =>
      objective.hvp(w, v, batches, own(task)),
  };
  const plain = { ...rough, operator: 'hessian', task: 'each' } as const;
  const values = async (model: typeof point.model) =>
    (await measureCurvature({ ...point, model }, plain)).entries.map((e) => e.eigenvalues[0]!.value);
  expect(await values({ ...point.model, objective: renamed })).toEqual(await values(point.model));
});

it('a gradient that is 0 everywhere is said', async () => {
  const point = await pointOf('mmoe');
  const zero = async (w: Float32Array) => new Float32Array(w.length);
  const objective = {
    ...point.model.objective,
    gradient: async (w: Float32Array) => ({ loss: 1, taskLosses: [1], gradient: await zero(w) }),
    hvp: zero,
  };
  const model = { ...point.model, objective };
  const { entries } = await measureCurvature({ ...point, model }, { ...options, count: 1 });
  expect(entries[0]!.notes!.join()).toContain('does the loss depend on the parameters?');
});

it('several parameter groups: the limit of the largest learning rate, or none where the optimizers differ', async () => {
  const point = await pointOf('mmoe');
  const half = { ...point, tensors: point.tensors.map((tensor, t) => ({ ...tensor, group: t % 2 })) };
  const one = { ...options, count: 1, operator: 'preconditioned-hessian' } as const;
  const two = await measureCurvature(
    { ...half, optimizers: [adagrad, adagrad], learningRates: [0.05, 0.2] },
    one,
  );
  const [entry] = two.entries;
  expect(entry!.stability).toMatchObject({ learningRate: 0.2, limit: 10 });
  near(entry!.stability.ratio!, expectedOf('mmoe').preconditioned.largest[0]! / 10);
  expect(entry!.notes!.join()).toContain('learning rates from 0.05 to 0.2');
  const mixed = await measureCurvature(
    { ...half, optimizers: [adagrad, chooseOptimizer('sgd')], learningRates: [0.1, 0.1] },
    { ...rough, operator: 'hessian' },
  );
  expect(mixed.entries[0]!.stability).toMatchObject({ limit: null, ratio: null });
  expect(mixed.entries[0]!.notes!.join()).toContain('optimizers with different limits');
  await point.model.objective.close();
});

it('parameters that have taken different numbers of steps: the limit of the fewest', async () => {
  const point = await pointOf('mmoe');
  const apart = {
    ...point,
    tensors: point.tensors.map((tensor, t) => ({ ...tensor, stepsTaken: t === 0 ? 0 : 100 })),
    optimizers: [chooseOptimizer('adagrad', { learningRateDecay: 0.01 })],
  };
  const search = { ...rough, operator: 'preconditioned-hessian' } as const;
  const [entry] = (await measureCurvature(apart, search)).entries;
  expect(entry!.stability.limit).toBe(20);
  expect(entry!.notes!.join()).toContain('from 0 to 100 steps');
  const later = { ...apart, tensors: apart.tensors.map((tensor) => ({ ...tensor, stepsTaken: 100 })) };
  expect((await measureCurvature(later, search)).entries[0]!.stability.limit).toBe(40);
  // How many were taken is not known: the rate of the next step is not either.
  const unknown = await measureCurvature(
    { ...apart, missingState: ['step'] },
    { ...search, operator: 'hessian' },
  );
  expect(unknown.entries[0]!.stability).toMatchObject({ learningRate: 0.1, limit: null });
  await point.model.objective.close();
});

it('a clipping rule that replaces options of the optimizer replaces them in P, too', async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-clipped-'));
  try {
    const recorded = join(projectRoot, 'fixtures/incident/capture');
    cpSync(recorded, scratch, { recursive: true });
    const path = join(scratch, 'capture.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...manifest, clipping: { rule: 'clippy', preset: 'tfrs' } }));
    const point = await capturePoint(await openCapture(scratch), {});
    await point.model.objective.close();
    expect(manifest.optimizer.accumulator).toBe('standard');
    expect(point.optimizers![0]!.options).toMatchObject({ accumulator: 'delayed', epsilon: 1e-7 });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

it('before its first step an optimizer has no state that could be missing', async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-fresh-'));
  try {
    const missing = async (name: string) => {
      copyFileSync(join(folder('embeddings'), 'checkpoint.safetensors'), join(scratch, name));
      const point = await checkpointPoint(checkpointFile(join(scratch, name)), {
        model: join(folder('embeddings'), 'model.json'),
        batch: [join(folder('embeddings'), 'batch.safetensors')],
        map: new Map(),
        optimizer: chooseOptimizer('adam', {}),
      });
      await point.model.objective.close();
      return point.missingState;
    };
    expect(await missing('step-0.safetensors')).toEqual([]);
    expect(await missing('step-1.safetensors')).toEqual(['m', 'v']);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
