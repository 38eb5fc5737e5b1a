/**
 * Layers with many options, as Keras 2 and 3 write them (fixtures/curvature/layers.py): loss, gradient and Hessian product are
 * TensorFlow's in float64, or the layer is refused; nothing in between.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { loadBackend } from '../../src/differentiate/autodiff/backend.ts';
import { differentiate } from '../../src/differentiate/autodiff/differentiate.ts';
import { parseTopology } from '../../src/differentiate/autodiff/layers-config.ts';
import { layersNetwork, parseLayersObjective } from '../../src/differentiate/autodiff/layers-model.ts';
import type { Batch } from '../../src/differentiate/autodiff/objective.ts';

interface Case {
  readonly name: string;
  readonly model: unknown;
  /** Names of the weights in the two kinds of file; without them the model has to be refused. */
  readonly h5?: readonly string[];
  readonly keras: readonly string[];
  readonly w: readonly number[][];
  readonly frozen: readonly [name: string, shape: number[], values: number[]][];
  readonly v: readonly number[][];
  readonly batch: Readonly<Record<string, [shape: number[], values: number[]]>>;
  readonly label: number[];
  readonly loss: number;
  readonly gradient: readonly number[][];
  readonly hvp: readonly number[][];
}

const objectiveDocument = {
  version: 1,
  model: 'm',
  tasks: [{ name: 'y', loss: 'mean-squared-error' }],
};

/** Whether the long project runs this: there, the files of Keras 2, which differ in how they name what they hold. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;

describe.each([LONG ? 2 : 3])('Keras %i', (version) => {
  const file = new URL(`../../fixtures/curvature/layers-keras${version}.json.gz`, import.meta.url);
  const [about, ...lines] = gunzipSync(readFileSync(file)).toString().trimEnd().split('\n');
  const { keras } = JSON.parse(about!) as { keras: string };
  const cases = lines.map((line) => JSON.parse(line) as Case);

  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_name, expected) => {
    const backend = await loadBackend();
    const { tf } = backend;
    const before = tf.memory().numTensors;
    const topology = parseTopology(expected.model, keras, 'm');
    const built = layersNetwork(backend, topology, parseLayersObjective(objectiveDocument, 'o'), 'm');
    if (expected.h5 === undefined) {
      await expect(built).rejects.toMatchObject({ code: 'model-layer' });
      return;
    }
    const network = await built;
    const objective = differentiate(backend, network);
    const batch: Batch = new Map([
      ...Object.entries(expected.batch).map(
        ([name, [shape, values]]) =>
          [
            name,
            { shape, data: name === 'ids' ? Int32Array.from(values) : Float32Array.from(values) },
          ] as const,
      ),
      ['label/y', { shape: [expected.label.length], data: Float32Array.from(expected.label) }] as const,
    ]);
    objective.check([batch]);
    const place = (name: string) => objective.tensors.find((t) => t.name === network.nameOf(name))!;
    const flat = (values: readonly number[][]): Float32Array => {
      const out = new Float32Array(objective.size);
      for (const [i, own] of values.entries()) {
        const { offset, size } = place(expected.h5![i]!);
        expect(place(expected.keras[i]!).offset).toBe(offset);
        expect(own).toHaveLength(size);
        out.set(own, offset);
      }
      return out;
    };
    const w = flat(expected.w);
    for (const [name, , values] of expected.frozen) w.set(values, place(name).offset);
    const named = [...expected.h5, ...expected.frozen.map(([name]) => name)].map((name) => place(name).name);
    expect(named.sort()).toEqual(objective.tensors.map(({ name }) => name).sort());
    const error = (found: Float32Array, right: readonly number[][]): number => {
      const values = flat(right);
      const largest = Math.max(...values.map(Math.abs));
      return Math.max(...found.map((x, i) => Math.abs(x - values[i]!))) / largest;
    };

    const { loss, gradient } = await objective.gradient(w, [batch]);
    expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-5);
    expect(error(gradient, expected.gradient)).toBeLessThan(1e-4);
    const hv = await objective.hvp(w, flat(expected.v), [batch]);
    expect(error(hv, expected.hvp)).toBeLessThan(1e-4);
    expect(await objective.hvp(w, flat(expected.v), [batch])).toEqual(hv);
    await objective.close();
    expect(tf.memory().numTensors).toBe(before);
  });
});
