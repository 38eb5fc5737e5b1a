/**
 * Flax checkpoints (`flax.serialization`, `flax.training.checkpoints`): nested maps in MessagePack.
 *
 * | value | stored as |
 * |---|---|
 * | array | extension 1: array of shape, type name, bytes (row-major, little-endian) |
 * | Python complex | extension 2: array of two floats |
 * | numpy scalar | extension 3: as an array without axes |
 * | array above 1 GiB | map of `__msgpack_chunked_array__`, `shape` and `chunks`, both maps of `0`, `1`, … |
 *
 * Names are the keys, joined by `/`. Source: flax/serialization.py.
 */

import type { Checkpoint, Dtype } from '../../model/checkpoint.ts';
import { DiagError, diagError, type ErrorRecord } from '../../model/errors.ts';
import { type MsgpackReader, msgpackReader } from '../bytes/msgpack.ts';
import { type ByteSource, bytesSource, type Extent } from '../bytes/source.ts';
import { windowedSource } from '../bytes/windowed-source.ts';
import { DTYPE_BYTES, DTYPES_BY_NAME, decodeRange, decodeValues, elementsOf } from './dtypes.ts';
import { ambiguous, malformed as malformedAs, unsupportedDtype } from './faults.ts';
import { roleOfFlax } from './flax-roles.ts';
import type { CheckpointFormat } from './format.ts';
import { layoutOfKeras } from './layouts.ts';
import { type LazyTensor, lazyCheckpoint, stepOf } from './lazy-checkpoint.ts';
import type { LostTensors } from './stored-bytes.ts';

const FORMAT = 'Flax MessagePack';
const MAX_DEPTH = 100;
const MAX_TOKENS = 1_000_000;
const MAX_TEXT_BYTES = 64 * 1024;
/** Keys, shapes and type names of a few arrays. */
const WINDOW = 256;
const CHUNKED = '__msgpack_chunked_array__';

export const flaxMsgpack: CheckpointFormat = {
  id: 'flax-msgpack',
  title: 'Flax checkpoint (MessagePack)',
  sniff: isFlax,
  open: openFlax,
};

/** A map whose keys are texts down to the first array or the end of the head. */
async function isFlax(head: Uint8Array): Promise<boolean> {
  const reader = msgpackReader(bytesSource('', head));
  try {
    for (let depth = 0; depth < MAX_DEPTH; depth++) {
      const map = await reader.next();
      if (map.kind === 'extension') return map.type >= 1 && map.type <= 3 && depth > 0;
      if (map.kind !== 'map') return depth > 0 && map.kind === 'value';
      if (map.count === 0) return depth > 0;
      const key = await reader.next();
      if (key.kind !== 'text' || !isPrintable(await reader.read(key.start, key.end))) return false;
    }
  } catch (error) {
    // An array that is longer than the head.
    return error instanceof DiagError && error.code === 'checkpoint-truncated' && reader.position > 3;
  }
  // Maps in maps as deep as is allowed: the reader refuses more.
  return true;
}

const isPrintable = (bytes: Uint8Array): boolean => bytes.length > 0 && bytes.every((byte) => byte >= 0x20);

