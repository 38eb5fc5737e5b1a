/** Ranking nets at real checkpoints against PyTorch in float64 (fixtures/curvature/ranking.py). */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { batchTensor, readBatch } from '../../src/differentiate/autodiff/batches.ts';
import { differentiate } from '../../src/differentiate/autodiff/differentiate.ts';
import type { Batch, Objective } from '../../src/differentiate/autodiff/objective.ts';
import { localObjective } from '../../src/differentiate/autodiff/open-objective.ts';
import { matchParameters, renamed, toModel, toSource } from '../../src/differentiate/autodiff/parameters.ts';
import { parseRanking, rankingNetwork, rankingTensors } from '../../src/differentiate/autodiff/ranking.ts';
import { sharedObjective } from '../../src/differentiate/autodiff/remote.ts';
import type { Layout } from '../../src/model/checkpoint.ts';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { sliceRows } from '../../src/step/tensor/batch-rows.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('ranking');

const folder = (net: string): string => join(projectRoot, 'fixtures/curvature', net);
const json = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
interface Expected {
  readonly size: number;
  readonly loss: number;
  readonly taskLosses: number[];
  readonly gradient: number[];
  readonly hvp: number[];
  readonly gaussNewtonVp: number[];
}

const opened: Objective[] = [];

async function load(net: string, rowsPerPass?: number) {
  const backend = await loadBackend();
  const network = rankingNetwork(backend.tf, parseRanking(json(join(folder(net), 'model.json')), net));
  const objective = differentiate(backend, network, rowsPerPass);
  opened.push(objective);
  const w = new Float32Array(objective.size);
  const v = new Float32Array(objective.size);
  for (const [file, prefix, flat] of [
    ['checkpoint.safetensors', 'param/', w],
    ['batch.safetensors', 'v/', v],
  ] as const) {
    const checkpoint = await openCheckpoint(join(folder(net), file));
    for (const tensor of objective.tensors)
      flat.set((await checkpoint.read(prefix + tensor.name)) as Float32Array, tensor.offset);
    await checkpoint.close();
  }
  const batch = await readBatch(join(folder(net), 'batch.safetensors'), objective.inputs, new Map());
  return { objective, w, v, batch, expected: json(join(folder(net), 'expected.json')) as Expected };
}

const relative = (found: ArrayLike<number>, expected: readonly number[]): number => {
  let worst = 0;
  let largest = 0;
  for (const [i, value] of expected.entries()) {
    const difference = Math.abs(found[i]! - value);
    worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
    largest = Math.max(largest, Math.abs(value));
  }
  return worst / largest;
};

afterEach(async () => {
  for (const objective of opened.splice(0)) await objective.close();
  expect((await loadBackend()).tf.memory().numTensors).toBe(0);
});

