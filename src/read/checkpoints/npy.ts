/**
 * NumPy's array file.
 *
 * | bytes | content |
 * |---|---|
 * | 0 … 5 | `\x93NUMPY` |
 * | 6, 7 | version: 1.0, 2.0 or 3.0 |
 * | 8 … | length of the header: u16 in version 1, u32 after it, little-endian |
 * | then | a Python dict: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, spaces, line feed |
 * | then | the elements |
 *
 * Source: numpy/lib/format.py.
 */

import type { Dtype } from '../../model/checkpoint.ts';
import { type DiagError, diagError } from '../../model/errors.ts';
import { type ByteSource, type Extent, placeOf } from '../bytes/source.ts';
import { bytePieces, DTYPE_BYTES, elementsOf } from './dtypes.ts';
import { malformed as malformedAs, unsupportedDtype } from './faults.ts';
import type { CheckpointFormat } from './format.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from './lazy-checkpoint.ts';
import { checkLimit } from './limit.ts';
import { extentOf, type Storage, type StridedView, streamView } from './pytorch/strided.ts';
import { roleOfName } from './roles.ts';

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');
/** numpy itself refuses longer headers. */
const MAX_HEADER_BYTES = 10_000;
/** Magic, version and the longer form of the length. */
export const NPY_PREFIX_BYTES = 12;

/** Types by numpy's codes without the order of bytes. */
export const NUMPY_TYPES: ReadonlyMap<string, Dtype> = new Map<string, Dtype>([
  ['f8', 'F64'],
  ['f4', 'F32'],
  ['f2', 'F16'],
  ['i8', 'I64'],
  ['i4', 'I32'],
  ['i2', 'I16'],
  ['i1', 'I8'],
  ['u8', 'U64'],
  ['u4', 'U32'],
  ['u2', 'U16'],
  ['u1', 'U8'],
  ['b1', 'BOOL'],
  ['c8', 'C64'],
  ['c16', 'C128'],
]);

export const npy: CheckpointFormat = {
  id: 'npy',
  title: 'NumPy array (.npy)',
  sniff: (head) => Buffer.compare(head.subarray(0, MAGIC.length), MAGIC) === 0,
  open: async (source) => {
    const { path, byteLength } = source;
    // An array has no name of its own.
    const name = 'array';
    const tensor = await npyTensor(name, path, byteLength, (end) => source.slice(0, end), {
      byteLength,
      pieces: (start, end) => bytePieces(source, start, end),
      place: (start, end) => placeOf(source, start, end),
    });
    return lazyCheckpoint(npyParts(source, npy.id), [tensor]);
  },
};

/** What npy and npz files say next to their tensors: nothing. */
export const npyParts = (source: ByteSource, format: string, passedOver: readonly Extent[] = []) => ({
  path: source.path,
  format,
  framework: null,
  step: stepOf(source.path, new Map()),
  metadata: new Map<string, string>(),
  errors: [],
  stored: { bytes: source.byteLength, passedOver },
  close: () => source.close(),
});

/**
 * Reads the header of an array.
 *
 * @param start gives the bytes from the beginning of the array's file up to `end`
 * @param file all bytes of the array's file
 * @throws checkpoint-truncated, checkpoint-malformed, object-array, dtype-unsupported, limit-exceeded
 */
