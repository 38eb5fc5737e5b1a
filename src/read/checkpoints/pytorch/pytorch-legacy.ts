/**
 * PyTorch's first container (`torch.save` before 1.6): pickles one after another, then the storages.
 *
 * | content |
 * |---|
 * | pickle of the magic number 0x1950a86a20f9469cfc6c |
 * | pickle of the protocol version 1001 |
 * | pickle of a dict with `little_endian` |
 * | pickle of the object; persistent ids ('storage', type, key, location, elements, view) |
 * | pickle of the list of storage keys |
 * | for each key: i64 number of elements, then the elements |
 *
 * Source: torch/serialization.py, `_legacy_save` and `_legacy_load`.
 */

import { DiagError } from '../../../model/errors.ts';
import { type ByteSource, placeOf } from '../../bytes/source.ts';
import { bytePieces } from '../dtypes.ts';
import { ambiguous, malformed, truncated } from '../faults.ts';
import type { CheckpointFormat } from '../format.ts';
import { checkLimit } from '../limit.ts';
import { isNode, type PickleNode, type PickleValue, readPickle } from './pickle.ts';
import {
  type StorageReference,
  storageElementBytes,
  TORCH_GLOBALS,
  type TorchObjects,
  torchObjects,
} from './pytorch-objects.ts';
import { MAX_PICKLE_BYTES, torchCheckpoint } from './pytorch-zip.ts';
import type { Storage } from './strided.ts';

/** LONG1 of ten bytes, the magic number. */
const MAGIC = Buffer.from('8a0a6cfc9c46f9206aa85019', 'hex');
const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;

/** Whether a file begins with the pickle of the magic number; a frame may come before it. */
export function looksLikeTorchLegacy(head: Uint8Array): boolean {
  const at = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, 32)).indexOf(MAGIC);
  return head[0] === 0x80 && at >= 2 && at <= 11;
}

export const pytorchLegacy: CheckpointFormat = {
  id: 'pytorch-legacy',
  title: 'PyTorch (legacy container)',
  sniff: looksLikeTorchLegacy,
  open: async (source) => torchCheckpoint(source, pytorchLegacy.id, [await readTorchLegacy(source, '')]),
};

/** Reads the pickles and the lengths of the storages; `prefix` precedes every name. */
export async function readTorchLegacy(source: ByteSource, prefix: string): Promise<TorchObjects> {
  const { path, byteLength } = source;
  const broken = (problem: string): DiagError => malformed('PyTorch legacy', problem, { path });
  const next = pickleSequence(source);
  if ((await next()) !== MAGIC_NUMBER) throw broken('its magic number is another');
  const protocol = await next();
  if (protocol !== PROTOCOL) throw broken(`its protocol is ${String(protocol)}, not ${PROTOCOL}`);
  const system = await next();
  const little = isNode(system, 'dict')
    ? system.entries.find(([key]) => key === 'little_endian')?.[1]
    : undefined;
  if (typeof little !== 'boolean') throw broken('it does not tell its byte order');
  const root = await next();
  const keyList = await next();
  if (
    !isNode(keyList, 'list') ||
    !keyList.items.every((key) => typeof key === 'string' || typeof key === 'number')
  )
    throw broken('it has no list of storages');
  const keys = keyList.items.map(String);
  if (new Set(keys).size !== keys.length) throw ambiguous('the list of storages names one twice', { path });

  const types = storageTypes(root, path);
  const storages = new Map<string, { start: number; elements: number; size: number }>();
  let at = next.position();
  for (const key of keys) {
    const size = types.get(key);
    if (size === undefined) throw broken(`no tensor gives the type of the storage "${key}"`);
    if (at + 8 > byteLength)
      throw truncated(`the length of the storage "${key}"`, at + 8, byteLength, { path });
    const length = await source.slice(at, at + 8);
    const elements = Number(new DataView(length.buffer, length.byteOffset).getBigInt64(0, little));
    if (!(elements >= 0 && elements * size <= byteLength))
      throw truncated(`the storage "${key}"`, at + 8 + elements * size, byteLength, { path, byteOffset: at });
    storages.set(key, { start: at + 8, elements, size });
    at += 8 + elements * size;
  }
  if (at > byteLength) throw truncated('its last storage', at, byteLength, { path });
  if (at < byteLength) throw broken(`${byteLength - at} bytes follow the last storage`);

  const storageOf = ({ key, elements }: StorageReference): Storage => {
    const storage = storages.get(key);
    if (storage === undefined) throw broken(`the storage "${key}" is missing`);
    if (storage.elements !== elements)
      throw broken(`the storage "${key}" should have ${elements} elements and has ${storage.elements}`);
    const { start, size } = storage;
    return {
      byteLength: elements * size,
      pieces: (from, to) => bytePieces(source, start + from, start + to),
      place: (from, to) => placeOf(source, start + from, start + to),
    };
  };
  const passedOver = [...storages.values()].map(({ start, elements, size }) =>
    placeOf(source, start, start + elements * size),
  );
  return { ...torchObjects(root, storageOf, path, !little, prefix), passedOver };
}

/** Reads one pickle after another; how long one is shows only when it has been read. */
function pickleSequence(source: ByteSource): (() => Promise<PickleValue>) & { position: () => number } {
  const { path, byteLength } = source;
  let at = 0;
  let start = 0;
  let bytes = new Uint8Array(0);
  const next = async (): Promise<PickleValue> => {
    for (let wanted = 64 * 1024; ; wanted *= 4) {
      try {
        const { value, length } = readPickle(bytes.subarray(at - start), TORCH_GLOBALS, path, at);
        at += length;
        return value;
      } catch (error) {
        const cut = error instanceof DiagError && error.code === 'checkpoint-truncated';
        if (!cut || start + bytes.length >= byteLength) throw error;
        if (bytes.length - (at - start) > MAX_PICKLE_BYTES)
          checkLimit('a pickle in bytes', bytes.length, MAX_PICKLE_BYTES, { path });
        bytes = new Uint8Array(await source.slice(at, Math.min(at + wanted, byteLength)));
        start = at;
      }
    }
  };
  return Object.assign(next, { position: () => at });
}

/** Bytes of an element of each storage that the object names. */
function storageTypes(root: PickleValue, path: string): ReadonlyMap<string, number> {
  const sizes = new Map<string, number>();
  const seen = new Set<PickleValue>();
  const waiting: PickleValue[] = [root];
  while (waiting.length > 0) {
    const value = waiting.pop()!;
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array || seen.has(value))
      continue;
    seen.add(value);
    for (const inner of valuesIn(value)) waiting.push(inner);
    if (!isNode(value, 'persistent') || !isNode(value.id, 'tuple')) continue;
    const [, type, key] = value.id.items;
    if (!isNode(type, 'global') || (typeof key !== 'string' && typeof key !== 'number')) continue;
    const size = storageElementBytes(type.name);
    // A storage that two tensors take for different types would lie at two places.
    if ((sizes.get(String(key)) ?? size) !== size)
      throw ambiguous(`the storage "${key}" has two types`, { path });
    sizes.set(String(key), size);
  }
  return sizes;
}

/** The values that a node holds; an id is no value. */
function valuesIn(node: PickleNode): readonly PickleValue[] {
  if (isNode(node, 'dict')) return node.entries.flat();
  if (isNode(node, 'call')) return [...node.args, node.state ?? null];
  return 'items' in node ? node.items : [];
}
