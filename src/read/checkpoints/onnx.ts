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

import type { Checkpoint, Dtype, TensorData, TensorInfo } from '../../model/checkpoint.ts';
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
import { ambiguous, malformed, truncated, unsupportedDtype } from './faults.ts';
import type { CheckpointFormat } from './format.ts';
import { layoutOfTorch } from './layouts.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from './lazy-checkpoint.ts';
import { checkLimit } from './limit.ts';
import { roleOfName } from './roles.ts';
import { FilesInOrder, type LostTensors, lossReasonOf } from './stored-bytes.ts';

const FORMAT = 'ONNX';

export const onnx: CheckpointFormat = {
  id: 'onnx',
  title: 'ONNX (initialisers)',
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
  const model = new ModelReader(source);
  try {
    await model.read();
  } catch (error) {
    // A file that was cut keeps the tensors that are whole, and the files that their values lie in.
    if (!(error instanceof DiagError) || error.code !== 'protobuf-malformed' || model.tensors.size === 0) {
      await model.files.closeOthers();
      throw error;
    }
    const start = error.where?.byteOffset ?? source.byteLength;
    const extent = { start, end: source.byteLength };
    model.lost.push({ reason: 'cut-off', tensors: undefined, extent });
    model.errors.push(error.toRecord());
  }
  const { metadata, errors, files } = model;
  return lazyCheckpoint(
    {
      path,
      format: 'onnx',
      framework: 'onnx',
      step: stepOf(path, metadata),
      metadata,
      errors,
      stored: {
        bytes: files.byteLength,
        passedOver: [...model.passedOver, { start: source.byteLength, end: files.byteLength }],
        lost: model.lost,
      },
      close: () => files.close(),
    },
    [...model.tensors.values()],
  );
}

/** Goes through a model once, and notes its tensors and what of it cannot be had. */
class ModelReader {
  readonly metadata = new Map<string, string | number>();
  readonly errors: ErrorRecord[] = [];
  readonly tensors = new Map<string, LazyTensor>();
  readonly passedOver: Extent[] = [];
  readonly lost: LostTensors[] = [];
  /** The model, then the files of external data. */
  readonly files: FilesInOrder;
  readonly #others = new Map<string, ByteSource>();
  readonly #nearby: ByteSource;

  constructor(private readonly source: ByteSource) {
    this.files = new FilesInOrder(source);
    this.#nearby = windowedSource(source, WINDOW);
  }