describe.each(['embeddings', 'dcn-layernorm', 'mmoe'])('%s', (net) => {
  it('a product after others is the one that a fresh objective has, whatever was asked before', async () => {
    const { objective, w, v, batch } = await load(net);
    const u = v.map((x, i) => Math.sin(i) + x);
    const [task] = objective.tasks;
    const moved = w.map((x, i) => (i === w.length - 1 ? x + 0.25 : x));
    const halves = [sliceRows(batch, 0, 20), sliceRows(batch, 20, 64)];
    const other = new Map(batch);
    const [label] = [...batch.keys()].filter((name) => name.startsWith('label/'));
    const { shape, data } = batch.get(label!)!;
    other.set(label!, { shape, data: data.map((y) => 1 - y) });
    const copy = structuredClone(batch);
    const here = w.slice();
    // In one array, as a training loop has its parameters.
    const asked: [Float32Array, Float32Array, readonly Batch[], (string | undefined)?][] = [
      [w, v, [batch]],
      [w, u, [batch]],
      [w, v, [copy]],
      [w, v, [other]],
      [w, v, halves],
      [w, u, halves],
      [w, v, halves, task],
      [moved, v, halves, task],
      [moved, u, [batch]],
      [w, u, [batch]],
    ];
    for (const [point, direction, batches, of] of asked) {
      here.set(point);
      const product = await objective.hvp(here, direction, batches, of);
      const fresh = await load(net);
      expect(product).toEqual(await fresh.objective.hvp(point, direction, batches, of));
      // Of more rows than one pass has, nothing is kept.
      const inPasses = await load(net, 7);
      const apart = await inPasses.objective.hvp(point, direction, batches, of);
      expect(relative(apart, [...product])).toBeLessThan(1e-4);
    }
  });

  it('loss, gradient, Hessian and Gauss–Newton products are PyTorch’s', async () => {
    const { objective, w, v, batch, expected } = await load(net);
    expect(objective.size).toBe(expected.size);
    objective.check([batch]);
    const { loss, taskLosses, gradient } = await objective.gradient(w, [batch]);
    expect(relative([loss, ...taskLosses], [expected.loss, ...expected.taskLosses])).toBeLessThan(1e-5);
    expect(await objective.loss(w, [batch])).toEqual({ loss, taskLosses });
    expect(relative(gradient, expected.gradient)).toBeLessThan(1e-5);
    expect(relative(await objective.hvp(w, v, [batch]), expected.hvp)).toBeLessThan(1e-4);
    expect(relative(await objective.gaussNewton(w, v, [batch]), expected.gaussNewtonVp)).toBeLessThan(1e-4);
  });

  it('mini-batches, of any size, and the tasks’ parts sum to the whole', async () => {
    const whole = await load(net);
    const { objective, w, v, batch, expected } = await load(net, 10);
    expect(relative(await objective.hvp(w, v, [batch]), expected.hvp)).toBeLessThan(1e-4);
    const halves: Batch[] = [sliceRows(batch, 0, 20), sliceRows(batch, 20, 64)];
    expect(relative((await objective.gradient(w, halves)).gradient, expected.gradient)).toBeLessThan(1e-4);
    const parts = await Promise.all(objective.tasks.map((task) => whole.objective.hvp(w, v, [batch], task)));
    expect(
      relative(
        parts[0]!.map((x, i) => x + parts[1]![i]!),
        expected.hvp,
      ),
    ).toBeLessThan(1e-4);
  });

  it('repeats itself, and uᵀHv = vᵀHu', async () => {
    const { objective, w, v, batch } = await load(net);
    const u = v.map((x, i) => Math.cos(3 * i) * (1 + x));
    const hv = await objective.hvp(w, v, [batch]);
    expect(await objective.hvp(w, v, [batch])).toEqual(hv);
    const hu = await objective.hvp(w, u, [batch]);
    const inner = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
    expect(inner(u, hv) / inner(v, hu)).toBeCloseTo(1, 3);
  });
});

it('two threads with half of the rows each come to the same', async () => {
  const { objective, w, v, batch, expected } = await load('mmoe');
  const path = join(folder('mmoe'), 'model.json');
  const shared = sharedObjective(
    objective,
    {
      path,
      sourcePath: path,
      sources: objective.tensors.map(({ name, shape, layout }) => ({ name, shape, layout })),
      backend: 'wasm',
    },
    0,
  );
  try {
    // 63 rows: the halves are not equal.
    const odd = sliceRows(batch, 0, 63);
    expect((await shared.loss(w, [odd])).loss).toBeCloseTo((await objective.loss(w, [odd])).loss, 6);
    expect(relative((await shared.gradient(w, [batch])).gradient, expected.gradient)).toBeLessThan(1e-5);
    expect(relative(await shared.hvp(w, v, [batch]), expected.hvp)).toBeLessThan(1e-4);
    expect(relative(await shared.gaussNewton(w, v, [batch]), expected.gaussNewtonVp)).toBeLessThan(1e-4);
    // Two at once have vectors of their own, and a point that was moved in place is another point.
    const [one, negative] = await Promise.all([
      shared.hvp(w, v, [batch]),
      shared.hvp(
        w,
        v.map((x) => -x),
        [batch],
      ),
    ]);
    expect([...negative].map((x) => 0 - x)).toEqual([...one].map((x) => x + 0));
    const moved = w.slice();
    expect(await shared.hvp(moved, v, [batch])).toEqual(one);
    for (let i = 0; i < moved.length; i++) moved[i]! *= 1.5;
    const there = await objective.hvp(moved, v, [batch]);
    expect(relative(await shared.hvp(moved, v, [batch]), [...there])).toBeLessThan(1e-4);
    // What was answered stays as it is, also while a call after it fails; memory that is given takes what is answered next.
    const kept = one.slice();
    const [first] = objective.tasks;
    const failing = shared.hvp(w, v, [batch], 'buy');
    const after = shared.hvp(moved, v, [batch], first);
    await expect(failing).rejects.toMatchObject({ code: 'task-unknown' });
    const ofFirst = await after;
    expect(one).toEqual(kept);
    for (const o of [shared, objective]) {
      const into = new Float32Array(w.length).fill(7);
      expect(await o.hvp(moved, v, [batch], first, into)).toBe(into);
      expect(relative(into, [...ofFirst])).toBeLessThan(1e-4);
      expect((await o.gradient(w, [batch], undefined, into.fill(7))).gradient).toBe(into);
      expect(relative(into, expected.gradient)).toBeLessThan(1e-5);
    }
    const single = [sliceRows(batch, 0, 1), sliceRows(batch, 1, 2)];
    expect((await shared.loss(w, single)).loss).toBeCloseTo((await objective.loss(w, single)).loss, 6);
  } finally {
    await shared.close();
  }
});

