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
import type { CheckpointFormat } from '../format.ts';
import { type KerasTensor, kerasRoles } from '../keras/keras-roles.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from '../lazy-checkpoint.ts';
import type { RoleOfTensor } from '../roles.ts';
import { accountOf, inOneStream, type LostTensors, lossReasonOf } from '../stored-bytes.ts';
import { isTable, readTable } from './tf-table.ts';

const FORMAT = 'TensorFlow checkpoint';

export const tfCheckpoint: CheckpointFormat = {
  id: 'tf-checkpoint',
  title: 'TensorFlow checkpoint (.index and .data, or the text file "checkpoint")',
  tried: 'a TensorFlow checkpoint (.index)',
  sniff: async (head, source) => isNewestText(head) || (await isTable(source)),
  open: async (source) =>
    isNewestText(await source.slice(0, Math.min(64, source.byteLength)))
      ? openNewest(source)
      : openBundle(source),
  part: (name, kind, beside) => {
    if (kind === 'folder') return undefined;
    if (name === 'checkpoint') return 'names the checkpoints of TensorFlow beside it';
    const index = name.replace(/\.data-\d{5}-of-\d{5}$/, '.index');
    return index !== name && beside.has(index) ? 'read through the .index beside it' : undefined;
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
  if (newest === undefined || newest === '')
    throw diagError('checkpoint-malformed', { format: FORMAT, problem: 'it names no checkpoint' }, { path });
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
  tried: 'a TensorFlow SavedModel (saved_model.pb)',
  sniff: isSavedModel,
  part: (name, kind, beside) =>
    kind === 'folder' && name === 'variables' && beside.has('saved_model.pb')
      ? 'read through the saved_model.pb beside it'
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

function parseEntry(value: Uint8Array, path: string, name: string): Entry {
  const what = `the index entry of "${name}"`;
  const entry = { dtype: 0, shape: [] as number[], shard: 0, offset: 0, size: 0, crc: 0 };
  const slices: Slice[][] = [];
  const nested = (field: ProtobufField) => protobufFields(field.bytes, path, what, field.offset);
  for (const field of protobufFields(value, path, what)) {
    const isMessage = field.wire === 2;
    if (field.number === 1) entry.dtype = countOf(field, path, what);
    else if (field.number === 2 && isMessage) {
      for (const dim of nested(field)) {
        if (dim.number !== 2 || dim.wire !== 2) continue;
        let size = 0;
        for (const part of nested(dim)) if (part.number === 1) size = countOf(part, path, what);
        entry.shape.push(size);
      }
    } else if (field.number === 3) entry.shard = countOf(field, path, what);
    else if (field.number === 4) entry.offset = countOf(field, path, what);
    else if (field.number === 5) entry.size = countOf(field, path, what);
    else if (field.number === 6 && field.wire === 5) entry.crc = fixed32(field.bytes);
    else if (field.number === 7 && isMessage) {
      const extents: Slice[] = [];
      for (const extent of nested(field)) {
        if (extent.number !== 1 || extent.wire !== 2) continue;
        const slice = { start: 0, length: -1 };
        for (const part of nested(extent)) {
          if (part.number === 1) slice.start = countOf(part, path, what);
          if (part.number === 2) slice.length = countOf(part, path, what);
        }
        extents.push(slice);
      }
      slices.push(extents);
    }
  }
  return { ...entry, slices };
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

/** Opens a bundle by its index; reads the index and the object graph. */
async function openBundle(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const malformed = (problem: string, tensor?: string): DiagError =>
    diagError(
      'checkpoint-malformed',
      { format: FORMAT, problem },
      tensor === undefined ? { path } : { path, tensor },
    );
  const table = new Map<string, Uint8Array>();
  for (const { key, value } of await readTable(source)) {
    const text = Buffer.from(key).toString('latin1');
    if (table.has(text))
      throw diagError('checkpoint-ambiguous', { problem: `the index holds "${text}" twice` }, { path });
    table.set(text, value);
  }
  const header = table.get('');
  if (header === undefined) throw malformed('the index has no header entry');
  let shards = 1;
  let bigEndian = false;
  for (const field of protobufFields(header, path, 'the index header')) {
    if (field.number === 1) shards = countOf(field, path, 'the index header');
    if (field.number === 2) bigEndian = countOf(field, path, 'the index header') === 1;
  }

  const prefix = path.replace(/^.*[/\\]/s, '').replace(/\.index$/, '');
  const opened = new Map<number, ByteSource | DiagError>();
  const errors: ErrorRecord[] = [];
  const sources: ByteSource[] = [source];
  const close = async (): Promise<void> => {
    for (const each of sources) await each.close();
  };
  const shardOf = async (shard: number): Promise<ByteSource | DiagError> => {
    const known = opened.get(shard);
    if (known !== undefined) return known;
    if (shard >= shards) throw malformed(`a tensor lies in shard ${shard} of ${shards}`);
    const five = (n: number): string => String(n).padStart(5, '0');
    let found: ByteSource | DiagError;
    try {
      found = await openSibling(path, `${prefix}.data-${five(shard)}-of-${five(shards)}`);
      sources.push(found);
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      errors.push(error.toRecord());
      found = error;
    }
    opened.set(shard, found);
    return found;
  };
  const passedOver: StoredAt[] = [];
  const lost: (LostTensors | (Omit<LostTensors, 'extent'> & { readonly at: StoredAt }))[] = [];
  const absent = (reason: LossReason): void => {
    const extent = { start: source.byteLength, end: source.byteLength };
    lost.push({ reason, tensors: 1, extent });
  };
  /** Where bytes of a shard lie, if the shards come after the index in the order in which they were opened. */
  const placeIn = ({ source: shard, offset, size }: StoredAt): Extent => {
    const before = sources.slice(0, sources.indexOf(shard));
    const start = before.reduce((sum, { byteLength }) => sum + byteLength, offset);
    return { start, end: start + size };
  };
  /** Where an entry's bytes are; undefined, with an error noted, where they are not there. */
  const locate = async (name: string, entry: Entry): Promise<Stored | undefined> => {
    const shard = await shardOf(entry.shard);
    if (shard instanceof DiagError) {
      absent(lossReasonOf(shard.code));
      return undefined;
    }
    const { offset, size, crc } = entry;
    if (offset + size <= shard.byteLength) return { source: shard, offset, size, crc };
    const start = Math.min(offset, shard.byteLength);
    const at = { source: shard, offset: start, size: shard.byteLength - start };
    lost.push({ reason: 'cut-off', tensors: 1, at });
    errors.push(
      diagError(
        'checkpoint-truncated',
        { what: `tensor "${name}"`, end: offset + size, bytes: shard.byteLength },
        { path: shard.path, tensor: name, byteOffset: offset },
      ).toRecord(),
    );
    return undefined;
  };

  /** An entry that is not read, in a shard that is there. */
  const passOver = async ({ shard, offset, size }: Entry): Promise<void> => {
    const file = await shardOf(shard);
    if (!(file instanceof DiagError)) passedOver.push({ source: file, offset, size });
  };

  try {
    const found: { entry: Entry; name: string; dtype: Dtype; elements: number; stored: Piece[] }[] = [];
    let graph: Uint8Array | undefined;
    for (const [key, value] of table) {
      // Keys of slices begin with a zero byte and are found through their tensor.
      if (key === '' || key.startsWith('\0')) continue;
      const name = Buffer.from(key, 'latin1').toString();
      const entry = parseEntry(value, path, name);
      if (entry.dtype === STRING) {
        const stored = name === OBJECT_GRAPH ? await locate(name, entry) : undefined;
        if (stored !== undefined) graph = await objectGraphBytes(stored);
        else if (name !== OBJECT_GRAPH) await passOver(entry);
        continue;
      }
      const dtype = TF_DTYPES.get(entry.dtype);
      if (dtype === undefined) {
        const details = { tensor: name, dtype: `number ${entry.dtype} of TensorFlow` };
        errors.push(diagError('dtype-unsupported', details, { path, tensor: name }).toRecord());
        await passOver(entry);
        continue;
      }
      const elements = elementsOf(entry.shape, path, name, FORMAT);
      const pieces: Piece[] = [];
      const seen = new Set<string>();
      for (const slice of entry.slices.length === 0 ? [undefined] : entry.slices) {
        const extents = extentsOf(entry.shape, slice);
        const sliceText = slice === undefined ? '' : sliceKey(name, slice);
        if (seen.has(sliceText)) throw malformed(`tensor "${name}" has a slice twice`, name);
        seen.add(sliceText);
        if (extents === undefined) throw malformed(`a slice of tensor "${name}" leaves its shape`, name);
        const sliceValue = slice === undefined ? value : table.get(sliceText);
        if (sliceValue === undefined) continue;
        const sliceEntry = slice === undefined ? entry : parseEntry(sliceValue, path, name);
        const count = extents.reduce((product, { length }) => product * length, 1);
        if (sliceEntry.size !== count * DTYPE_BYTES[dtype])
          throw malformed(
            `tensor "${name}" (${dtype}, ${count} elements) needs ${count * DTYPE_BYTES[dtype]} bytes, its entry has ${sliceEntry.size}`,
            name,
          );
        const stored = await locate(name, sliceEntry);
        if (stored !== undefined) pieces.push({ ...stored, extents, count });
      }
      const held = pieces.reduce((sum, { count }) => sum + count, 0);
      if (held === elements) found.push({ entry, name, dtype, elements, stored: pieces });
      else if (entry.slices.length > 0) {
        const details = { tensor: name, found: held, expected: elements };
        errors.push(diagError('slices-incomplete', details, { path, tensor: name }).toRecord());
        if (pieces.length === 0) absent('absent');
        for (const [k, at] of pieces.entries()) lost.push({ reason: 'absent', tensors: k === 0 ? 1 : 0, at });
      }
    }
    const names = graph === undefined ? undefined : readObjectGraph(graph, path);
    const keras = found.map(
      ({ name, dtype, entry }): KerasTensor => ({
        key: name,
        name: names?.labels.get(name) ?? name.replace(VARIABLE_VALUE, ''),
        dtype,
        shape: entry.shape,
      }),
    );
    const roles = kerasRoles(keras, names?.roles);
    const tensors = found.map(({ name, dtype, elements, entry, stored }, i): LazyTensor => {
      const label = keras[i]!.name;
      return {
        info: {
          name,
          ...(label === name ? {} : { label }),
          dtype,
          shape: entry.shape,
          elements,
          ...roles.get(name)!,
        },
        extents: () => stored.map(placeIn),
        stream: () => streamPieces(name, dtype, entry.shape, stored, bigEndian),
      };
    });
    const metadata = new Map([['shards', shards]]);
    const counter = tensors.find(({ info }) => info.slot === 'step' && info.elements === 1);
    if (counter !== undefined)
      for await (const values of counter.stream()) metadata.set('step', Number(values[0]));
    return lazyCheckpoint(
      {
        path,
        format: 'tf-checkpoint',
        framework: 'tensorflow',
        step: stepOf(path, metadata),
        metadata,
        errors,
        stored: {
          bytes: sources.reduce((sum, { byteLength }) => sum + byteLength, 0),
          passedOver: passedOver.map(placeIn),
          lost: lost.map((one) => ('at' in one ? { ...one, extent: placeIn(one.at) } : one)),
        },
        close,
      },
      tensors,
    );
  } catch (error) {
    for (const each of sources.slice(1)) await each.close();
    throw error;
  }
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
async function* streamPieces(
  name: string,
  dtype: Dtype,
  shape: readonly number[],
  pieces: readonly Piece[],
  bigEndian: boolean,
): AsyncIterable<TensorData> {
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
  else yield decodeValues(await assemble(name, dtype, shape, pieces), dtype, bigEndian);
}

async function assemble(
  name: string,
  dtype: Dtype,
  shape: readonly number[],
  pieces: readonly Piece[],
): Promise<Uint8Array> {
  const width = DTYPE_BYTES[dtype];
  const elements = shape.reduce((product, n) => product * n, 1);
  const present = [...new Set(pieces.map(({ source }) => source))].reduce((sum, s) => sum + s.byteLength, 0);
  if (elements * width > present)
    throw diagError(
      'slices-incomplete',
      { tensor: name, found: Math.floor(present / width), expected: elements },
      { path: pieces[0]!.source.path, tensor: name },
    );
  const whole = new Uint8Array(elements * width);
  const filled = new Uint8Array(elements);
  const rowAxis = shape.length - 1;
  for (const piece of pieces) {
    const parts: Uint8Array[] = [];
    for await (const part of checkedPieces(name, piece)) parts.push(part);
    const bytes = Buffer.concat(parts);
    const row = piece.extents[rowAxis]!;
    const index = piece.extents.map(({ start }) => start);
    for (let at = 0; at < piece.count; at += row.length) {
      const target = index.reduce((sum, n, axis) => sum * shape[axis]! + n, 0);
      if (filled.subarray(target, target + row.length).includes(1))
        throw diagError(
          'checkpoint-ambiguous',
          { problem: `two slices of tensor "${name}" overlap` },
          { path: piece.source.path, tensor: name },
        );
      filled.fill(1, target, target + row.length);
      whole.set(bytes.subarray(at * width, (at + row.length) * width), target * width);
      for (let axis = rowAxis - 1; axis >= 0; axis--) {
        const { start, length } = piece.extents[axis]!;
        index[axis]! += 1;
        if (index[axis]! < start + length) break;
        index[axis] = start;
      }
    }
  }
  return whole;
}

/** The one string of the object-graph entry: varint length, u32 crc of the lengths, text. */
async function objectGraphBytes({ source, offset, size }: Stored): Promise<Uint8Array | undefined> {
  if (size > MAX_GRAPH_BYTES) return undefined;
  const bytes = await source.slice(offset, offset + size);
  const lengthBytes = bytes.findIndex((byte) => byte < 0x80) + 1;
  return bytes.subarray(lengthBytes + 4);
}

/**
 * Names and slots from the object graph.
 *
 * TrackableObjectGraph { 1 nodes { 2 attributes { 2 full name, 3 key }, 3 slot variables { 1 original node, 2 slot
 * name, 3 slot node } } }. The nodes are a flat list, so that no walk is needed. A graph that does not parse only
 * costs the labels.
 */
function readObjectGraph(
  bytes: Uint8Array,
  path: string,
): { labels: ReadonlyMap<string, string>; roles: ReadonlyMap<string, RoleOfTensor> } {
  const what = 'the object graph';
  const labels = new Map<string, string>();
  const roles = new Map<string, RoleOfTensor>();
  const keyOfNode: (string | undefined)[] = [];
  const slots: { parameter: number; slot: string; variable: number }[] = [];
  try {
    for (const node of protobufFields(bytes, path, what)) {
      if (node.number !== 1 || node.wire !== 2) continue;
      let nodeKey: string | undefined;
      for (const part of protobufFields(node.bytes, path, what)) {
        if (part.wire !== 2 || (part.number !== 2 && part.number !== 3)) continue;
        const members = new Map<number, ProtobufField>();
        for (const member of protobufFields(part.bytes, path, what)) members.set(member.number, member);
        const [first, second, third] = [members.get(1), members.get(2), members.get(3)];
        if (part.number === 2 && third !== undefined) {
          nodeKey = textOf(third);
          const fullName = second === undefined ? '' : textOf(second);
          if (fullName !== '') labels.set(nodeKey, fullName);
        } else if (part.number === 3 && second !== undefined)
          slots.push({
            parameter: first === undefined ? 0 : countOf(first, path, what),
            slot: textOf(second),
            variable: third === undefined ? 0 : countOf(third, path, what),
          });
      }
      keyOfNode.push(nodeKey);
    }
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
  }
  for (const { parameter, slot, variable } of slots) {
    const [key, parameterKey] = [keyOfNode[variable], keyOfNode[parameter]];
    if (key === undefined) continue;
    roles.set(key, {
      role: 'optimizer_state',
      slot: slot === 'vhat' ? 'v_max' : slot,
      ...(parameterKey === undefined ? {} : { parameter: parameterKey }),
    });
  }
  return { labels, roles };
}