interface FlaxArray {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

type Scalar = null | boolean | number | bigint | string;
type Tree = Map<string, Tree | FlaxArray | Scalar>;

/** Reads keys, shapes and scalars; the bytes of arrays are skipped. */
async function openFlax(source: ByteSource): Promise<Checkpoint> {
  const { path } = source;
  const errors: ErrorRecord[] = [];
  const root: Tree = new Map();
  const nearby = windowedSource(source, WINDOW);
  const passedOver: Extent[] = [];
  const lost: LostTensors[] = [];
  const state = { reader: msgpackReader(nearby), path, source: nearby, errors, passedOver, tokens: 0 };
  try {
    const token = await state.reader.next();
    if (token.kind !== 'map') throw malformed(path, 'its root is no map');
    await readMap(state, root, token.count, '', 1);
    const rest = source.byteLength - state.reader.position;
    if (rest > 0) throw malformed(path, `${rest} bytes follow its root`);
  } catch (error) {
    // A file that was cut keeps the arrays that are whole.
    if (!(error instanceof DiagError) || error.code !== 'checkpoint-truncated' || root.size === 0)
      throw error;
    const start = error.where?.byteOffset ?? source.byteLength;
    lost.push({ reason: 'cut-off', tensors: undefined, extent: { start, end: source.byteLength } });
    errors.push(error.toRecord());
  }
  const metadata = new Map<string, string | number | boolean | null>();
  const arrays = new Map<string, { array: Omit<FlaxArray, 'start' | 'end'>; parts: readonly FlaxArray[] }>();
  flatten(root, '', path, arrays, metadata);
  const keys = [...arrays.keys()];
  const tensors = keys.map((name): LazyTensor => {
    const { array, parts } = arrays.get(name)!;
    const { dtype, shape } = array;
    const role = roleOfFlax(name, dtype, arrays);
    return {
      info: {
        name,
        dtype,
        shape,
        elements: elementsOf(shape, path, name, FORMAT),
        layout: /(?:^|\/)kernel$/.test(role.parameter ?? name) ? layoutOfKeras(name, shape) : 'none',
        ...role,
      },
      extents: () => parts,
      stream: async function* () {
        if (parts.length === 0) yield decodeValues(new Uint8Array(0), dtype);
        for (const { start, end } of parts)
          yield* decodeRange(source, start, (end - start) / DTYPE_BYTES[dtype], dtype);
      },
    };
  });
  const counter = tensors.find(
    ({ info }) => info.elements === 1 && (info.name === 'step' || info.slot === 'step'),
  );
  if (counter !== undefined && !metadata.has('step'))
    for await (const values of counter.stream()) metadata.set('step', Number(values[0]));
  return lazyCheckpoint(
    {
      path,
      format: 'flax-msgpack',
      framework: 'flax',
      step: stepOf(path, metadata),
      metadata,
      errors,
      stored: { bytes: source.byteLength, passedOver, lost },
      close: () => source.close(),
    },
    tensors,
  );
}

const malformed = (path: string, problem: string): DiagError => malformedAs(FORMAT, problem, { path });

interface State {
  readonly reader: MsgpackReader;
  readonly source: ByteSource;
  readonly path: string;
  readonly errors: ErrorRecord[];
  /** Arrays of types that are not read. */
  readonly passedOver: Extent[];
  tokens: number;
}

async function readMap(state: State, into: Tree, count: number, name: string, depth: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const key = await readValue(state, name, depth);
    if (typeof key !== 'string' && typeof key !== 'number')
      throw malformed(state.path, `a key under "${name}" is not text`);
    const text = String(key);
    if (into.has(text)) throw ambiguous(`the key "${text}" is twice under "${name}"`, { path: state.path });
    const full = name === '' ? text : `${name}/${text}`;
    await readValue(state, full, depth, (value) => into.set(text, value));
  }
}

/** Reads a value; maps are handed to `keep` before they are filled, so that a cut file keeps what came before. */
async function readValue(
  state: State,
  name: string,
  depth: number,
  keep: (value: Tree | FlaxArray | Scalar) => void = () => {},
): Promise<Tree | FlaxArray | Scalar> {
  const { path, reader } = state;
  for (const [what, found, limit] of [
    ['the depth of the maps', depth, MAX_DEPTH],
    ['the number of values', ++state.tokens, MAX_TOKENS],
  ] as const)
    if (found > limit) throw diagError('limit-exceeded', { what, found, limit, hint: '' }, { path });
  const token = await reader.next();
  if (token.kind === 'map' || token.kind === 'array') {
    const tree: Tree = new Map();
    keep(tree);
    if (token.kind === 'map') await readMap(state, tree, token.count, name, depth + 1);
    else
      for (let i = 0; i < token.count; i++)
        await readValue(state, `${name}/${i}`, depth + 1, (value) => tree.set(String(i), value));
    return tree;
  }
  let value: FlaxArray | Scalar = null;
  if (token.kind === 'value') value = token.value;
  else if (token.kind === 'extension') {
    const array = await readExtension(state, token.type, token.start, token.end, name);
    if (array === undefined) return null;
    value = array;
  } else if (token.end - token.start <= MAX_TEXT_BYTES)
    value = Buffer.from(await reader.read(token.start, token.end)).toString();
  keep(value);
  return value;
}

