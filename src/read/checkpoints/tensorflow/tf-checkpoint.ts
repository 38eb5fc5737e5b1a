/**
 * TensorFlow checkpoints ("bundles"): an index and the tensors' bytes in one or more shards.
 *
 * | file | content |
 * |---|---|
 * | `<prefix>.index` | a table (tf-table.ts): key "" → BundleHeaderProto, tensor name → BundleEntryProto |
 * | `<prefix>.data-00000-of-00002` | values, row-major, each with a masked crc32c in its entry |
 * | `checkpoint` | text that names the newest prefix |
 * | `saved_model.pb`, `variables/variables.*` | a SavedModel: a graph, which is not read, and a bundle |
 *
 * BundleHeaderProto { 1 num_shards, 2 endianness (1 = big) }; BundleEntryProto { 1 dtype, 2 shape { 2 dim { 1 size } },
 * 3 shard, 4 offset, 5 size, 6 crc32c, 7 slices }. Source: tensorflow/core/protobuf/tensor_bundle.proto,
 * tensorflow/core/util/tensor_bundle/tensor_bundle.cc, trackable_object_graph.proto.
 */

import type { Checkpoint, Dtype, TensorData } from '../../../model/checkpoint.ts';
import { DiagError, diagError, type ErrorRecord } from '../../../model/errors.ts';
import type { LossReason } from '../../../model/log.ts';
import { crc32c, maskedCrc32c } from '../../bytes/crc32c.ts';
import { hex } from '../../bytes/hex.ts';
import {
  countOf,
  fixed32,
  type ProtobufField,
  protobufFields,
  protobufHead,
  textOf,
} from '../../bytes/protobuf.ts';
import { type ByteSource, type Extent, openSibling } from '../../bytes/source.ts';
import { bytePieces, DTYPE_BYTES, decodePieces, decodeValues, elementsOf } from '../dtypes.ts';
import { ambiguous, malformed, truncated, unsupportedDtype } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { type KerasTensor, kerasRoles } from '../keras/keras-roles.ts';
import { addCountedSteps, type LazyTensor, lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import type { RoleOfTensor } from '../roles.ts';
import {
  accountOf,
  FilesInOrder,
  inOneStream,
  type LostTensors,
  lossReasonOf,
  type StoredBytes,
} from '../stored-bytes.ts';
import { isTable, readTable } from './tf-table.ts';

const FORMAT = 'TensorFlow checkpoint';

export const tfCheckpoint: CheckpointFormat = {
  id: 'tf-checkpoint',
  title: 'TensorFlow checkpoint (.index and .data, or the text file "checkpoint")',
  sniff: async (head, source) => isNewestText(head) || (await isTable(source)),
  open: async (source) =>
    isNewestText(await source.slice(0, Math.min(64, source.byteLength)))
      ? openNewest(source)
      : openBundle(source),
  part: (name, kind, beside) => {
    if (kind === 'folder') return undefined;
    if (name === 'checkpoint') return 'names the checkpoints of TensorFlow in its folder';
    const index = name.replace(/\.data-\d{5}-of-\d{5}$/, '.index');
    return index !== name && beside.has(index) ? 'read through its .index' : undefined;
  },
};

/** Enough for thousands of prefixes. */
const MAX_NEWEST_BYTES = 1024 * 1024;

const isNewestText = (head: Uint8Array): boolean =>
  Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, 64))
    .toString('latin1')
    .startsWith('model_checkpoint_path:');

/** Follows the text file `checkpoint` to the newest bundle, in the same folder even where the text holds another. */
async function openNewest(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const text = Buffer.from(await source.slice(0, Math.min(source.byteLength, MAX_NEWEST_BYTES))).toString();
  const prefixes = [...text.matchAll(/^(?:all_)?model_checkpoint_paths?: "([^"\n]*)"/gm)].map((m) =>
    // An absolute path is that of the machine that trained.
    /^[/\\]|^[A-Za-z]:/.test(m[1]!) ? m[1]!.replace(/^.*[/\\]/s, '') : m[1]!,
  );
  const [newest] = prefixes;
  if (newest === undefined || newest === '') throw malformed(FORMAT, 'it names no checkpoint', { path });
  let index: ByteSource;
  try {
    index = await openSibling(path, `${newest}.index`);
  } catch (error) {
    if (!(error instanceof DiagError) || error.code !== 'file-missing') throw error;
    const found = await presentPrefixes(path, prefixes.slice(1, 100));
    throw diagError('tf-newest-missing', { name: newest, found }, { path }, error);
  }
  await source.close();
  return openOwned(index, openBundle);
}