it('whole numbers beside others in the input do not cut these off', async () => {
  const backend = await loadBackend();
  const dense = (name: string) => ({ name, type: 'dense', size: 1 });
  const spec = {
    kind: 'ranking',
    version: 1,
    features: [dense('whole'), dense('part')],
    shared: { type: 'shared-bottom', units: [], activation: 'linear' },
    tasks: [{ name: 'y', units: [], loss: 'mean-squared-error' }],
  };
  const objective = differentiate(backend, rankingNetwork(backend.tf, parseRanking(spec, 'm')));
  const batch: Batch = new Map([
    ['whole', { shape: [2], data: Int32Array.of(1, 2) }],
    ['part', { shape: [2], data: Float32Array.of(0.5, 0.25) }],
    ['label/y', { shape: [2], data: Int32Array.of(0, 1) }],
  ]);
  // Predictions 1.5 and 2.25.
  expect((await objective.loss(Float32Array.of(1, 1, 0), [batch])).loss).toBe((1.5 ** 2 + 1.25 ** 2) / 2);
});

describe('what a batch may not be', () => {
  const broken = async (change: (batch: Map<string, unknown>) => void): Promise<unknown> => {
    const { objective, batch } = await load('embeddings');
    const copy = new Map<string, unknown>(batch);
    change(copy);
    try {
      objective.check([copy as unknown as Batch]);
    } catch (error) {
      return (error as { code: string }).code;
    }
    return 'accepted';
  };
  const ids = (...values: number[]) => ({
    shape: [64],
    data: Int32Array.from({ length: 64 }, (_, i) => values[i] ?? 0),
  });
  const labels = (value: number) => ({ shape: [64, 1], data: new Float32Array(64).fill(value) });

  it.each([
    ['an input is missing', (b: Map<string, unknown>) => b.delete('user'), 'batch-missing'],
    ['an id is out of range', (b: Map<string, unknown>) => b.set('user', ids(3, 60)), 'batch-id-range'],
    ['an id is negative', (b: Map<string, unknown>) => b.set('item', ids(-1)), 'batch-id-range'],
    [
      'a label is above 1',
      (b: Map<string, unknown>) => b.set('label/click', labels(1.5)),
      'batch-label-range',
    ],
    [
      'a label is NaN: data',
      (b: Map<string, unknown>) => b.set('label/click', labels(Number.NaN)),
      'accepted',
    ],
    [
      'a shape is wrong',
      (b: Map<string, unknown>) => b.set('dense', { shape: [64, 5], data: new Float32Array(320) }),
      'batch-shape',
    ],
    [
      'rows differ',
      (b: Map<string, unknown>) => b.set('label/watch', { shape: [3], data: new Float32Array(3) }),
      'batch-shape',
    ],
    ['nothing is wrong', () => {}, 'accepted'],
  ])('%s', async (_name, change, code) => {
    expect(await broken(change)).toBe(code);
  });

  it('an unknown task, an id that does not fit 32 bits', async () => {
    const { objective, w, batch } = await load('mmoe');
    await expect(objective.gradient(w, [batch], 'buy')).rejects.toMatchObject({ code: 'task-unknown' });
    expect(() => batchTensor('user', [1], BigInt64Array.of(2n ** 40n))).toThrow(/2³¹/);
    expect(() => batchTensor('dense', [2], new Float32Array(4))).toThrow(/complex/);
  });

  it('an id that float32 would round to another', async () => {
    const { tf } = await loadBackend();
    const network = rankingNetwork(
      tf,
      parseRanking(
        {
          kind: 'ranking',
          version: 1,
          features: [{ name: 'user', type: 'categorical', vocabulary: 2 ** 26, dim: 1 }],
          shared: { type: 'shared-bottom', units: [1], activation: 'relu' },
          tasks: [{ name: 'y', units: [], loss: 'mean-squared-error', weight: 1 }],
        },
        'm',
      ),
    );
    const check = (id: number, kind: 'int32' | 'float64'): void =>
      network.check(
        new Map([
          ['user', batchTensor('user', [1], kind === 'int32' ? Int32Array.of(id) : Float64Array.of(id))],
          ['label/y', { shape: [1], data: Float32Array.of(0) }],
        ]),
      );
    check(2 ** 24 + 1, 'int32');
    check(2 ** 24 - 1, 'float64');
    expect(() => check(2 ** 24 + 1, 'float64')).toThrow(/2²⁴/);
  });
});

