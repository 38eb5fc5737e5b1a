/** The messages inside an event file: Event, Summary, TensorProto and the hparams plugin, as far as scalars need them. */
import { decodeName } from '../bytes/encoding.ts';

/** Where scalars go. A tag keeps the plugin that its first value names. */
export interface TagSink<Tag extends { plugin: string | undefined }> {
  find(bytes: Buffer, start: number, end: number): Tag;
  add(tag: Tag, step: number, value: number, wallTime: number, offset: number): void;
  /** A value that claims to be a scalar but is not a number. */
  refuse(tag: Tag): void;
}

/**
 * What an event is. `record`: it holds a scalar or hyperparameters of the run. `passed-over`: it holds something else
 * (a graph, an image, a histogram, a text). `overhead`: it says only that the file or a session begins or ends.
 * `refused-value`: its only scalars are not numbers. `damaged`: it is malformed.
 */
export type EventFate = 'record' | 'passed-over' | 'overhead' | 'refused-value' | 'damaged';

export type Hyperparameters = Map<string, string | number | boolean | null>;

/** Position in the message that is being read; a malformed message moves it beyond its end. */
let cursor = 0;

/** A base-128 varint. 64-bit values beyond 2^53 are rounded; negative ones come in two's complement. */
function varint(bytes: Buffer, end: number): number {
  let result = 0;
  let scale = 1;
  for (let k = 0; k < 10 && cursor < end; k++) {
    const byte = bytes[cursor++]!;
    result += (byte & 0x7f) * scale;
    if (byte < 0x80) return k === 9 ? result - 2 ** 64 : result;
    scale *= 128;
  }
  cursor = end + 1;
  return 0;
}

const WIRE_VARINT = 0;
const WIRE_64 = 1;
const WIRE_BYTES = 2;
const WIRE_32 = 5;

/** Moves past a field; for bytes, the cursor is at their length. */
function skipField(bytes: Buffer, wire: number, end: number): void {
  if (wire === WIRE_VARINT) varint(bytes, end);
  else if (wire === WIRE_64) cursor += 8;
  else if (wire === WIRE_BYTES) {
    // Not `cursor += varint()`: that adds to the position before the varint.
    const length = varint(bytes, end);
    cursor += length;
  } else if (wire === WIRE_32) cursor += 4;
  else cursor = end + 1;
}

/** How many values of each kind the event that is being read has. */
let scalars = 0;
let refused = 0;

/** Fields that any event may have: wall_time, step, file_version, session_log, source_metadata. */
const FRAMING: ReadonlySet<number> = new Set([1, 2, 3, 7, 10]);

/**
 * Reads one Event and passes its scalars on. What precedes a malformed part is kept: the checksum is valid, so the
 * writer wrote it so.
 */
export function readEvent<Tag extends { plugin: string | undefined }>(
  bytes: Buffer,
  start: number,
  end: number,
  offset: number,
  sink: TagSink<Tag>,
  hyperparameters: Hyperparameters,
): EventFate {
  cursor = start;
  scalars = refused = 0;
  let held = false;
  let wallTime = Number.NaN;
  let step = 0;
  let summaryStart = -1;
  let summaryEnd = -1;
  while (cursor < end) {
    const key = varint(bytes, end);
    if (key === 0x09 && cursor + 8 <= end) {
      wallTime = bytes.readDoubleLE(cursor);
      cursor += 8;
    } else if (key === 0x10) step = varint(bytes, end);
    else if (key === 0x2a) {
      const length = varint(bytes, end);
      summaryStart = cursor;
      summaryEnd = cursor += length;
    } else {
      if (!FRAMING.has(key >> 3)) held = true;
      skipField(bytes, key & 7, end);
    }
  }
  if (cursor !== end) return 'damaged';
  if (summaryStart < 0) return held ? 'passed-over' : 'overhead';
  cursor = summaryStart;
  while (cursor < summaryEnd) {
    const key = varint(bytes, summaryEnd);
    if (key === 0x0a) {
      const length = varint(bytes, summaryEnd);
      const valueEnd = cursor + length;
      if (valueEnd > summaryEnd) return 'damaged';
      if (!readValue(bytes, valueEnd, step, wallTime, offset, sink, hyperparameters)) return 'damaged';
      cursor = valueEnd;
    } else skipField(bytes, key & 7, summaryEnd);
  }
  if (cursor !== summaryEnd) return 'damaged';
  return scalars > 0 ? 'record' : refused > 0 ? 'refused-value' : 'passed-over';
}