/** An array or a complex number; undefined, with an error noted, for a type that is not read. */
async function readExtension(
  state: State,
  type: number,
  start: number,
  end: number,
  name: string,
): Promise<FlaxArray | string | undefined> {
  const { path, source, errors, passedOver } = state;
  const wrong = (problem: string): DiagError => malformed(path, `"${name}" ${problem}`);
  if (type < 1 || type > 3) {
    passedOver.push({ start, end });
    errors.push(wrong(`has the extension type ${type}, which Flax does not write`).toRecord());
    return undefined;
  }
  const inner = msgpackReader(source, start, end);
  const outer = await inner.next();
  if (outer.kind !== 'array' || outer.count !== (type === 2 ? 2 : 3)) throw wrong('is no array');
  const numbers = async (count: number): Promise<number[]> => {
    const found: number[] = [];
    for (let i = 0; i < count; i++) {
      const token = await inner.next();
      if (token.kind !== 'value' || token.value === null) throw wrong('holds no number');
      found.push(Number(token.value));
    }
    return found;
  };
  if (type === 2) {
    const [real, imaginary] = await numbers(2);
    return `${real}${imaginary! < 0 ? '' : '+'}${imaginary}i`;
  }
  const axes = await inner.next();
  if (axes.kind !== 'array') throw wrong('has no shape');
  const shape = await numbers(axes.count);
  const typeName = await inner.next();
  const data = await inner.next();
  if (
    (typeName.kind !== 'text' && typeName.kind !== 'bytes') ||
    (data.kind !== 'bytes' && data.kind !== 'text')
  )
    throw wrong('has no type or no bytes');
  if (typeName.end - typeName.start > 64) throw wrong('has a type name that is not a name');
  const dtypeName = Buffer.from(await inner.read(typeName.start, typeName.end)).toString();
  const dtype = DTYPES_BY_NAME.get(dtypeName);
  if (dtype === undefined) {
    passedOver.push({ start, end });
    errors.push(unsupportedDtype(name, dtypeName, path).toRecord());
    return undefined;
  }
  const bytes = elementsOf(shape, path, name, FORMAT) * DTYPE_BYTES[dtype];
  if (data.end - data.start !== bytes || data.end !== end)
    throw wrong(`(${dtype}, ${shape.join('×')}) needs ${bytes} bytes and has ${data.end - data.start}`);
  return { dtype, shape, start: data.start, end: data.end };
}

const isTree = (value: unknown): value is Tree => value instanceof Map;

function flatten(
  tree: Tree,
  prefix: string,
  path: string,
  arrays: Map<string, { array: Omit<FlaxArray, 'start' | 'end'>; parts: readonly FlaxArray[] }>,
  metadata: Map<string, string | number | boolean | null>,
): void {
  for (const [key, value] of tree) {
    const name = prefix === '' ? key : `${prefix}/${key}`;
    const add = (array: Omit<FlaxArray, 'start' | 'end'>, parts: readonly FlaxArray[]): void => {
      // Keys may hold the separator themselves.
      if (arrays.has(name)) throw ambiguous(`two arrays have the name "${name}"`, { path });
      arrays.set(name, { array, parts });
    };
    if (isTree(value)) {
      if (value.has(CHUNKED)) add(...joinChunks(value, name, path));
      else flatten(value, name, path, arrays, metadata);
    } else if (typeof value === 'object' && value !== null) add(value, [value]);
    else metadata.set(name, typeof value === 'bigint' ? String(value) : value);
  }
}

function joinChunks(
  tree: Tree,
  name: string,
  path: string,
): [Omit<FlaxArray, 'start' | 'end'>, readonly FlaxArray[]] {
  const wrong = (problem: string): DiagError => malformed(path, `the chunked array "${name}" ${problem}`);
  const inOrder = (key: string): unknown[] => {
    const members = tree.get(key);
    if (!isTree(members)) throw wrong(`has no ${key}`);
    return Array.from({ length: members.size }, (_, i) => members.get(String(i)));
  };
  const shape = inOrder('shape').map(Number);
  const parts = inOrder('chunks') as FlaxArray[];
  const [first] = parts;
  if (first === undefined || parts.some((part) => part?.dtype !== first.dtype || part.dtype === undefined))
    throw wrong('has chunks that are no arrays of one type');
  const { dtype } = first;
  const stored = parts.reduce((sum, { start, end }) => sum + end - start, 0);
  if (elementsOf(shape, path, name, FORMAT) * DTYPE_BYTES[dtype] !== stored)
    throw wrong(`has ${stored} bytes in its chunks`);
  return [{ dtype, shape }, parts];
}
