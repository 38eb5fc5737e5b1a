/**
 * ONNX models: the initialisers of the main graph.
 *
 * | message | fields that are read |
 * |---|---|
 * | ModelProto | 1 ir_version, 2 producer_name, 3 producer_version, 7 graph |
 * | GraphProto | 5 initializer, 15 sparse_initializer (named as not read) |
 * | TensorProto | 1 dims, 2 data_type, 4 float_data, 5 int32_data, 7 int64_data, 8 name, 9 raw_data, 10 double_data, 11 uint64_data, 13 external_data, 14 data_location |
 *
 * `raw_data` and external data are little-endian; the typed fields hold 8- and 16-bit types in int32_data, UINT32 in
 * uint64_data. External data is read from files in the same folder only. Source: onnx/onnx.proto (IR version 13).
 */

import type { Checkpoint, Dtype, TensorData } from '../../model/checkpoint.ts';
import { DiagError, diagError, type ErrorRecord } from '../../model/errors.ts';
import {
  countOf,
  type ProtobufRange,
  packedVarints,
  protobufFields,
  protobufHead,
  protobufRanges,
  textOf,
  varintValue,
} from '../bytes/protobuf.ts';
import { type ByteSource, type Extent, openSibling } from '../bytes/source.ts';
import { windowedSource } from '../bytes/windowed-source.ts';
import { DTYPE_BYTES, decodeRange, decodeValues, elementsOf } from './dtypes.ts';
import type { CheckpointFormat } from './format.ts';
import { layoutOfTorch } from './layouts.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from './lazy-checkpoint.ts';
import { checkLimit } from './limit.ts';
import { roleOfName } from './roles.ts';
import { type LostTensors, lossReasonOf } from './stored-bytes.ts';

export const onnx: CheckpointFormat = {
  id: 'onnx',
  title: 'ONNX (initialisers)',
  tried: 'ONNX',
  sniff: (head) => {
    const [version, next] = protobufHead(head);
    const known = [2, 3, 4, 5, 6, 7, 8, 14];
    // IR version 1 was never released, and is how a SavedModel begins.
    return (
      version?.number === 1 &&
      version.wire === 0 &&
      head[version.start]! >= 2 &&
      head[version.start]! < 64 &&
      next !== undefined &&
      known.includes(next.number) &&
      next.wire === (next.number === 5 ? 0 : 2)
    );
  },
  open: openOnnx,
};

const ONNX_DTYPES = new Map<number, Dtype>([
  [1, 'F32'],
  [2, 'U8'],
  [3, 'I8'],
  [4, 'U16'],
  [5, 'I16'],
  [6, 'I32'],
  [7, 'I64'],
  [9, 'BOOL'],
  [10, 'F16'],
  [11, 'F64'],
  [12, 'U32'],
  [13, 'U64'],
  [14, 'C64'],
  [15, 'C128'],
  [16, 'BF16'],
  [17, 'F8_E4M3'],
  [19, 'F8_E5M2'],
]);
const STRING = 8;
const FIELD = { float: 4, int32: 5, int64: 7, raw: 9, double: 10, uint64: 11 } as const;

/** The typed field of a type. */
function typedField(dtype: Dtype): number {
  if (dtype === 'F32' || dtype === 'C64') return FIELD.float;
  if (dtype === 'F64' || dtype === 'C128') return FIELD.double;
  if (dtype === 'I64') return FIELD.int64;
  return dtype === 'U32' || dtype === 'U64' ? FIELD.uint64 : FIELD.int32;
}

/** A few small fields. */
const WINDOW = 256;

