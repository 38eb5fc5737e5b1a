/** Every fixture that a framework wrote: names, types, shapes, roles, values; and every real file with known facts. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/read/checkpoints/registry.ts';
import { tensorStatistics } from '../../src/read/checkpoints/statistics.ts';
import { manifestFiles, projectRoot, sharedData } from '../support/shared-data.ts';
import { expectTensors, type TensorFacts } from './expected.ts';

interface Expected {
  readonly tensors: Record<string, TensorFacts>;
  readonly metadata?: Record<string, unknown>;
  readonly withoutWeights?: string | null;
  /** A word of each error, its id or the tensor that it is about. */
  readonly errors: readonly string[];
}

describe.each([
  'pytorch',
  'pytorch2',
  'numpy',
  'hdf5',
  'keras2',
  'keras3',
  'tensorflow',
  'tensorflow-keras2',
  'onnx',
  'flax',
  'orbax',
  'zarr',
  'keras3-shards',
])('fixtures of %s', (folder) => {
  const at = join(projectRoot, 'fixtures/checkpoints', folder);
  const expected = JSON.parse(readFileSync(join(at, 'expected.json'), 'utf8')) as Record<string, Expected>;
  it.each(Object.keys(expected))('%s', async (name) => {
    const { tensors, metadata = {}, withoutWeights, errors } = expected[name]!;
    const checkpoint = await openCheckpoint(join(at, name));
    expect(checkpoint.errors.map((error) => `${error.id} ${error.tensor}`)).toEqual(
      errors.map((word) => expect.stringContaining(word)),
    );
    expect(Object.fromEntries(checkpoint.metadata)).toMatchObject(metadata);
    expect(checkpoint.withoutWeights ?? null).toBe(withoutWeights ?? null);
    await expectTensors(checkpoint, tensors);
    await checkpoint.close();
  });
});

describe('real checkpoints', () => {
  const NAMES: Record<string, string> = {
    float64: 'F64',
    float32: 'F32',
    float16: 'F16',
    bfloat16: 'BF16',
    int64: 'I64',
    int32: 'I32',
    int16: 'I16',
    int8: 'I8',
    uint64: 'U64',
    uint32: 'U32',
    uint16: 'U16',
    uint8: 'U8',
    bool: 'BOOL',
  };
  const files = manifestFiles.filter(({ kind, facts }) => kind.startsWith('ckpt/') && facts?.tensors);

  it.skipIf(sharedData === undefined)('are present (skipped without the folder of real files)', () => {
    expect(files.length).toBeGreaterThan(20);
  });

  it.each(files)('$dest', async ({ dest, facts }) => {
    const expected = Object.fromEntries(
      // TensorFlow's object graph is a text among the tensors.
      Object.entries(facts!.tensors as Record<string, Record<string, unknown>>).filter(
        ([, { dtype }]) => dtype !== 'string',
      ),
    );
    const checkpoint = await openCheckpoint(join(sharedData!, dest));
    expect(checkpoint.tensors.map((t) => t.name).sort()).toEqual(Object.keys(expected).sort());
    for (const { name, dtype, shape, elements } of checkpoint.tensors) {
      const fact = expected[name]! as Record<string, number> & { first3: number[] };
      const found = await tensorStatistics(checkpoint, name);
      const values = await checkpoint.read(name);
      expect({ dtype, shape, elements }).toEqual({
        dtype: NAMES[String(fact.dtype)],
        shape: fact.shape,
        elements: fact.size,
      });
      expect(
        { min: found.min, max: found.max, nan: found.nan, inf: found.posInf + found.negInf },
        name,
      ).toEqual({
        min: fact.min,
        max: fact.max,
        nan: fact.nan,
        inf: fact.inf,
      });
      expect(Math.abs(found.sum - fact.sum!), `sum of ${name}`).toBeLessThanOrEqual(1e-12 * fact.abs_sum!);
      expect(Math.abs(found.norm - fact.l2!), `norm of ${name}`).toBeLessThanOrEqual(1e-12 * fact.l2!);
      expect(
        [0, 1, 2].slice(0, elements).map((i) => Number(values[i])),
        name,
      ).toEqual(fact.first3);
    }
    for (const [key, value] of Object.entries((facts!.scalars ?? {}) as Record<string, unknown>))
      expect(checkpoint.metadata.get(key), key).toBe(value);
    await checkpoint.close();
  });

  it.skipIf(sharedData === undefined)(
    'a stable-baselines3 archive holds what its extracted members hold',
    async () => {
      const { dest } = manifestFiles.find(({ kind }) => kind === 'ckpt/sb3_zip')!;
      const whole = await openCheckpoint(join(sharedData!, dest));
      expect(whole.format).toBe('stable-baselines3');
      for (const file of ['policy.pth', 'policy.optimizer.pth']) {
        const part = await openCheckpoint(
          join(sharedData!, `${dest.replace('sb3_zip', 'pytorch_zip')}.members`, file),
        );
        for (const { name } of part.tensors)
          expect(await whole.read(`${file}/${name}`), name).toEqual(await part.read(name));
        await part.close();
      }
      expect(whole.tensors.filter((t) => t.role === 'optimizer_state')).toHaveLength(24);
      expect(whole.tensors.find((t) => t.name === 'policy.optimizer.pth/state.3.exp_avg_sq')).toMatchObject({
        slot: 'v',
        parameter: 'policy.pth/mlp_extractor.policy_net.2.bias',
      });
      await whole.close();
    },
  );
});