describe('names and layouts', () => {
  const objectiveOf = async (): Promise<Objective> => (await load('embeddings')).objective;
  it('renames by patterns, turns PyTorch kernels, and back again', async () => {
    const { tensors } = await objectiveOf();
    const rename = new Map([
      ['tables.*.weight', 'embedding/*'],
      ['bottom.*.weight', 'shared/*/kernel'],
      ['bottom.*.bias', 'shared/*/bias'],
      ['towers.*.*.weight', 'task/*/*/kernel'],
      ['towers.*.*.bias', 'task/*/*/bias'],
    ]);
    expect(renamed('towers.click.1.weight', rename)).toBe('task/click/1/kernel');
    expect(renamed('elsewhere', rename)).toBe('elsewhere');
    // As DistributedDataParallel and torch.compile save.
    expect(renamed('model.module._orig_mod.towers.click.1.weight', rename)).toBe('task/click/1/kernel');
    const sources = tensors.map((t) => ({
      name: t.name
        .replace(/^embedding\/(\w+)$/, 'tables.$1.weight')
        .replace(/^shared\/(\d)\/(\w+)$/, 'bottom.$1.$2')
        .replace(/^task\/(\w+)\/(\d)\/(\w+)$/, 'towers.$1.$2.$3')
        .replace(/kernel$/, 'weight'),
      shape: t.layout === 'IO' ? [...t.shape].reverse() : t.shape,
      layout: t.layout === 'IO' ? ('OI' as const) : ('none' as const),
    }));
    const bindings = matchParameters(tensors, [...sources].reverse(), rename, 'x');
    const kernel = tensors.findIndex((t) => t.name === 'shared/1/kernel');
    const flat = new Float32Array(tensors.reduce((sum, t) => sum + t.size, 0));
    const [tensor, binding] = [tensors[kernel]!, bindings[kernel]!];
    const source = [...sources].reverse()[binding.source]!;
    expect(source.name).toBe('bottom.1.weight');
    const values = Float32Array.from({ length: tensor.size }, (_, i) => i);
    toModel(tensor, binding, source.shape, values, flat);
    // [in, out] entry (2, 5) is [out, in] entry (5, 2).
    expect(flat[tensor.offset + 2 * 12 + 5]).toBe(5 * 16 + 2);
    const back = new Float32Array(tensor.size);
    toSource(tensor, binding, source.shape, flat, back);
    expect(back).toEqual(values);
  });

  it.each([
    [{ 'tables.*': 'embedding/*/*' }, 'model-invalid', /at most as many \* as the pattern/],
    // A backtracking matcher would try these for hours.
    [{ [`${'*a'.repeat(10)}*b`]: 'y' }, 'model-names', /nearest: a{60}/],
  ])('a model file with the renames %j is told apart', async (rename, code, text) => {
    const path = join(scratch(), 'model.json');
    const model = json(join(folder('embeddings'), 'model.json')) as object;
    writeFileSync(path, JSON.stringify({ ...model, rename }));
    const sources = [{ name: 'a'.repeat(60), shape: [1], layout: 'none' as const }];
    await expect(localObjective(path, sources, 'x', {})).rejects.toMatchObject({
      code,
      message: expect.stringMatching(text) as string,
    });
  });

  it('turns the kernels of a file whose layouts are guesses from names, and never its tables', () => {
    const spec = (width: number) =>
      rankingTensors(
        parseRanking(
          {
            kind: 'ranking',
            version: 1,
            features: [{ name: 'user', type: 'categorical', vocabulary: 5, dim: 5 }],
            shared: { type: 'shared-bottom', units: [5, width], activation: 'relu' },
            tasks: [{ name: 'click', units: [], loss: 'mean-squared-error' }],
          },
          'm.json',
        ),
      );
    // `user.weight` of a PyTorch module tells as little as its square shape; `embed_projection` sounds like a table.
    const turned = (width: number, layouts: (name: string) => Layout, kernelsAreOI: boolean): string[] => {
      const tensors = spec(width);
      const sources = tensors.map(({ name, shape, layout }) => ({
        name,
        shape: layout === 'IO' && kernelsAreOI ? [...shape].reverse() : shape,
        layout: layouts(name),
        layoutGuessed: true,
      }));
      const bindings = matchParameters(tensors, sources, new Map(), 'x');
      return tensors.filter((_, t) => bindings[t]!.axes !== undefined).map(({ name }) => name);
    };
    const kernels = ['shared/0/kernel', 'shared/1/kernel', 'task/click/0/kernel'];
    expect(turned(7, () => 'OI', true)).toEqual(kernels);
    expect(turned(7, (name) => (name === 'shared/0/kernel' ? 'none' : 'OI'), true)).toEqual(kernels);
    expect(turned(7, () => 'none', true)).toEqual(kernels);
    expect(turned(7, () => 'OI', false)).toEqual([]);
    expect(turned(7, () => 'none', false)).toEqual([]);
    expect(() => turned(7, () => 'IO', true)).toThrow(/shared\/1\/kernel is 7×5 there and 5×7/);
  });

  it('lists both sides of what does not match', async () => {
    const { tensors } = await objectiveOf();
    const sources = tensors.map((t) => ({ name: t.name, shape: t.shape, layout: t.layout }));
    const missing = sources.map((s) => (s.name === 'shared/0/bias' ? { ...s, name: 'shared/0/b' } : s));
    expect(() => matchParameters(tensors, missing, new Map(), 'x')).toThrow(
      /not found are shared\/0\/bias \(nearest: shared\/0\/b\); left over are shared\/0\/b/,
    );
    const twice = [...sources, { ...sources[0]!, name: `param/${sources[0]!.name}` }];
    expect(() => matchParameters(tensors, twice, new Map(), 'x')).toThrow(
      /left over are embedding\/user \(also embedding\/user\)/,
    );
    const shapes = sources.map((s) => (s.name === 'shared/0/bias' ? { ...s, shape: [3] } : s));
    expect(() => matchParameters(tensors, shapes, new Map(), 'x')).toThrow(
      /shared\/0\/bias is 3 there and 16/,
    );
  });

  it.each([
    [{ kind: 'ranking', version: 2 }, /version must be 1/],
    [{ kind: 'other' }, /kind must be ranking or layers/],
    [{ kind: 'ranking', version: 1, features: [] }, /at least one feature/],
    [
      { kind: 'ranking', version: 1, features: [{ name: 'a', type: 'dense', size: -1 }] },
      /features\[0\].size/,
    ],
    [{ kind: 'ranking', version: 1, task: [] }, /task must be one of the fields .*tasks/],
    [
      { kind: 'ranking', version: 1, features: [{ name: 'a', type: 'dense', size: 1, dims: 2 }] },
      /features\[0\].dims must be one of the fields/,
    ],
    [
      {
        kind: 'ranking',
        version: 1,
        features: [{ name: 'a', type: 'dense', size: 1 }],
        cross: { type: 'dcn-v2', layers: 2 ** 31 },
        shared: { type: 'shared-bottom', units: [], activation: 'relu' },
        tasks: [{ name: 'y', units: [], loss: 'poisson' }],
      },
      /at most 100000 layers/,
    ],
    [
      {
        kind: 'ranking',
        version: 1,
        features: [{ name: 'a', type: 'dense', size: 1 }],
        shared: { type: 'mmoe', experts: 2 ** 31, units: [], activation: 'relu' },
        tasks: [{ name: 'y', units: [], loss: 'poisson' }],
      },
      /at most 100000 layers/,
    ],
    ['text', /an object/],
    [null, /an object/],
  ])('refuses %j', (document, message) => {
    expect(() => parseRanking(document, 'm.json')).toThrow(message);
  });
});
