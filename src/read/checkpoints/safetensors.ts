/**
 * safetensors: a JSON header and the tensors' bytes one after another.
 *
 * | bytes | content |
 * |---|---|
 * | 0 … 7 | u64 little-endian: length n of the header, at most 100 MB |
 * | 8 … 7 + n | JSON `{ name: { dtype, shape, data_offsets: [begin, end] }, "__metadata__": { text: text } }`, padded with spaces |
 * | 8 + n … | values, little-endian, row-major; offsets count from here, and cover every byte exactly once |
 *
 * Source: https://github.com/huggingface/safetensors, README "Format".
 */

import type { Checkpoint, Dtype, TensorData } from '../../model/checkpoint.ts';
import { DTYPES } from '../../model/checkpoint.ts';
import type { DiagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { writeFileAtomic } from '../bytes/atomic-write.ts';
import type { ByteSource, Extent } from '../bytes/source.ts';
import { parseCheckpointJson } from './checkpoint-json.ts';
import { DTYPE_BYTES, decodeRange, elementsOf, fillValues } from './dtypes.ts';
import { malformed, truncated, unsupportedDtype } from './faults.ts';
import type { CheckpointFormat } from './format.ts';
import { layoutOfTorch } from './layouts.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from './lazy-checkpoint.ts';
import { checkLimit } from './limit.ts';
import { roleOfName } from './roles.ts';

/** As in the reference implementation. */
const MAX_HEADER_BYTES = 100_000_000;
const FORMAT = 'safetensors';

export const safetensors: CheckpointFormat = {
  id: 'safetensors',
  title: 'safetensors',
  // A length below 2^40 and then "{": no text and no other binary format here starts so.
  sniff: (head) => head.length >= 9 && head[8] === 0x7b && head[5] === 0 && head[6] === 0 && head[7] === 0,
  open: openSafetensors,
};

/** "pt", "tf", "flax" of `__metadata__.format` in our words. */
const FRAMEWORKS = new Map([
  ['pt', 'pytorch'],
  ['tf', 'tensorflow'],
  ['flax', 'flax'],
]);

/**
 * Opens a safetensors file; reads the header only.
 *
 * A file that was cut keeps its whole tensors: the others are named in `errors` and are not listed.
 *
 * @throws checkpoint-truncated, checkpoint-malformed, checkpoint-ambiguous, limit-exceeded
 */
async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  const { path, byteLength } = source;
  const { header, dataStart } = await readHeader(source);
  const metadata = new Map<string, string>();
  const entries: Entry[] = [];
  for (const [name, value] of Object.entries(header))
    if (name === '__metadata__') readMetadata(value, metadata, path);
    else entries.push(parseEntry(name, value, path));
  const dataBytes = byteLength - dataStart;
  checkCoverage(entries, dataBytes, path);

  const place = ({ begin, end }: Entry): Extent => ({ start: dataStart + begin, end: dataStart + end });
  const known = entries.filter(isKnown);
  const unknown = entries.filter((entry) => !isKnown(entry));
  const cut = entries.filter(({ end }) => end > dataBytes);
  const framework = FRAMEWORKS.get(metadata.get('format') ?? '') ?? null;
  const tensors = known
    .filter(({ end }) => end <= dataBytes)
    .map((entry): LazyTensor => {
      const { name, dtype, shape, elements, begin } = entry;
      const layout = framework === 'pytorch' ? layoutOfTorch(name, shape) : 'none';
      return {
        info: { name, dtype, shape, elements, layout, ...roleOfName(name, dtype) },
        extents: () => [place(entry)],
        stream: (as = dtype) => decodeRange(source, dataStart + begin, elements, as),
      };
    });
  const byName = new Map(known.map((entry) => [entry.name, entry]));
  return lazyCheckpoint(
    {
      path,
      format: FORMAT,
      framework,
      step: stepOf(path, metadata),
      metadata,
      errors: [
        ...unknown.map(({ name, dtype }) => unsupportedDtype(name, dtype, path)),
        ...cut.map((entry) => {
          const { start, end } = place(entry);
          const { name } = entry;
          return truncated(`tensor "${name}"`, end, byteLength, { path, tensor: name, byteOffset: start });
        }),
      ].map((error) => error.toRecord()),
      stored: {
        bytes: byteLength,
        passedOver: unknown.filter(({ end }) => end <= dataBytes).map(place),
        lost: cut.map((entry) => ({
          reason: 'cut-off',
          tensors: 1,
          extent: { start: Math.min(place(entry).start, byteLength), end: byteLength },
        })),
      },
      fill: async (name, values) => {
        const entry = byName.get(name);
        return entry !== undefined && values.length === entry.elements
          ? fillValues(source, dataStart + entry.begin, entry.dtype, values)
          : false;
      },
      close: () => source.close(),
    },
    tensors,
  );
}