export async function npyTensor(
  name: string,
  path: string,
  byteLength: number,
  start: (end: number) => Promise<Uint8Array>,
  file: Storage,
): Promise<LazyTensor> {
  const malformed = (problem: string): DiagError =>
    malformedAs('npy', `"${name}": ${problem}`, { path, tensor: name });
  const truncated = (what: string, end: number): DiagError =>
    diagError('checkpoint-truncated', { what, end, bytes: byteLength }, { path, tensor: name });
  const prefix = await start(Math.min(NPY_PREFIX_BYTES, byteLength));
  if (Buffer.compare(prefix.subarray(0, MAGIC.length), MAGIC) !== 0)
    throw malformed('it does not begin with \\x93NUMPY');
  if (prefix.length < NPY_PREFIX_BYTES) throw truncated('the npy header', NPY_PREFIX_BYTES);
  const [major, minor] = [prefix[6]!, prefix[7]!];
  if (major < 1 || major > 3 || minor !== 0) throw malformed(`its version is ${major}.${minor}`);
  const view = new DataView(prefix.buffer, prefix.byteOffset);
  const headerStart = major === 1 ? 10 : 12;
  const headerBytes = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  checkLimit('the npy header in bytes', headerBytes, MAX_HEADER_BYTES, { path, tensor: name });
  const dataStart = headerStart + headerBytes;
  if (dataStart > byteLength) throw truncated('the npy header', dataStart);
  const header = Buffer.from((await start(dataStart)).subarray(headerStart)).toString(
    major === 3 ? 'utf8' : 'latin1',
  );
  const { descr, fortranOrder, shape } = parseHeader(header, malformed);
  if (/^\|?O/.test(descr)) throw diagError('object-array', { name }, { path, tensor: name });
  const [, order, code] = /^([<>|=])(\w+)$/.exec(descr) ?? [];
  const dtype = code === undefined ? undefined : NUMPY_TYPES.get(code);
  if (dtype === undefined || order === '=' || (order === '|' && DTYPE_BYTES[dtype] > 1))
    throw unsupportedDtype(name, descr, path);
  const elements = elementsOf(shape, path, name, 'npy');
  const end = dataStart + elements * DTYPE_BYTES[dtype];
  if (end > byteLength) throw truncated(`array "${name}"`, end);
  if (end < byteLength) throw malformed(`${byteLength - end} bytes follow its elements`);
  const view2: StridedView = {
    dtype,
    shape,
    stride: strides(shape, fortranOrder),
    offset: 0,
    elements,
    bigEndian: order === '>',
  };
  const data: Storage = {
    byteLength: byteLength - dataStart,
    pieces: (from, to) => file.pieces(dataStart + from, dataStart + to),
    place: (from, to) => file.place(dataStart + from, dataStart + to),
  };
  return {
    info: { name, dtype, shape, elements, layout: 'none', ...roleOfName(name, dtype) },
    extents: () => [extentOf(view2, data)],
    stream: () => streamView(view2, data),
  };
}

function strides(shape: readonly number[], fortranOrder: boolean): number[] {
  const result = shape.map(() => 1);
  let stride = 1;
  for (let i = 0; i < shape.length; i++) {
    const axis = fortranOrder ? i : shape.length - 1 - i;
    result[axis] = stride;
    // Of an empty array the other dimensions mean nothing, and their product may be absurd.
    stride = Math.min(stride * Math.max(shape[axis]!, 1), Number.MAX_SAFE_INTEGER);
  }
  return result;
}

/** The dict literal that numpy writes: three keys, each once, in any order. */
function parseHeader(
  text: string,
  malformed: (problem: string) => DiagError,
): { descr: string; fortranOrder: boolean; shape: number[] } {
  const body = /^\{(.*)\}\s*$/s.exec(text)?.[1];
  if (body === undefined) throw malformed('its header is no dict');
  const members = new Map<string, string>();
  const member =
    /\s*'(descr|fortran_order|shape)'\s*:\s*('[^'\\]*'|True|False|\([\d\s,L]*\)|\[.*\])\s*(?:,|$)/sy;
  let at = 0;
  while (body.slice(at).trim() !== '') {
    member.lastIndex = at;
    const found = member.exec(body);
    if (found === null) throw malformed('its header holds more than descr, fortran_order and shape');
    if (members.has(found[1]!)) throw malformed(`its header holds "${found[1]}" twice`);
    members.set(found[1]!, found[2]!);
    at = member.lastIndex;
  }
  const [descr, order, shape] = ['descr', 'fortran_order', 'shape'].map((key) => members.get(key));
  if (descr === undefined || order === undefined || shape === undefined)
    throw malformed('its header is not complete');
  if (!/^(True|False)$/.test(order) || !/^\(\s*(?:\d+L?\s*,\s*)*(?:\d+L?\s*)?\)$/.test(shape))
    throw malformed('its header has another form');
  return {
    // A list is a structured type, which has no single element type.
    descr: descr.startsWith("'") ? descr.slice(1, -1) : 'structured',
    fortranOrder: order === 'True',
    shape: (shape.match(/\d+/g) ?? []).map(Number),
  };
}
