/**
 * TensorFlow.js models: `model.json` and the shards that it lists.
 *
 * | field of `weightsManifest[i]` | content |
 * |---|---|
 * | `paths` | shards, relative to model.json; their bytes follow one another |
 * | `weights[j]` | `name`, `shape`, `dtype`, and `quantization { dtype, min, scale }` where values were quantised |
 *
 * The values of quantised weights are those after dequantisation, v · scale + min as TensorFlow.js computes it, and
 * the type is that of the weight. Texts, which have a u32 length before each, are skipped. Source:
 * tfjs-core/src/io/io_utils.ts, decodeWeights.
 */

import type { Checkpoint, Dtype, TensorData } from '../../../model/checkpoint.ts';
import { DiagError, type ErrorRecord } from '../../../model/errors.ts';
import { isJsonObject } from '../../../model/json.ts';
import { type ByteSource, type Extent, openSibling } from '../../bytes/source.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import { DTYPE_BYTES, decodeRange, elementsOf } from '../dtypes.ts';
import { ambiguous, malformed, truncated, unsupportedDtype } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { type KerasTensor, kerasRoles } from '../keras/keras-roles.ts';
import { addCountedSteps, type LazyTensor, lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import { checkLimit } from '../limit.ts';
import type { RoleOfTensor } from '../roles.ts';
import { FilesInOrder, type LostTensors } from '../stored-bytes.ts';

const FORMAT = 'TensorFlow.js model';
/** Topologies of large graphs have tens of megabytes. */
const MAX_JSON_BYTES = 100_000_000;
const MAX_DEPTH = 200;

export const tfjs: CheckpointFormat = {
  id: 'tfjs',
  title: 'TensorFlow.js model (model.json)',
  sniff: (head) => {
    const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString('latin1');
    return /^(?:\xef\xbb\xbf)?\s*\{/.test(text) && /"(?:weightsManifest|modelTopology)"\s*:/.test(text);
  },
  open: openTfjs,
};

const TFJS_DTYPES = new Map<string, Dtype>([
  ['float32', 'F32'],
  ['int32', 'I32'],
  ['bool', 'BOOL'],
  ['complex64', 'C64'],
]);
const STORED_DTYPES = new Map<string, Dtype>([
  ['uint8', 'U8'],
  ['uint16', 'U16'],
  ['float16', 'F16'],
]);

interface Weight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly elements: number;
  /** Undefined for texts. */
  readonly dtype: Dtype | undefined;
  readonly stored: Dtype | undefined;
  readonly scale: number;
  readonly min: number;
  readonly ofOptimizer: boolean;
}

async function openTfjs(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  checkLimit('model.json in bytes', source.byteLength, MAX_JSON_BYTES, { path });
  const text = Buffer.from(await source.slice(0, source.byteLength))
    .toString()
    .replace(/^\ufeff/, '');
  const model = parseCheckpointJson(text, path, 'model.json', MAX_DEPTH);
  const groups = isJsonObject(model) ? model.weightsManifest : undefined;
  if (!Array.isArray(groups)) throw broken(path, 'it has no weightsManifest');
  const metadata = new Map<string, string | number | boolean | null>();
  for (const key of ['format', 'generatedBy', 'convertedBy']) {
    const value = (model as Record<string, unknown>)[key];
    if (typeof value === 'string') metadata.set(key, value);
  }
  const reader = new GroupReader(source);
  try {
    for (const group of groups) await reader.read(group);
  } catch (error) {
    await reader.files.closeOthers();
    throw error;
  }
  const tensors = lazyTensors(reader.placed);
  await addCountedSteps(tensors, metadata);
  const { errors, files, passedOver, lost } = reader;
  return lazyCheckpoint(
    {
      path,
      format: 'tfjs',
      framework: 'tfjs',
      step: stepOf(path, metadata),
      metadata,
      errors,
      stored: { bytes: files.byteLength, passedOver, lost },
      close: () => files.close(),
    },
    tensors,
  );
}

/** A weight whose bytes are there. */
interface PlacedWeight {
  readonly weight: Weight & { readonly dtype: Dtype };
  /** The shards of its group, one after another. */
  readonly source: ByteSource;
  readonly start: number;
  /** Where its group begins in all files. */
  readonly base: number;
}

/** Reads one group of the manifest after another, and notes where each weight lies or why it cannot be had. */
class GroupReader {
  readonly errors: ErrorRecord[] = [];
  readonly passedOver: Extent[] = [];
  readonly lost: LostTensors[] = [];
  readonly placed: PlacedWeight[] = [];
  readonly files: FilesInOrder;
  readonly #names = new Set<string>();
  readonly #shards = new Set<string>();
  readonly #path: string;

  constructor(model: ByteSource) {
    this.files = new FilesInOrder(model);
    this.#path = model.path;
  }

  async read(group: unknown): Promise<void> {
    if (!isJsonObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights))
      throw broken(this.#path, 'a group of its weightsManifest has no paths or no weights');
    const weights = group.weights.map((weight) => parseWeight(weight, this.#path));
    for (const { name } of weights) this.#once(this.#names, name, `the weight "${name}" is there twice`);
    const base = this.files.byteLength;
    const shards = await this.#openShards(group.paths);
    if (shards !== undefined) await this.#place(weights, shards, base);
    // Without one shard it is unknown where the weights of the others begin.
    else {
      const extent = { start: base, end: this.files.byteLength };
      this.lost.push({ reason: 'absent', tensors: weights.length, extent });
    }
  }

  #once(seen: Set<string>, name: string, problem: string): void {
    if (seen.has(name)) throw ambiguous(problem, { path: this.#path });
    seen.add(name);
  }

  /** The shards one after another; undefined, with the errors noted, where one is missing. */
  async #openShards(names: readonly unknown[]): Promise<ByteSource | undefined> {
    const shards: ByteSource[] = [];
    for (const name of names) {
      if (typeof name !== 'string') throw broken(this.#path, 'a path of its weightsManifest is not text');
      this.#once(this.#shards, name, `the shard "${name}" is listed twice`);
      try {
        shards.push(this.files.add(await openSibling(this.#path, name)));
      } catch (error) {
        if (!(error instanceof DiagError) || error.code !== 'file-missing') throw error;
        this.errors.push(error.toRecord());
      }
    }
    return shards.length === names.length ? joinSources(shards, this.#path) : undefined;
  }

  async #place(weights: readonly Weight[], source: ByteSource, base: number): Promise<void> {
    const bytes = source.byteLength;
    let start = 0;
    for (const [k, weight] of weights.entries()) {
      const { name, dtype } = weight;
      const end = await endOf(weight, source, start);
      if (!(end <= bytes)) {
        const where = { path: this.#path, tensor: name };
        this.errors.push(truncated(`tensor "${name}"`, end, bytes, where).toRecord());
        const extent = { start: base + start, end: base + bytes };
        this.lost.push({ reason: 'cut-off', tensors: weights.length - k, extent });
        break;
      }
      if (dtype !== undefined) this.placed.push({ weight: { ...weight, dtype }, source, start, base });
      else this.passedOver.push({ start: base + start, end: base + end });
      start = end;
    }
    this.passedOver.push({ start: base + start, end: base + bytes });
    if (start < bytes && this.errors.length === 0)
      this.errors.push(
        broken(this.#path, `${bytes - start} bytes of its shards belong to no weight`).toRecord(),
      );
  }
}

const endOf = async (
  { dtype, stored, elements }: Weight,
  source: ByteSource,
  start: number,
): Promise<number> =>
  dtype === undefined ? endOfTexts(source, start, elements) : start + elements * DTYPE_BYTES[stored ?? dtype];

function lazyTensors(placed: readonly PlacedWeight[]): LazyTensor[] {
  const keras = placed.map(
    ({ weight: { name, shape, dtype } }): KerasTensor => ({ key: name, name, dtype, shape }),
  );
  // Saved with includeOptimizer: slots have their parameter's name, the rest is a count of steps and settings.
  const known = new Map<string, RoleOfTensor>();
  const named = kerasRoles(keras);
  for (const { weight } of placed)
    if (weight.ofOptimizer && named.get(weight.name)!.role !== 'optimizer_state')
      known.set(weight.name, {
        role: 'optimizer_state',
        slot: weight.name === 'iter' ? 'step' : weight.name,
      });
  const roles = kerasRoles(keras, known);
  return placed.map(({ weight, source, start, base }) => {
    const { name, shape, elements, dtype, stored } = weight;
    const from = base + start;
    return {
      extents: () => [{ start: from, end: from + elements * DTYPE_BYTES[stored ?? dtype] }],
      info: { name, dtype, shape, elements, ...roles.get(name)! },
      stream: () => streamWeight(source, start, weight),
    };
  });
}

const broken = (path: string, problem: string): DiagError => malformed(FORMAT, problem, { path });

function parseWeight(weight: unknown, path: string): Weight {
  const { name, shape, dtype, quantization, group } = isJsonObject(weight) ? weight : {};
  if (typeof name !== 'string' || !Array.isArray(shape) || typeof dtype !== 'string')
    throw broken(path, 'a weight has no name, shape or dtype');
  const elements = elementsOf(shape as number[], path, name, FORMAT);
  const wide = TFJS_DTYPES.get(dtype);
  if (wide === undefined && dtype !== 'string') throw unsupportedDtype(name, dtype, path);
  const plain = {
    name,
    shape: shape as number[],
    elements,
    dtype: wide,
    stored: undefined,
    scale: 1,
    min: 0,
    ofOptimizer: group === 'optimizer',
  };
  if (quantization === undefined) return plain;
  const { dtype: storedName, scale, min } = isJsonObject(quantization) ? quantization : {};
  const stored = STORED_DTYPES.get(String(storedName));
  if (stored === undefined || (wide !== 'F32' && (wide !== 'I32' || stored === 'F16')))
    throw broken(path, `weight "${name}" (${dtype}) is quantised to ${String(storedName)}`);
  if (stored === 'F16') return { ...plain, stored };
  if (
    typeof scale !== 'number' ||
    typeof min !== 'number' ||
    !Number.isFinite(scale) ||
    !Number.isFinite(min)
  )
    throw broken(path, `weight "${name}" is quantised without scale or min`);
  return { ...plain, stored, scale, min };
}

async function* streamWeight(
  source: ByteSource,
  start: number,
  { dtype, elements, stored, scale, min }: PlacedWeight['weight'],
): AsyncIterable<TensorData> {
  if (stored === undefined || stored === 'F16') {
    yield* decodeRange(source, start, elements, stored ?? dtype);
    return;
  }
  for await (const piece of decodeRange(source, start, elements, stored)) {
    const values = dtype === 'F32' ? new Float32Array(piece.length) : new Int32Array(piece.length);
    for (let i = 0; i < piece.length; i++) {
      const value = (piece as Uint8Array)[i]! * scale + min;
      values[i] = dtype === 'F32' ? value : Math.round(value);
    }
    yield values;
  }
}

/** Where a row of texts ends: each has a u32 length before it. */
async function endOfTexts(source: ByteSource, start: number, count: number): Promise<number> {
  let at = start;
  for (let i = 0; i < count; i++) {
    if (at + 4 > source.byteLength) return at + 4;
    const bytes = await source.slice(at, at + 4);
    at += 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }
  return at;
}

/** Several sources one after another. */
function joinSources(parts: readonly ByteSource[], path: string): ByteSource {
  const starts: number[] = [];
  let byteLength = 0;
  for (const part of parts) {
    starts.push(byteLength);
    byteLength += part.byteLength;
  }
  return {
    path,
    byteLength,
    slice: async (start, end) => {
      const pieces: Uint8Array[] = [];
      for (const [i, part] of parts.entries()) {
        const from = Math.max(start - starts[i]!, 0);
        const to = Math.min(end - starts[i]!, part.byteLength);
        if (from < to) pieces.push(await part.slice(from, to));
      }
      return pieces.length === 1 ? pieces[0]! : new Uint8Array(Buffer.concat(pieces));
    },
    close: async () => {},
  };
}