/** The header, and where the values begin. */
async function readHeader(
  source: ByteSource,
): Promise<{ header: Readonly<Record<string, unknown>>; dataStart: number }> {
  const { path, byteLength } = source;
  if (byteLength < 8) throw truncated('the header length', 8, byteLength, { path });
  const lengthBytes = await source.slice(0, 8);
  const headerBytes = Number(new DataView(lengthBytes.buffer, lengthBytes.byteOffset).getBigUint64(0, true));
  checkLimit('the safetensors header in bytes', headerBytes, MAX_HEADER_BYTES, { path, byteOffset: 0 });
  const dataStart = 8 + headerBytes;
  if (dataStart > byteLength) throw truncated('the header', dataStart, byteLength, { path });
  const text = decodeUtf8(await source.slice(8, dataStart));
  if (text === undefined) throw broken(path, 'the header is not UTF-8');
  // The reference refuses any other first byte, so that no white space hides a second header.
  if (!text.startsWith('{')) throw broken(path, 'the header does not start with "{"');
  const header = parseCheckpointJson(text, path, 'a safetensors header', 4) as Record<string, unknown>;
  return { header, dataStart };
}

function readMetadata(value: unknown, metadata: Map<string, string>, path: string): void {
  if (!isJsonObject(value)) throw broken(path, '"__metadata__" is no object');
  for (const [key, member] of Object.entries(value)) {
    if (typeof member !== 'string') throw broken(path, `"__metadata__" holds "${key}", which is not text`);
    metadata.set(key, member);
  }
}

/** A tensor of the header. */
interface Entry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly elements: number;
  /** Offsets in bytes from where the values begin. */
  readonly begin: number;
  readonly end: number;
}

const isKnown = (entry: Entry): entry is Entry & { readonly dtype: Dtype } => isDtype(entry.dtype);

function parseEntry(name: string, value: unknown, path: string): Entry {
  if (!isJsonObject(value)) throw broken(path, 'its header entry is no object', name);
  const { dtype, shape, data_offsets: offsets, ...others } = value;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw broken(path, `tensor "${name}" has the unknown field "${unknown}"`, name);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw broken(path, `tensor "${name}" has no two data_offsets`, name);
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw broken(path, `tensor "${name}" ends at ${end}, before it begins at ${begin}`, name);
  if (typeof dtype !== 'string' || !Array.isArray(shape))
    throw broken(path, `tensor "${name}" has no dtype or no shape`, name);
  const elements = elementsOf(shape as number[], path, name, FORMAT);
  if (isDtype(dtype) && elements * DTYPE_BYTES[dtype] !== end - begin)
    throw broken(
      path,
      `tensor "${name}" (${dtype}, ${elements} elements) needs ${elements * DTYPE_BYTES[dtype]} bytes, its offsets give it ${end - begin}`,
      name,
    );
  return { name, dtype, shape: shape as number[], elements, begin, end };
}