/** The value at the cursor. */
function readValue<Tag extends { plugin: string | undefined }>(
  bytes: Buffer,
  end: number,
  step: number,
  wallTime: number,
  offset: number,
  sink: TagSink<Tag>,
  hyperparameters: Hyperparameters,
): boolean {
  let tagStart = 0;
  let tagEnd = 0;
  let simple = Number.NaN;
  let hasSimple = false;
  let tensorStart = -1;
  let tensorEnd = -1;
  let metadataStart = -1;
  let metadataEnd = -1;
  while (cursor < end) {
    const key = varint(bytes, end);
    if (key === 0x15 && cursor + 4 <= end) {
      simple = bytes.readFloatLE(cursor);
      hasSimple = true;
      cursor += 4;
    } else if (key === 0x0a || key === 0x42 || key === 0x4a) {
      const length = varint(bytes, end);
      const from = cursor;
      cursor += length;
      if (key === 0x0a) [tagStart, tagEnd] = [from, cursor];
      else if (key === 0x42) [tensorStart, tensorEnd] = [from, cursor];
      else [metadataStart, metadataEnd] = [from, cursor];
    } else skipField(bytes, key & 7, end);
  }
  if (cursor !== end) return false;
  const tag = sink.find(bytes, tagStart, tagEnd);
  if (metadataStart >= 0) {
    const { plugin, contentStart, contentEnd } = pluginOf(bytes, metadataStart, metadataEnd);
    tag.plugin ??= plugin;
    if (plugin === 'hparams' && readHparams(bytes, contentStart, contentEnd, hyperparameters)) scalars++;
  }
  if (hasSimple) {
    scalars++;
    sink.add(tag, step, simple, wallTime, offset);
  } else if (
    tensorStart >= 0 &&
    (tag.plugin === undefined || tag.plugin === '' || tag.plugin === 'scalars')
  ) {
    const value = tensorScalar(bytes, tensorStart, tensorEnd);
    if (value !== undefined) {
      scalars++;
      sink.add(tag, step, value, wallTime, offset);
    } else if (tag.plugin === 'scalars') {
      refused++;
      sink.refuse(tag);
    }
  }
  return true;
}

/** SummaryMetadata { 1 PluginData { 1 plugin_name, 2 content } }. */
function pluginOf(
  bytes: Buffer,
  start: number,
  end: number,
): { plugin: string | undefined; contentStart: number; contentEnd: number } {
  const data = field(bytes, start, end, 0x0a);
  const name = data && field(bytes, data[0], data[1], 0x0a);
  const content = data && field(bytes, data[0], data[1], 0x12);
  return {
    plugin: name && decodeName(bytes, name[0], name[1]),
    contentStart: content?.[0] ?? 0,
    contentEnd: content?.[1] ?? 0,
  };
}

/** The range of the first field with a key (of wire type bytes) in a message. */
function field(bytes: Buffer, start: number, end: number, wanted: number): [number, number] | undefined {
  for (const [key, from, to] of fields(bytes, start, end)) if (key === wanted) return [from, to];
  return undefined;
}

/** The fields of a message: key, and the range of the content (of bytes) or of the number. Ends at a malformed field. */
function* fields(bytes: Buffer, start: number, end: number): Generator<[number, number, number]> {
  let at = start;
  while (at < end) {
    cursor = at;
    const key = varint(bytes, end);
    let from = cursor;
    if ((key & 7) === WIRE_BYTES) {
      const length = varint(bytes, end);
      from = cursor;
      cursor += length;
    } else skipField(bytes, key & 7, end);
    at = cursor;
    if (at > end) return;
    yield [key, from, at];
  }
}

/** DataType numbers of tensorflow/core/framework/types.proto: width in tensor_content and how to read one there. */
const DTYPES: ReadonlyMap<number, [bytes: number, read: (bytes: Buffer, at: number) => number]> = new Map([
  [1, [4, (b, at) => b.readFloatLE(at)]],
  [2, [8, (b, at) => b.readDoubleLE(at)]],
  [3, [4, (b, at) => b.readInt32LE(at)]],
  [4, [1, (b, at) => b[at]!]],
  [5, [2, (b, at) => b.readInt16LE(at)]],
  [6, [1, (b, at) => b.readInt8(at)]],
  [9, [8, (b, at) => Number(b.readBigInt64LE(at))]],
  [10, [1, (b, at) => b[at]!]],
  [14, [2, (b, at) => bfloat16(b.readUInt16LE(at))]],
  [17, [2, (b, at) => b.readUInt16LE(at)]],
  [19, [2, (b, at) => float16(b.readUInt16LE(at))]],
  [22, [4, (b, at) => b.readUInt32LE(at)]],
  [23, [8, (b, at) => Number(b.readBigUInt64LE(at))]],
]);
const DT_HALF = 19;
const DT_BFLOAT16 = 14;

