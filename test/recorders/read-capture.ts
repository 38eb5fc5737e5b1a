/** Reads a capture as its description says it is written, for the tests of the recorders; knows nothing of src/. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

export interface Manifest {
  readonly version: number;
  readonly framework: string;
  readonly optimizer: Record<string, unknown>;
  readonly groups?: readonly Record<string, unknown>[];
  readonly clipping: Record<string, unknown>;
  readonly parameters: readonly {
    name: string;
    shape: number[];
    layout: string;
    embedding: boolean;
    group?: number;
  }[];
  readonly steps: readonly {
    step: number;
    file: string;
    learningRate: number;
    loss: number | string;
    tasks?: Record<string, number>;
    groupLearningRates?: number[];
  }[];
  readonly flushed: { readonly step: number; readonly reason: string };
  readonly history: { steps: number[]; loss: number[] };
  readonly curvature?: readonly {
    operator: string;
    eigenvalues: { value: number; residualNorm: number; converged: boolean }[];
    stability: { limit: number | null; ratio: number | null };
  }[];
  readonly replay?: readonly Record<string, unknown>[];
}

const VALUE: Record<string, [number, (data: Buffer, at: number) => number]> = {
  F32: [4, (data, at) => data.readFloatLE(at)],
  F64: [8, (data, at) => data.readDoubleLE(at)],
  I64: [8, (data, at) => Number(data.readBigInt64LE(at))],
  I32: [4, (data, at) => data.readInt32LE(at)],
};

/** All tensors of a safetensors file; throws where the bytes are not exactly covered. */
export function readTensors(path: string): Map<string, Tensor> {
  const file = readFileSync(path);
  const size = Number(file.readBigUInt64LE(0));
  if (size % 8 !== 0) throw new Error(`header of ${size} bytes is not padded`);
  const header = JSON.parse(file.subarray(8, 8 + size).toString('utf8')) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const data = file.subarray(8 + size);
  let expected = 0;
  const tensors = new Map<string, Tensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    const [width, read] = VALUE[dtype]!;
    const count = shape.reduce((product, n) => product * n, 1);
    const [start, end] = data_offsets;
    if (start !== expected || end - start !== count * width) throw new Error(`offsets of ${name}`);
    expected = end;
    tensors.set(name, {
      dtype,
      shape,
      values: Array.from({ length: count }, (_, i) => read(data, start + i * width)),
    });
  }
  if (expected !== data.length) throw new Error(`${data.length - expected} bytes left over in ${path}`);
  return tensors;
}

/** Manifest, initial state and steps of a capture; throws where a file is missing or no step names it. */
export function readCapture(folder: string) {
  const manifest = JSON.parse(readFileSync(join(folder, 'capture.json'), 'utf8')) as Manifest;
  const initial = readTensors(join(folder, 'initial.safetensors'));
  const steps = manifest.steps.map((step) => ({ ...step, tensors: readTensors(join(folder, step.file)) }));
  const named = new Set(manifest.steps.map((step) => step.file));
  const extra = readdirSync(folder).filter((name) => /^step-.*\.safetensors$/.test(name) && !named.has(name));
  return { manifest, initial, steps, extra };
}