async function presentPrefixes(path: string, prefixes: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const prefix of new Set(prefixes))
    try {
      await (await openSibling(path, `${prefix}.index`)).close();
      found.push(`${prefix}.index`);
    } catch {
      // Not there either.
    }
  return found;
}

/** Opens with a source that is closed again if that fails. */
async function openOwned(
  source: ByteSource,
  open: (source: ByteSource) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  try {
    return await open(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

export const tfSavedModel: CheckpointFormat = {
  id: 'tf-savedmodel',
  title: 'TensorFlow SavedModel (saved_model.pb and variables/)',
  sniff: isSavedModel,
  part: (name, kind, beside) =>
    kind === 'folder' && name === 'variables' && beside.has('saved_model.pb')
      ? 'read through its saved_model.pb'
      : undefined,
  open: async (source) => {
    const index = await openSibling(source.path, 'variables/variables.index');
    await source.close();
    // The graph is not read.
    const graph = { start: 0, end: source.byteLength };
    const ofGraph = accountOf({ bytes: graph.end, passedOver: [graph] }, []);
    return openOwned(index, async (bundle) => {
      const opened = await openBundle(bundle);
      return {
        ...opened,
        path: source.path,
        format: 'tf-savedmodel',
        account: async (unreadable) => inOneStream([ofGraph, await opened.account(unreadable)]),
      };
    });
  },
};

/** SavedModel { 1 schema version = 1, 2 repeated MetaGraphDef { 1 meta info, 2 graph, … } }. */
function isSavedModel(head: Uint8Array): boolean {
  const [version, graph] = protobufHead(head);
  return (
    version?.number === 1 &&
    version.wire === 0 &&
    head[version.start] === 1 &&
    graph?.number === 2 &&
    graph.wire === 2 &&
    head[graph.start] === 0x0a
  );
}

/** DataType of tensorflow/core/framework/types.proto; quantised integers are stored as plain ones. */
const TF_DTYPES = new Map<number, Dtype>([
  [1, 'F32'],
  [2, 'F64'],
  [3, 'I32'],
  [4, 'U8'],
  [5, 'I16'],
  [6, 'I8'],
  [8, 'C64'],
  [9, 'I64'],
  [10, 'BOOL'],
  [11, 'I8'],
  [12, 'U8'],
  [13, 'I32'],
  [14, 'BF16'],
  [15, 'I16'],
  [16, 'U16'],
  [17, 'U16'],
  [18, 'C128'],
  [19, 'F16'],
  [22, 'U32'],
  [23, 'U64'],
  [24, 'F8_E5M2'],
  [25, 'F8_E4M3'],
]);
const STRING = 7;
const OBJECT_GRAPH = '_CHECKPOINTABLE_OBJECT_GRAPH';
const MAX_GRAPH_BYTES = 64 * 1024 * 1024;

interface Slice {
  /** −1 for a whole axis. */
  readonly start: number;
  readonly length: number;
}

interface Entry {
  readonly dtype: number;
  readonly shape: readonly number[];
  readonly shard: number;
  readonly offset: number;
  readonly size: number;
  readonly crc: number;
  readonly slices: readonly (readonly Slice[])[];
}

/** Members of an entry that are counts, by field number. */
const COUNTS = { 1: 'dtype', 3: 'shard', 4: 'offset', 5: 'size' } as const;

function parseEntry(value: Uint8Array, path: string, name: string): Entry {
  const what = `the index entry of "${name}"`;
  const entry = { dtype: 0, shape: [] as number[], shard: 0, offset: 0, size: 0, crc: 0 };
  const slices: Slice[][] = [];
  for (const field of protobufFields(value, path, what)) {
    const { number, wire } = field;
    if (Object.hasOwn(COUNTS, number))
      entry[COUNTS[number as keyof typeof COUNTS]] = countOf(field, path, what);
    else if (number === 6 && wire === 5) entry.crc = fixed32(field.bytes);
    else if (number === 2 && wire === 2)
      for (const dim of messagesIn(field, 2, path, what)) {
        const [size = 0] = countsIn(dim, 1, path, what);
        entry.shape.push(size);
      }
    else if (number === 7 && wire === 2) {
      const extents: Slice[] = [];
      for (const extent of messagesIn(field, 1, path, what)) {
        const [start = 0, length = -1] = countsIn(extent, 2, path, what);
        extents.push({ start, length });
      }
      slices.push(extents);
    }
  }
  return { ...entry, slices };
}

type Message = Pick<ProtobufField, 'bytes' | 'offset'>;

/** The messages in a message that are its field `number`. */
function* messagesIn(
  { bytes, offset }: Message,
  number: number,
  path: string,
  what: string,
): Generator<ProtobufField> {
  for (const field of protobufFields(bytes, path, what, offset))
    if (field.number === number && field.wire === 2) yield field;
}

/** Fields 1 to `last` of a message, which are counts; undefined where one is not there. */
function countsIn(message: Message, last: number, path: string, what: string): (number | undefined)[] {
  const counts: (number | undefined)[] = [];
  for (const field of protobufFields(message.bytes, path, what, message.offset))
    if (field.number <= last) counts[field.number - 1] = countOf(field, path, what);
  return counts;
}

/** Key of a slice: OrderedCode of 0, the name, the number of axes, and start and length of each. */
function sliceKey(name: string, slice: readonly Slice[]): string {
  const escaped = [...Buffer.from(name)].flatMap((byte) =>
    byte === 0 ? [0, 0xff] : byte === 0xff ? [0xff, 0] : [byte],
  );
  const bytes = [0, ...escaped, 0, 1, ...increasing(slice.length)];
  for (const { start, length } of slice) bytes.push(...signedIncreasing(start), ...signedIncreasing(length));
  return Buffer.from(bytes).toString('latin1');
}

/** WriteNumIncreasing of tensorflow/core/lib/strings/ordered_code.cc: the number of bytes, then the bytes. */
function increasing(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [bytes.length, ...bytes];
}

/** WriteSignedNumIncreasing: n leading one bits for n bytes, then the sign-extended value. */
function signedIncreasing(value: number): number[] {
  if (value < 64) return [0x80 ^ (value & 0xff)];
  const length = Math.floor(value.toString(2).length / 7) + 1;
  const bytes = new Array<number>(10).fill(0);
  for (let i = 9, rest = value; rest > 0; i--, rest = Math.floor(rest / 256)) bytes[i] = rest % 256;
  const encoded = bytes.slice(10 - length);
  for (let bit = 0; bit < length; bit++) encoded[bit >> 3]! |= 0x80 >> (bit & 7);
  return encoded;
}

/** Where bytes lie. */
interface StoredAt {
  readonly source: ByteSource;
  readonly offset: number;
  readonly size: number;
}

/** Where bytes lie, and what their checksum must be. */
interface Stored extends StoredAt {
  readonly crc: number;
}

/** The bytes of an entry in pieces; the last comes before a wrong checksum is thrown. */
async function* checkedPieces(name: string, stored: Stored): AsyncIterable<Uint8Array> {
  const { source, offset, size, crc } = stored;
  let found = 0;
  for await (const piece of bytePieces(source, offset, offset + size)) {
    found = crc32c(piece, 0, piece.length, found);
    yield piece;
  }
  found = maskedCrc32c(found);
  if (found !== crc)
    throw diagError(
      'checksum-mismatch',
      { what: `tensor "${name}"`, found: hex(found), expected: hex(crc) },
      { path: source.path, tensor: name, byteOffset: offset },
    );
}

/** The index of a bundle: what its header says, and entries by their keys as Latin-1. */
interface Index {
  readonly path: string;
  readonly shards: number;
  readonly bigEndian: boolean;
  readonly entries: ReadonlyMap<string, Uint8Array>;
}

async function readIndex(source: ByteSource): Promise<Index> {
  const { path } = source;
  const entries = new Map<string, Uint8Array>();
  for (const { key, value } of await readTable(source)) {
    const text = Buffer.from(key).toString('latin1');
    if (entries.has(text)) throw ambiguous(`the index holds "${text}" twice`, { path });
    entries.set(text, value);
  }
  const header = entries.get('');
  if (header === undefined) throw malformed(FORMAT, 'the index has no header entry', { path });
  const [shards = 1, endianness] = countsIn({ bytes: header, offset: 0 }, 2, path, 'the index header');
  return { path, shards, bigEndian: endianness === 1, entries };
}

/** The files of a bundle, what of them is not read, and what is wrong with them. */
class BundleFiles {
  readonly errors: ErrorRecord[] = [];
  readonly #files: FilesInOrder;
  readonly #shards = new Map<number, ByteSource | DiagError>();
  readonly #passedOver: Extent[] = [];
  readonly #lost: LostTensors[] = [];

  constructor(
    private readonly index: ByteSource,
    private readonly count: number,
  ) {
    this.#files = new FilesInOrder(index);
  }

  /** A shard, or why it is not there. */
  async #shard(number: number): Promise<ByteSource | DiagError> {
    const known = this.#shards.get(number);
    if (known !== undefined) return known;
    const { path } = this.index;
    if (number >= this.count)
      throw malformed(FORMAT, `a tensor lies in shard ${number} of ${this.count}`, { path });
    const prefix = path.replace(/^.*[/\\]/s, '').replace(/\.index$/, '');
    const [which, of] = [number, this.count].map((n) => String(n).padStart(5, '0'));
    let shard: ByteSource | DiagError;
    try {
      shard = this.#files.add(await openSibling(path, `${prefix}.data-${which}-of-${of}`));
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      this.errors.push(error.toRecord());
      shard = error;
    }
    this.#shards.set(number, shard);
    return shard;
  }

  /** Where an entry's bytes are; undefined, with an error noted, where they are not there. */
  async locate(name: string, { shard, offset, size, crc }: Entry): Promise<Stored | undefined> {
    const source = await this.#shard(shard);
    if (source instanceof DiagError) {
      this.lose(lossReasonOf(source.code), []);
      return undefined;
    }
    const end = offset + size;
    if (end <= source.byteLength) return { source, offset, size, crc };
    const start = Math.min(offset, source.byteLength);
    this.lose('cut-off', [{ source, offset: start, size: source.byteLength - start }]);
    const where = { path: source.path, tensor: name, byteOffset: offset };
    this.errors.push(truncated(`tensor "${name}"`, end, source.byteLength, where).toRecord());
    return undefined;
  }

  /** Notes an entry that is not read, in a shard that is there. */
  async passOver({ shard, offset, size }: Entry): Promise<void> {
    const source = await this.#shard(shard);
    if (!(source instanceof DiagError)) this.#passedOver.push(this.placeOf({ source, offset, size }));
  }

  /** Notes a tensor that cannot be had, and what there is of it. */
  lose(reason: LossReason, pieces: readonly StoredAt[]): void {
    const nothing = { source: this.index, offset: this.index.byteLength, size: 0 };
    for (const [k, at] of (pieces.length === 0 ? [nothing] : pieces).entries())
      this.#lost.push({ reason, tensors: k === 0 ? 1 : 0, extent: this.placeOf(at) });
  }

  placeOf({ source, offset, size }: StoredAt): Extent {
    return this.#files.extentOf(source, offset, offset + size);
  }

  stored(): StoredBytes {
    return { bytes: this.#files.byteLength, passedOver: this.#passedOver, lost: this.#lost };
  }

  close(): Promise<void> {
    return this.#files.close();
  }

  closeShards(): Promise<void> {
    return this.#files.closeOthers();
  }
}

/** A tensor all of whose values are there. */
interface BundleTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly elements: number;
  readonly pieces: readonly Piece[];
}

/** Opens a bundle by its index; reads the index and the object graph. */
async function openBundle(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const index = await readIndex(source);
  const files = new BundleFiles(source, index.shards);
  try {
    const { found, graph } = await readEntries(index, files);
    const tensors = lazyTensors(found, graph, files, index.bigEndian);
    const metadata = new Map([['shards', index.shards]]);
    await addCountedSteps(tensors, metadata);
    return lazyCheckpoint(
      {
        path,
        format: 'tf-checkpoint',
        framework: 'tensorflow',
        step: stepOf(path, metadata),
        metadata,
        errors: files.errors,
        stored: files.stored(),
        close: () => files.close(),
      },
      tensors,
    );
  } catch (error) {
    await files.closeShards();
    throw error;
  }
}

/** The tensors that are whole, and the object graph. */
async function readEntries(
  index: Index,
  files: BundleFiles,
): Promise<{ found: BundleTensor[]; graph: ObjectGraph | undefined }> {
  const { path, entries } = index;
  const found: BundleTensor[] = [];
  let graph: ObjectGraph | undefined;
  for (const [key, value] of entries) {
    // Keys of slices begin with a zero byte and are found through their tensor.
    if (key === '' || key.startsWith('\0')) continue;
    const name = Buffer.from(key, 'latin1').toString();
    const entry = parseEntry(value, path, name);
    const dtype = TF_DTYPES.get(entry.dtype);
    if (dtype !== undefined) {
      const tensor = await locateTensor({ name, dtype, entry }, index, files);
      if (tensor !== undefined) found.push(tensor);
    } else if (entry.dtype === STRING && name === OBJECT_GRAPH) {
      const stored = await files.locate(name, entry);
      if (stored !== undefined) graph = await readObjectGraph(stored, path);
    } else {
      if (entry.dtype !== STRING)
        files.errors.push(unsupportedDtype(name, `number ${entry.dtype} of TensorFlow`, path).toRecord());
      await files.passOver(entry);
    }
  }
  return { found, graph };
}

/** A tensor as the index has it. */
interface IndexedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly entry: Entry;
}

/** Undefined, with an error noted, where not all of a tensor is there. */
async function locateTensor(
  tensor: IndexedTensor,
  index: Index,
  files: BundleFiles,
): Promise<BundleTensor | undefined> {
  const { name, dtype, entry } = tensor;
  const { path } = index;
  const elements = elementsOf(entry.shape, path, name, FORMAT);
  const pieces = await locatePieces(tensor, index, files);
  const held = pieces.reduce((sum, { count }) => sum + count, 0);
  if (held === elements) return { name, dtype, shape: entry.shape, elements, pieces };
  if (entry.slices.length > 0) {
    const details = { tensor: name, found: held, expected: elements };
    files.errors.push(diagError('slices-incomplete', details, { path, tensor: name }).toRecord());
    files.lose('absent', pieces);
  }
  return undefined;
}

/** Where the slices of a tensor lie, or all of it where it has none; slices that are not there are left out. */
async function locatePieces(
  { name, dtype, entry }: IndexedTensor,
  { path, entries }: Index,
  files: BundleFiles,
): Promise<Piece[]> {
  const where = { path, tensor: name };
  const pieces: Piece[] = [];
  const seen = new Set<string>();
  for (const slice of entry.slices.length === 0 ? [undefined] : entry.slices) {
    const key = slice === undefined ? '' : sliceKey(name, slice);
    if (seen.has(key)) throw malformed(FORMAT, `tensor "${name}" has a slice twice`, where);
    seen.add(key);
    const extents = extentsOf(entry.shape, slice);
    if (extents === undefined) throw malformed(FORMAT, `a slice of tensor "${name}" leaves its shape`, where);
    const value = entries.get(key);
    if (value === undefined) continue;
    const own = slice === undefined ? entry : parseEntry(value, path, name);
    const count = extents.reduce((product, { length }) => product * length, 1);
    const bytes = count * DTYPE_BYTES[dtype];
    if (own.size !== bytes) {
      const problem = `tensor "${name}" (${dtype}, ${count} elements) needs ${bytes} bytes, its entry has ${own.size}`;
      throw malformed(FORMAT, problem, where);
    }
    const stored = await files.locate(name, own);
    if (stored !== undefined) pieces.push({ ...stored, extents, count });
  }
  return pieces;
}

/** The tensors with the labels and roles that the object graph and their names give them. */
function lazyTensors(
  found: readonly BundleTensor[],
  graph: ObjectGraph | undefined,
  files: BundleFiles,
  bigEndian: boolean,
): LazyTensor[] {
  const labelled = found.map(
    ({ name, dtype, shape }): KerasTensor => ({
      key: name,
      name: graph?.labels.get(name) ?? name.replace(VARIABLE_VALUE, ''),
      dtype,
      shape,
    }),
  );
  const roles = kerasRoles(labelled, graph?.roles);
  return found.map((tensor, i) => {
    const { name, dtype, shape, elements, pieces } = tensor;
    const label = labelled[i]!.name;
    return {
      info: { name, ...(label === name ? {} : { label }), dtype, shape, elements, ...roles.get(name)! },
      extents: () => pieces.map((piece) => files.placeOf(piece)),
      stream: () => streamPieces(tensor, bigEndian),
    };
  });
}

const VARIABLE_VALUE = /\/\.ATTRIBUTES\/VARIABLE_VALUE$/;

interface Piece extends Stored {
  readonly extents: readonly Slice[];
  readonly count: number;
}

/** Start and length on every axis, undefined where a slice does not lie in the shape. */
function extentsOf(
  shape: readonly number[],
  slice: readonly Slice[] | undefined,
): readonly Slice[] | undefined {
  if (slice === undefined) return shape.map((length) => ({ start: 0, length }));
  if (slice.length !== shape.length) return undefined;
  const extents = slice.map(({ start, length }, axis) =>
    length === -1 ? { start: 0, length: shape[axis]! } : { start, length },
  );
  return extents.every(({ start, length }, axis) => start + length <= shape[axis]!) ? extents : undefined;
}

/** Values in row-major order: slices of whole rows one after another, others put together in memory. */
async function* streamPieces(tensor: BundleTensor, bigEndian: boolean): AsyncIterable<TensorData> {
  const { name, dtype, shape, pieces } = tensor;
  const ordered = [...pieces].sort((a, b) => (a.extents[0]?.start ?? 0) - (b.extents[0]?.start ?? 0));
  let next = 0;
  const wholeRows = ordered.every(({ extents }) => {
    const follows = extents.length === 0 || extents[0]!.start === next;
    next += extents[0]?.length ?? 0;
    return follows && extents.every(({ length }, axis) => axis === 0 || length === shape[axis]);
  });
  if (shape.includes(0) || pieces.length === 0) yield decodeValues(new Uint8Array(0), dtype);
  else if (wholeRows)
    for (const piece of ordered) yield* decodePieces(checkedPieces(name, piece), dtype, bigEndian);
  else yield decodeValues(await assemble(tensor), dtype, bigEndian);
}

async function assemble({ name, dtype, shape, elements, pieces }: BundleTensor): Promise<Uint8Array> {
  const width = DTYPE_BYTES[dtype];
  const present = [...new Set(pieces.map(({ source }) => source))].reduce((sum, s) => sum + s.byteLength, 0);
  if (elements * width > present)
    throw diagError(
      'slices-incomplete',
      { tensor: name, found: Math.floor(present / width), expected: elements },
      { path: pieces[0]!.source.path, tensor: name },
    );
  const whole = new Uint8Array(elements * width);
  const filled = new Uint8Array(elements);
  for (const piece of pieces) {
    const parts: Uint8Array[] = [];
    for await (const part of checkedPieces(name, piece)) parts.push(part);
    const bytes = Buffer.concat(parts);
    const row = piece.extents.at(-1)!.length;
    let at = 0;
    for (const target of rowStarts(piece, shape)) {
      if (filled.subarray(target, target + row).includes(1))
        throw ambiguous(`two slices of tensor "${name}" overlap`, { path: piece.source.path, tensor: name });
      filled.fill(1, target, target + row);
      whole.set(bytes.subarray(at * width, (at + row) * width), target * width);
      at += row;
    }
  }
  return whole;
}

/** Where each row of a piece begins in the tensor that it is a slice of, in elements. */
function* rowStarts({ extents, count }: Piece, shape: readonly number[]): Generator<number> {
  const index = extents.map(({ start }) => start);
  for (let at = 0; at < count; at += extents.at(-1)!.length) {
    yield index.reduce((sum, n, axis) => sum * shape[axis]! + n, 0);
    for (let axis = extents.length - 2; axis >= 0; axis--) {
      const { start, length } = extents[axis]!;
      index[axis]! += 1;
      if (index[axis]! < start + length) break;
      index[axis] = start;
    }
  }
}

/** What the object graph says of variables, by their keys in the index. */
interface ObjectGraph {
  readonly labels: ReadonlyMap<string, string>;
  readonly roles: ReadonlyMap<string, RoleOfTensor>;
}

/** The one string of the object-graph entry: varint length, u32 crc of the lengths, text. */
async function readObjectGraph(
  { source, offset, size }: Stored,
  path: string,
): Promise<ObjectGraph | undefined> {
  if (size > MAX_GRAPH_BYTES) return undefined;
  const bytes = await source.slice(offset, offset + size);
  const lengthBytes = bytes.findIndex((byte) => byte < 0x80) + 1;
  return parseObjectGraph(bytes.subarray(lengthBytes + 4), path);
}

/** A variable of an optimizer: numbers of nodes, and what it is to the parameter. */
interface SlotVariable {
  readonly parameter: number;
  readonly slot: string;
  readonly variable: number;
}

/**
 * Names and slots from the object graph.
 *
 * TrackableObjectGraph { 1 nodes { 2 attributes { 2 full name, 3 key }, 3 slot variables { 1 original node, 2 slot
 * name, 3 slot node } } }. The nodes are a flat list, so that no walk is needed. A graph that does not parse only
 * costs the labels.
 */
function parseObjectGraph(bytes: Uint8Array, path: string): ObjectGraph {
  const labels = new Map<string, string>();
  const keys: (string | undefined)[] = [];
  const slots: SlotVariable[] = [];
  try {
    for (const node of messagesIn({ bytes, offset: 0 }, 1, path, GRAPH))
      keys.push(parseNode(node, path, labels, slots));
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
  }
  const roles = new Map<string, RoleOfTensor>();
  for (const { parameter, slot, variable } of slots) {
    const [key, parameterKey] = [keys[variable], keys[parameter]];
    if (key === undefined) continue;
    roles.set(key, {
      role: 'optimizer_state',
      slot: slot === 'vhat' ? 'v_max' : slot,
      ...(parameterKey === undefined ? {} : { parameter: parameterKey }),
    });
  }
  return { labels, roles };
}

const GRAPH = 'the object graph';

/** The key of a node, if it has one; adds its label and its slot variables. */
function parseNode(
  node: ProtobufField,
  path: string,
  labels: Map<string, string>,
  slots: SlotVariable[],
): string | undefined {
  let key: string | undefined;
  for (const part of protobufFields(node.bytes, path, GRAPH)) {
    if (part.wire !== 2 || (part.number !== 2 && part.number !== 3)) continue;
    const members = new Map<number, ProtobufField>();
    for (const member of protobufFields(part.bytes, path, GRAPH)) members.set(member.number, member);
    const [first, second, third] = [members.get(1), members.get(2), members.get(3)];
    if (part.number === 2 && third !== undefined) {
      key = textOf(third);
      const fullName = second === undefined ? '' : textOf(second);
      if (fullName !== '') labels.set(key, fullName);
    } else if (part.number === 3 && second !== undefined)
      slots.push({
        parameter: first === undefined ? 0 : countOf(first, path, GRAPH),
        slot: textOf(second),
        variable: third === undefined ? 0 : countOf(third, path, GRAPH),
      });
  }
  return key;
}