/** Reads the structure: names, shapes and places, in windows around the weights. */
async function openOnnx(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const nearby = windowedSource(source, WINDOW);
  const metadata = new Map<string, string | number>();
  const errors: ErrorRecord[] = [];
  const tensors = new Map<string, LazyTensor>();
  const passedOver: Extent[] = [];
  const lost: LostTensors[] = [];
  const files: ByteSource[] = [];
  /** Where a file of external data begins, if it came after the model and those before it. */
  const startOf = (file: ByteSource): number => {
    const before = files.slice(0, files.indexOf(file));
    return [source, ...before].reduce((sum, { byteLength }) => sum + byteLength, 0);
  };
  const others = new Map<string, Promise<ByteSource>>();
  const openOther = (name: string): Promise<ByteSource> => {
    const opened =
      others.get(name) ??
      openSibling(path, name).then((file) => {
        files.push(file);
        return file;
      });
    others.set(name, opened);
    return opened;
  };
  const closeOthers = async (): Promise<void> => {
    for (const other of others.values()) await other.then((o) => o.close()).catch(() => undefined);
  };
  const close = async (): Promise<void> => {
    await source.close();
    await closeOthers();
  };
  const present = new Set<number>();
  try {
    for await (const field of protobufRanges(nearby, 0, source.byteLength, 'an ONNX model')) {
      const { number, wire, start, end } = field;
      present.add(number);
      if (number === 1 && wire === 0) metadata.set('ir_version', await countIn(nearby, field));
      if ((number === 2 || number === 3) && wire === 2 && end - start < 1024)
        metadata.set(number === 2 ? 'producer_name' : 'producer_version', await textIn(nearby, field));
      if (number !== 7 || wire !== 2) continue;
      for await (const member of protobufRanges(nearby, start, end, 'the graph', 1)) {
        if (member.number === 15) {
          passedOver.push(member);
          errors.push(
            diagError(
              'dtype-unsupported',
              { tensor: 'sparse_initializer', dtype: 'sparse' },
              { path },
            ).toRecord(),
          );
        }
        if (member.number !== 5 || member.wire !== 2) continue;
        try {
          const tensor = await openTensor(source, nearby, member, openOther, startOf);
          if (tensor === undefined) {
            passedOver.push(member);
            continue;
          }
          const { name } = tensor.info;
          if (tensors.has(name))
            throw diagError(
              'checkpoint-ambiguous',
              { problem: `the initialiser "${name}" is there twice` },
              { path },
            );
          tensors.set(name, tensor);
        } catch (error) {
          if (!(error instanceof DiagError) || error.code === 'checkpoint-ambiguous') throw error;
          if (error.code === 'dtype-unsupported') passedOver.push(member);
          else lost.push({ reason: lossReasonOf(error.code), tensors: 1, extent: member });
          errors.push(error.toRecord());
        }
      }
    }
  } catch (error) {
    // A file that was cut keeps the tensors that are whole, and the files that their values lie in.
    if (!(error instanceof DiagError) || error.code !== 'protobuf-malformed' || tensors.size === 0) {
      await closeOthers();
      throw error;
    }
    const start = error.where?.byteOffset ?? source.byteLength;
    lost.push({ reason: 'cut-off', tensors: undefined, extent: { start, end: source.byteLength } });
    errors.push(error.toRecord());
  }
  // Both are required; a file that was cut between two fields lacks the last of them.
  for (const [number, what] of [
    [7, 'graph'],
    [8, 'opset_import'],
  ] as const)
    if (!present.has(number) && errors.length === 0)
      errors.push(
        diagError(
          'checkpoint-malformed',
          { format: 'ONNX', problem: `it has no ${what}` },
          { path },
        ).toRecord(),
      );
  return lazyCheckpoint(
    {
      path,
      format: 'onnx',
      framework: 'onnx',
      step: stepOf(path, metadata),
      metadata,
      errors,
      stored: {
        bytes: files.reduce((sum, file) => sum + file.byteLength, source.byteLength),
        passedOver: [
          ...passedOver,
          ...files.map((file) => ({ start: startOf(file), end: startOf(file) + file.byteLength })),
        ],
        lost,
      },
      close,
    },
    [...tensors.values()],
  );
}

const textIn = async (source: ByteSource, { start, end }: ProtobufRange): Promise<string> =>
  Buffer.from(await source.slice(start, end)).toString();

async function countIn(source: ByteSource, field: ProtobufRange): Promise<number> {
  const bytes = await source.slice(field.start, field.end);
  return countOf({ ...field, bytes, offset: field.start }, source.path, 'an ONNX model');
}

const MAX_SMALL_BYTES = 64 * 1024;