/**
 * Checks that tensors cover every byte once. A tensor of size zero covers none and may be at any offset that is used.
 *
 * @throws checkpoint-malformed
 */
function checkCoverage(entries: readonly Entry[], dataBytes: number, path: string): void {
  let covered = 0;
  for (const { name, begin, end } of entries
    .filter((entry) => entry.end > entry.begin)
    .sort((a, b) => a.begin - b.begin)) {
    if (begin < covered)
      throw broken(path, `tensor "${name}" begins at ${begin} inside another that ends at ${covered}`, name);
    if (begin > covered)
      throw broken(path, `bytes ${covered} to ${begin} before tensor "${name}" belong to no tensor`, name);
    covered = end;
  }
  const beyond = entries.find(({ begin, end }) => begin === end && begin > covered);
  if (beyond !== undefined) {
    const { name, begin } = beyond;
    throw broken(path, `the empty tensor "${name}" lies at ${begin}, beyond all others`, name);
  }
  if (dataBytes > covered)
    throw broken(path, `${dataBytes - covered} bytes after the last tensor belong to none`);
}

const broken = (path: string, problem: string, tensor?: string): DiagError =>
  malformed(FORMAT, problem, tensor === undefined ? { path } : { path, tensor });

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isDtype = (value: string): value is Dtype => (DTYPES as readonly string[]).includes(value);

/** Text of UTF-8 bytes, a byte-order mark kept; undefined where they are not. */
function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** A tensor to be written: its values, or a function that yields them in pieces. */
export interface TensorToWrite {
  readonly name: string;
  readonly shape: readonly number[];
  /** A type whose values have a typed array of their own. */
  readonly dtype: 'F64' | 'F32' | 'I64' | 'I32' | 'I16' | 'I8' | 'U64' | 'U32' | 'U16' | 'U8' | 'BOOL';
  readonly values: TensorData | (() => AsyncIterable<TensorData> | Iterable<TensorData>);
}

/**
 * Writes a safetensors file, whole or not at all; tensors that are given as functions are never in memory at once.
 *
 * The bytes depend on the arguments alone. Wider types come first, so that every tensor is aligned; the header is
 * padded with spaces to a multiple of 8 bytes.
 *
 * @throws output-unwritable; RangeError where the values given do not fill a shape, or names repeat
 */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: ReadonlyMap<string, string> = new Map(),
): Promise<void> {
  const sizeOf = (tensor: TensorToWrite): number =>
    elementsOf(tensor.shape, path, tensor.name, FORMAT) * DTYPE_BYTES[tensor.dtype];
  const sorted = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
  let begin = 0;
  const members = sorted.map((tensor) => {
    const end = begin + sizeOf(tensor);
    const entry = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] };
    begin = end;
    return [tensor.name, entry] as const;
  });
  const names = new Set(members.map(([name]) => name));
  if (names.size !== members.length || names.has('__metadata__'))
    throw new RangeError(`tensor names repeat or are reserved in ${path}`);
  // Written member by member: an object would sort names that look like integers to its front.
  const entries = members.map(([name, entry]) => `${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  if (metadata.size > 0) entries.unshift(`"__metadata__":${JSON.stringify(Object.fromEntries(metadata))}`);
  const json = new TextEncoder().encode(`{${entries.join(',')}}`);
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  async function* content(): AsyncIterable<Uint8Array> {
    yield header;
    for (const tensor of sorted) {
      let written = 0;
      for await (const piece of typeof tensor.values === 'function' ? tensor.values() : [tensor.values]) {
        written += piece.byteLength;
        if (piece.BYTES_PER_ELEMENT !== DTYPE_BYTES[tensor.dtype] || written > sizeOf(tensor)) break;
        yield new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
      }
      if (written !== sizeOf(tensor))
        throw new RangeError(`tensor "${tensor.name}" has ${sizeOf(tensor)} bytes, ${written} were given`);
    }
  }
  return writeFileAtomic(path, content());
}