  async read(): Promise<void> {
    const { path, byteLength } = this.source;
    const present = new Set<number>();
    for await (const field of protobufRanges(this.#nearby, 0, byteLength, 'an ONNX model')) {
      const { number, wire, start, end } = field;
      present.add(number);
      if (number === 1 && wire === 0) this.metadata.set('ir_version', await countIn(this.#nearby, field));
      if ((number === 2 || number === 3) && wire === 2 && end - start < 1024)
        this.metadata.set(
          number === 2 ? 'producer_name' : 'producer_version',
          await textIn(this.#nearby, field),
        );
      if (number === 7 && wire === 2) await this.#readGraph(field);
    }
    // Both are required; a file that was cut between two fields lacks the last of them.
    for (const [number, what] of REQUIRED)
      if (!present.has(number) && this.errors.length === 0)
        this.errors.push(malformed(FORMAT, `it has no ${what}`, { path }).toRecord());
  }

  async #readGraph(graph: ProtobufRange): Promise<void> {
    for await (const member of protobufRanges(this.#nearby, graph.start, graph.end, 'the graph', 1)) {
      if (member.number === 15) {
        this.passedOver.push(member);
        const details = { tensor: 'sparse_initializer', dtype: 'sparse' };
        const { path } = this.source;
        this.errors.push(diagError('dtype-unsupported', details, { path }).toRecord());
      }
      if (member.number === 5 && member.wire === 2) await this.#readInitialiser(member);
    }
  }

  async #readInitialiser(message: ProtobufRange): Promise<void> {
    const { path } = this.source;
    try {
      const tensor = await this.#openTensor(message);
      if (tensor === undefined) {
        this.passedOver.push(message);
        return;
      }
      const { name } = tensor.info;
      if (this.tensors.has(name)) throw ambiguous(`the initialiser "${name}" is there twice`, { path });
      this.tensors.set(name, tensor);
    } catch (error) {
      if (!(error instanceof DiagError) || error.code === 'checkpoint-ambiguous') throw error;
      if (error.code === 'dtype-unsupported') this.passedOver.push(message);
      else this.lost.push({ reason: lossReasonOf(error.code), tensors: 1, extent: message });
      this.errors.push(error.toRecord());
    }
  }

  /** Undefined of texts. */
  async #openTensor(message: ProtobufRange): Promise<LazyTensor | undefined> {
    const { path } = this.source;
    const proto = await readTensorProto(this.#nearby, message);
    const { name, shape, type } = proto;
    if (type === STRING) return undefined;
    const dtype = ONNX_DTYPES.get(type);
    if (dtype === undefined) throw unsupportedDtype(name, `number ${type} of ONNX`, path);
    const elements = elementsOf(shape, path, name, FORMAT);
    const info = {
      name,
      dtype,
      shape,
      elements,
      layout: layoutOfTorch(name, shape),
      ...roleOfName(name, dtype),
    };
    const values = proto.isExternal
      ? await this.#externalValues(proto, info)
      : inlineValues(this.source, proto, info);
    return { info, ...values };
  }

  async #externalValues({ where, external }: TensorProto, info: TensorInfo): Promise<Values> {
    const { name, dtype, elements } = info;
    const bytes = elements * DTYPE_BYTES[dtype];
    const start = Number(external.get('offset') ?? 0);
    const length = Number(external.get('length') ?? bytes);
    if (!Number.isSafeInteger(start) || start < 0 || length !== bytes)
      throw malformed(
        FORMAT,
        `tensor "${name}" (${dtype}, ${elements} elements) needs ${bytes} bytes, its external data has ${length}`,
        where,
      );
    const file = await this.#openOther(external.get('location') ?? '');
    if (start + bytes > file.byteLength)
      throw truncated(`tensor "${name}"`, start + bytes, file.byteLength, {
        path: file.path,
        tensor: name,
        byteOffset: start,
      });
    return {
      extents: () => [this.files.extentOf(file, start, start + bytes)],
      stream: () => decodeRange(file, start, elements, dtype),
    };
  }

  async #openOther(name: string): Promise<ByteSource> {
    const file = this.#others.get(name) ?? this.files.add(await openSibling(this.source.path, name));
    this.#others.set(name, file);
    return file;
  }
}

/** Fields that every model has. */
const REQUIRED = [
  [7, 'graph'],
  [8, 'opset_import'],
] as const;

const textIn = async (source: ByteSource, { start, end }: ProtobufRange): Promise<string> =>
  Buffer.from(await source.slice(start, end)).toString();

async function countIn(source: ByteSource, field: ProtobufRange): Promise<number> {
  const bytes = await source.slice(field.start, field.end);
  return countOf({ ...field, bytes, offset: field.start }, source.path, 'an ONNX model');
}

const MAX_SMALL_BYTES = 64 * 1024;

/** What is read of a TensorProto. */
interface TensorProto {
  readonly where: { readonly path: string; readonly tensor: string; readonly byteOffset: number };
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: number;
  readonly isExternal: boolean;
  readonly external: ReadonlyMap<string, string>;
  /** Fields that hold values. */
  readonly data: readonly ProtobufRange[];
}

/** @param source with a window */
async function readTensorProto(source: ByteSource, message: ProtobufRange): Promise<TensorProto> {
  const { path } = source;
  const proto = { name: '', shape: [] as number[], type: 0, isExternal: false };
  const external = new Map<string, string>();
  const data: ProtobufRange[] = [];
  const where = () => ({ path, tensor: proto.name, byteOffset: message.start });
  for await (const field of protobufRanges(source, message.start, message.end, 'an initialiser', 2)) {
    const { number, wire, start } = field;
    if (number === 1) {
      const bytes = await smallField(source, field);
      const dims = wire === 2 ? packedVarints(bytes) : [varintValue(bytes)];
      if (dims === undefined)
        throw malformed(FORMAT, `tensor "${proto.name}" has dimensions that do not end`, where());
      proto.shape.push(...dims.map((dim) => Number(BigInt.asIntN(64, dim))));
    } else if (number === 2 && wire === 0) proto.type = await countIn(source, field);
    else if (number === 8 && wire === 2) proto.name = Buffer.from(await smallField(source, field)).toString();
    else if (number === 14 && wire === 0) proto.isExternal = (await countIn(source, field)) === 1;
    else if (number === 13 && wire === 2)
      external.set(...keyAndValue(await smallField(source, field), path, start));
    else if ((Object.values(FIELD) as number[]).includes(number)) data.push(field);
  }
  return { ...proto, where: where(), external, data };
}

/** An entry of external_data: StringStringEntryProto { 1 key, 2 value }. */
function keyAndValue(bytes: Uint8Array, path: string, offset: number): [string, string] {
  let [key, value] = ['', ''];
  for (const part of protobufFields(bytes, path, 'external data', offset, 3)) {
    if (part.number === 1) key = textOf(part);
    if (part.number === 2) value = textOf(part);
  }
  return [key, value];
}

async function smallField(source: ByteSource, { number, start, end }: ProtobufRange): Promise<Uint8Array> {
  checkLimit(`field ${number} of an initialiser in bytes`, end - start, MAX_SMALL_BYTES, {
    path: source.path,
    byteOffset: start,
  });
  return source.slice(start, end);
}

type Values = Pick<LazyTensor, 'extents' | 'stream'>;

/** Values in the model itself. */
function inlineValues(source: ByteSource, { where, data }: TensorProto, info: TensorInfo): Values {
  const { name, dtype, elements } = info;
  const broken = (problem: string): DiagError => malformed(FORMAT, `tensor "${name}" ${problem}`, where);
  const raw = data.filter(({ number }) => number === FIELD.raw);
  const wanted = raw.length > 0 ? FIELD.raw : typedField(dtype);
  if (data.some(({ number }) => number !== wanted)) throw broken('has values in two fields');
  if (raw.length > 1) throw broken('has raw values twice');
  const isFixed = wanted === FIELD.raw || wanted === FIELD.float || wanted === FIELD.double;
  const bytes = elements * DTYPE_BYTES[dtype];
  const stored = data.reduce((sum, { start, end }) => sum + end - start, 0);
  if (isFixed && stored !== bytes)
    throw broken(`(${dtype}, ${elements} elements) needs ${bytes} bytes and has ${stored}`);
  // A varint takes at least a byte.
  if (!isFixed && stored < elements) throw broken(`has ${elements} elements in ${stored} bytes`);
  return {
    extents: () => data,
    stream: async function* (): AsyncIterable<TensorData> {
      if (elements === 0) yield decodeValues(new Uint8Array(0), dtype);
      else if (isFixed)
        for (const { start, end } of data)
          yield* decodeRange(source, start, elementsIn(end - start, dtype), dtype);
      else yield await varintValues(source, data, info, broken);
    },
  };
}

const elementsIn = (bytes: number, dtype: Dtype): number => bytes / DTYPE_BYTES[dtype];

/** Values of int32_data, int64_data and uint64_data: varints that are cut to the width of the type. */
async function varintValues(
  source: ByteSource,
  fields: readonly ProtobufRange[],
  { dtype, elements }: TensorInfo,
  broken: (problem: string) => DiagError,
): Promise<TensorData> {
  const width = DTYPE_BYTES[dtype];
  const bytes = new Uint8Array(elements * width);
  const view = new DataView(bytes.buffer);
  let count = 0;
  for (const { start, end } of fields) {
    const values = packedVarints(await source.slice(start, end));
    if (values === undefined) throw broken('has a number that does not end');
    for (const value of values) {
      if (count === elements) throw broken(`has more than its ${elements} elements`);
      const at = count++ * width;
      if (width === 8) view.setBigUint64(at, value, true);
      else if (width === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
      else if (width === 2) view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
      else view.setUint8(at, Number(BigInt.asUintN(8, value)));
    }
  }
  if (count !== elements) throw broken(`has ${count} of its ${elements} elements`);
  return decodeValues(bytes, dtype);
}