async function openTensor(
  source: ByteSource,
  nearby: ByteSource,
  message: ProtobufRange,
  openOther: (name: string) => Promise<ByteSource>,
  startOf: (file: ByteSource) => number,
): Promise<LazyTensor | undefined> {
  const { path } = source;
  const shape: number[] = [];
  let type = 0;
  let name = '';
  let isExternal = false;
  const external = new Map<string, string>();
  const data: ProtobufRange[] = [];
  const malformed = (problem: string): DiagError =>
    diagError(
      'checkpoint-malformed',
      { format: 'ONNX', problem: `tensor "${name}" ${problem}` },
      { path, tensor: name, byteOffset: message.start },
    );
  for await (const field of protobufRanges(nearby, message.start, message.end, 'an initialiser', 2)) {
    const { number, wire, start, end } = field;
    const small = async (): Promise<Uint8Array> => {
      checkLimit(`field ${number} of an initialiser in bytes`, end - start, MAX_SMALL_BYTES, {
        path,
        byteOffset: start,
      });
      return nearby.slice(start, end);
    };
    if (number === 1) {
      const dims = wire === 2 ? packedVarints(await small()) : [varintValue(await small())];
      if (dims === undefined) throw malformed('has dimensions that do not end');
      shape.push(...dims.map((dim) => Number(BigInt.asIntN(64, dim))));
    } else if (number === 2 && wire === 0) type = await countIn(nearby, field);
    else if (number === 8 && wire === 2) name = Buffer.from(await small()).toString();
    else if (number === 14 && wire === 0) isExternal = (await countIn(nearby, field)) === 1;
    else if (number === 13 && wire === 2) {
      let [key, value] = ['', ''];
      for (const part of protobufFields(await small(), path, 'external data', start, 3)) {
        if (part.number === 1) key = textOf(part);
        if (part.number === 2) value = textOf(part);
      }
      external.set(key, value);
    } else if ((Object.values(FIELD) as number[]).includes(number)) data.push(field);
  }
  if (type === STRING) return undefined;
  const dtype = ONNX_DTYPES.get(type);
  if (dtype === undefined)
    throw diagError(
      'dtype-unsupported',
      { tensor: name, dtype: `number ${type} of ONNX` },
      { path, tensor: name },
    );
  const elements = elementsOf(shape, path, name, 'ONNX');
  const bytes = elements * DTYPE_BYTES[dtype];
  const info = {
    name,
    dtype,
    shape,
    elements,
    layout: layoutOfTorch(name, shape),
    ...roleOfName(name, dtype),
  };
  if (isExternal) {
    const location = external.get('location') ?? '';
    const start = Number(external.get('offset') ?? 0);
    const length = Number(external.get('length') ?? bytes);
    if (!Number.isSafeInteger(start) || start < 0 || length !== bytes)
      throw malformed(
        `(${dtype}, ${elements} elements) needs ${bytes} bytes, its external data has ${length}`,
      );
    const other = await openOther(location);
    if (start + bytes > other.byteLength)
      throw diagError(
        'checkpoint-truncated',
        { what: `tensor "${name}"`, end: start + bytes, bytes: other.byteLength },
        { path: other.path, tensor: name, byteOffset: start },
      );
    return {
      info,
      extents: () => [{ start: startOf(other) + start, end: startOf(other) + start + bytes }],
      stream: () => decodeRange(other, start, elements, dtype),
    };
  }
  const raw = data.filter(({ number }) => number === FIELD.raw);
  const wanted = raw.length > 0 ? FIELD.raw : typedField(dtype);
  if (data.some(({ number }) => number !== wanted)) throw malformed('has values in two fields');
  if (raw.length > 1) throw malformed('has raw values twice');
  const isFixed = wanted === FIELD.raw || wanted === FIELD.float || wanted === FIELD.double;
  const stored = data.reduce((sum, { start, end }) => sum + end - start, 0);
  if (isFixed && stored !== bytes)
    throw malformed(`(${dtype}, ${elements} elements) needs ${bytes} bytes and has ${stored}`);
  // A varint takes at least a byte.
  if (!isFixed && stored < elements) throw malformed(`has ${elements} elements in ${stored} bytes`);
  return {
    info,
    extents: () => data,
    stream: async function* (): AsyncIterable<TensorData> {
      if (elements === 0) yield decodeValues(new Uint8Array(0), dtype);
      else if (isFixed)
        for (const { start, end } of data)
          yield* decodeRange(source, start, elementsIn(end - start, dtype), dtype);
      else yield await varintValues(source, data, dtype, elements, malformed);
    },
  };
}

const elementsIn = (bytes: number, dtype: Dtype): number => bytes / DTYPE_BYTES[dtype];

/** Values of int32_data, int64_data and uint64_data: varints that are cut to the width of the type. */
async function varintValues(
  source: ByteSource,
  fields: readonly ProtobufRange[],
  dtype: Dtype,
  elements: number,
  malformed: (problem: string) => DiagError,
): Promise<TensorData> {
  const width = DTYPE_BYTES[dtype];
  const bytes = new Uint8Array(elements * width);
  const view = new DataView(bytes.buffer);
  let count = 0;
  for (const { start, end } of fields) {
    const values = packedVarints(await source.slice(start, end));
    if (values === undefined) throw malformed('has a number that does not end');
    for (const value of values) {
      if (count === elements) throw malformed(`has more than its ${elements} elements`);
      const at = count++ * width;
      if (width === 8) view.setBigUint64(at, value, true);
      else if (width === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
      else if (width === 2) view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
      else view.setUint8(at, Number(BigInt.asUintN(8, value)));
    }
  }
  if (count !== elements) throw malformed(`has ${count} of its ${elements} elements`);
  return decodeValues(bytes, dtype);
}