const word = new DataView(new ArrayBuffer(4));
function bfloat16(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}
function float16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size =
    exponent === 31
      ? fraction === 0
        ? Number.POSITIVE_INFINITY
        : Number.NaN
      : exponent === 0
        ? fraction * 2 ** -24
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -size : size;
}

/** Whether every dimension of a shape is 1: { 2 Dim { 1 size } }. */
function hasOneElement(bytes: Buffer, start: number, end: number): boolean {
  for (const [key, from, to] of fields(bytes, start, end)) {
    if (key !== 0x12) continue;
    for (const [sizeKey, sizeFrom, sizeTo] of fields(bytes, from, to)) {
      cursor = sizeFrom;
      if (sizeKey === 0x08 && varint(bytes, sizeTo) !== 1) return false;
    }
  }
  return true;
}

/** Numbers of the fields that hold integers and numbers of 16 bits, as varints: half_val, int_val, bool_val … */
const VARINT_FIELDS: ReadonlySet<number> = new Set([7, 10, 11, 13, 16, 17]);

/** The first number of a field for the values of a type; undefined where it holds something else. */
function fieldValue(bytes: Buffer, key: number, from: number, to: number, dtype: number): number | undefined {
  const number = key >> 3;
  if (number === 5 && to - from >= 4) return bytes.readFloatLE(from);
  if (number === 6 && to - from >= 8) return bytes.readDoubleLE(from);
  if (!VARINT_FIELDS.has(number) || !DTYPES.has(dtype)) return undefined;
  cursor = from;
  const raw = varint(bytes, to);
  return dtype === DT_HALF ? float16(raw) : dtype === DT_BFLOAT16 ? bfloat16(raw) : raw;
}

/**
 * The value of a numeric tensor of one element (no shape, or every dimension 1): from tensor_content, or from the
 * field of its type; an absent value is 0 (tensor.proto). Undefined for strings, other shapes and malformed ones.
 */
function tensorScalar(bytes: Buffer, start: number, end: number): number | undefined {
  let dtype = 0;
  let content: [number, number] | undefined;
  let value: number | undefined;
  for (const [key, from, to] of fields(bytes, start, end)) {
    if (key === 0x08) {
      cursor = from;
      dtype = varint(bytes, to);
    } else if (key === 0x12) {
      if (!hasOneElement(bytes, from, to)) return undefined;
    } else if (key === 0x22) content = [from, to];
    else if (value === undefined && to > from) value = fieldValue(bytes, key, from, to, dtype);
  }
  const known = DTYPES.get(dtype);
  if (known === undefined) return undefined;
  const [width, read] = known;
  if (content !== undefined && content[1] > content[0])
    return content[1] - content[0] >= width ? read(bytes, content[0]) : undefined;
  return value ?? 0;
}

/**
 * The hyperparameters of a session: HParamsPluginData { 3 session_start_info { 1 hparams: map<string, Value> } } with
 * google.protobuf.Value { 1 null, 2 number, 3 string, 4 bool }. False if the message starts
 * no session: the plugin has others.
 */
function readHparams(bytes: Buffer, start: number, end: number, into: Hyperparameters): boolean {
  const session = field(bytes, start, end, 0x1a);
  if (session === undefined) return false;
  for (const [key, from, to] of [...fields(bytes, session[0], session[1])]) {
    if (key !== 0x0a) continue;
    const name = field(bytes, from, to, 0x0a);
    const value = field(bytes, from, to, 0x12);
    if (name === undefined || value === undefined) continue;
    for (const [kind, valueFrom, valueTo] of fields(bytes, value[0], value[1])) {
      const known =
        kind === 0x08
          ? null
          : kind === 0x11
            ? bytes.readDoubleLE(valueFrom)
            : kind === 0x1a
              ? decodeName(bytes, valueFrom, valueTo)
              : kind === 0x20
                ? bytes[valueFrom] === 1
                : undefined;
      if (known !== undefined) into.set(decodeName(bytes, name[0], name[1]), known);
    }
  }
  return true;
}
