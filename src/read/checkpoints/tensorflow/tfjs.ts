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
import { DiagError, diagError, type ErrorRecord } from '../../../model/errors.ts';
import { isJsonObject } from '../../../model/json.ts';
import { type ByteSource, type Extent, openSibling } from '../../bytes/source.ts';
import { parseCheckpointJson } from '../checkpoint-json.ts';
import { DTYPE_BYTES, decodeRange, elementsOf } from '../dtypes.ts';
import type { CheckpointFormat } from '../format.ts';
import { type KerasTensor, kerasRoles } from '../keras/keras-roles.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import { checkLimit } from '../limit.ts';
import type { RoleOfTensor } from '../roles.ts';
import type { LostTensors } from '../stored-bytes.ts';

const FORMAT = 'TensorFlow.js model';
/** Topologies of large graphs have tens of megabytes. */
const MAX_JSON_BYTES = 100_000_000;
const MAX_DEPTH = 200;

export const tfjs: CheckpointFormat = {
  id: 'tfjs',
  title: 'TensorFlow.js model (model.json)',
  tried: 'a TensorFlow.js model (model.json)',
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
  if (!Array.isArray(groups)) throw malformed(path, 'it has no weightsManifest');
  const metadata = new Map<string, string | number | boolean | null>();
  for (const key of ['format', 'generatedBy', 'convertedBy']) {
    const value = (model as Record<string, unknown>)[key];
    if (typeof value === 'string') metadata.set(key, value);
  }
  const errors: ErrorRecord[] = [];
  const passedOver: Extent[] = [];
  const lost: LostTensors[] = [];
  /** model.json, then the shards of the groups before. */
  let groupStart = source.byteLength;
  const shards: ByteSource[] = [];
  const paths = new Set<string>();
  const placed: { weight: Weight; dtype: Dtype; source: ByteSource; start: number; base: number }[] = [];
  const names = new Set<string>();
  const close = async (): Promise<void> => {
    for (const each of [source, ...shards]) await each.close();
  };
  try {
    for (const group of groups) {
      if (!isJsonObject(group) || !Array.isArray(group.paths) || !Array.isArray(group.weights))
        throw malformed(path, 'a group of its weightsManifest has no paths or no weights');
      const weights = group.weights.map((weight) => parseWeight(weight, path));
      for (const { name } of weights) {
        if (names.has(name))
          throw diagError(
            'checkpoint-ambiguous',
            { problem: `the weight "${name}" is there twice` },
            { path },
          );
        names.add(name);
      }
      const parts: ByteSource[] = [];
      let missing: DiagError | undefined;
      for (const name of group.paths as unknown[]) {
        if (typeof name !== 'string') throw malformed(path, 'a path of its weightsManifest is no text');
        if (paths.has(name))
          throw diagError(
            'checkpoint-ambiguous',
            { problem: `the shard "${name}" is listed twice` },
            { path },
          );
        paths.add(name);
        try {
          const part = await openSibling(path, name);
          shards.push(part);
          parts.push(part);
        } catch (error) {
          if (!(error instanceof DiagError) || error.code !== 'file-missing') throw error;
          errors.push(error.toRecord());
          missing = error;
        }
      }
      const bytes = joinSources(parts, path);
      const base = groupStart;
      groupStart += bytes.byteLength;
      // Without one shard it is unknown where the weights of the others begin.
      if (missing !== undefined) {
        lost.push({ reason: 'absent', tensors: weights.length, extent: { start: base, end: groupStart } });
        continue;
      }
      let start = 0;
      for (const [k, weight] of weights.entries()) {
        const { name, dtype, stored, elements } = weight;
        const end =
          dtype === undefined
            ? await endOfTexts(bytes, start, elements)
            : start + elements * DTYPE_BYTES[stored ?? dtype];
        if (!(end <= bytes.byteLength)) {
          const details = { what: `tensor "${name}"`, end, bytes: bytes.byteLength };
          errors.push(diagError('checkpoint-truncated', details, { path, tensor: name }).toRecord());
          const extent = { start: base + start, end: groupStart };
          lost.push({ reason: 'cut-off', tensors: weights.length - k, extent });
          break;
        }
        if (dtype !== undefined) placed.push({ weight, dtype, source: bytes, start, base });
        else passedOver.push({ start: base + start, end: base + end });
        start = end;
      }
      passedOver.push({ start: base + start, end: groupStart });
      if (start < bytes.byteLength && !errors.length)
        errors.push(
          malformed(path, `${bytes.byteLength - start} bytes of its shards belong to no weight`).toRecord(),
        );
    }
  } catch (error) {
    for (const shard of shards) await shard.close();
    throw error;
  }
  const keras = placed.map(
    ({ weight: { name, shape }, dtype }): KerasTensor => ({ key: name, name, dtype, shape }),
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
  const tensors = placed.map(({ weight, dtype, source: bytes, start, base }): LazyTensor => {
    const { name, shape, elements, stored } = weight;
    const from = base + start;
    return {
      extents: () => [{ start: from, end: from + elements * DTYPE_BYTES[stored ?? dtype] }],
      info: { name, dtype, shape, elements, ...roles.get(name)! },
      stream: () => streamWeight(bytes, start, weight, dtype),
    };
  });
  const counter = tensors.find(({ info }) => info.slot === 'step' && info.elements === 1);
  if (counter !== undefined) for await (const v of counter.stream()) metadata.set('step', Number(v[0]));
  return lazyCheckpoint(
    {
      path,
      format: 'tfjs',
      framework: 'tfjs',
      step: stepOf(path, metadata),
      metadata,
      errors,
      stored: { bytes: groupStart, passedOver, lost },
      close,
    },
    tensors,
  );
}

const malformed = (path: string, problem: string): DiagError =>
  diagError('checkpoint-malformed', { format: FORMAT, problem }, { path });

function parseWeight(weight: unknown, path: string): Weight {
  const { name, shape, dtype, quantization, group } = isJsonObject(weight) ? weight : {};
  if (typeof name !== 'string' || !Array.isArray(shape) || typeof dtype !== 'string')
    throw malformed(path, 'a weight has no name, shape or dtype');
  const elements = elementsOf(shape as number[], path, name, FORMAT);
  const wide = TFJS_DTYPES.get(dtype);
  if (wide === undefined && dtype !== 'string')
    throw diagError('dtype-unsupported', { tensor: name, dtype }, { path, tensor: name });
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
    throw malformed(path, `weight "${name}" (${dtype}) is quantised to ${String(storedName)}`);
  if (stored === 'F16') return { ...plain, stored };
  if (
    typeof scale !== 'number' ||
    typeof min !== 'number' ||
    !Number.isFinite(scale) ||
    !Number.isFinite(min)
  )
    throw malformed(path, `weight "${name}" is quantised without scale or min`);
  return { ...plain, stored, scale, min };
}

async function* streamWeight(
  source: ByteSource,
  start: number,
  { elements, stored, scale, min }: Weight,
  dtype: Dtype,
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
