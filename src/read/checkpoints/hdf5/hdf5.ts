/**
 * HDF5 files as h5py writes them, read lazily: groups, links, attributes and where the data of each array lies.
 *
 * | structure | signature | read for |
 * |---|---|---|
 * | superblock 0, 1 / 2, 3 | 89 `HDF` 0d 0a 1a 0a | the address of the root group |
 * | object header 1 / 2 | version byte 1 / `OHDR`, `OCHK` | messages: what an object is |
 * | group: B-tree 1, leaf, names | `TREE`, `SNOD`, `HEAP` | links of a group (superblocks 0 and 1) |
 * | link messages | | links of a small group (superblocks 2 and 3) |
 * | global heap | `GCOL` | texts of variable length in attributes |
 *
 * Every object is visited once, and all structures together may not need more reading than the file has bytes, so
 * that blocks that point at themselves end. Nothing outside the file is ever opened. Why not the C library: see
 * docs/adr/0004-hdf5.md. Source: HDF5 File Format Specification 3.0.
 */

import { DiagError, diagError, type ErrorRecord } from '../../../model/errors.ts';
import { hex } from '../../bytes/hex.ts';
import { lookup3 } from '../../bytes/lookup3.ts';
import { type ByteReader, byteReader } from '../../bytes/reader.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { ambiguous, malformed as malformedAs } from '../faults.ts';
import { type Datatype, parseDatatype } from './hdf5-types.ts';

const FORMAT = 'HDF5';
export const HDF5_SIGNATURE = Uint8Array.of(0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a);
/** Groups in groups. */
const MAX_DEPTH = 100;
const MAX_OBJECTS = 1_000_000;
/** No structure of a file is longer, and none is allocated before its bytes are known to be there. */
const MAX_STRUCTURE_BYTES = 64 * 1024 * 1024;

/** Reads structures, and counts what was read, so that no walk is longer than the file. */
export interface Hdf5Reader {
  readonly path: string;
  readonly source: ByteSource;
  /** @throws checkpoint-truncated, limit-exceeded */
  block(address: number, length: number, what: string): Promise<ByteReader>;
}

export interface Hdf5Message {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export type AttributeValue = string | number | bigint | boolean | readonly string[];

export interface Hdf5Object {
  /** `layers/dense/vars/0`; empty for the root. */
  readonly name: string;
  /** Of its file. */
  readonly reader: Hdf5Reader;
  /** Of its header: later objects lie further on, as the file was written. */
  readonly address: number;
  readonly isDataset: boolean;
  readonly messages: readonly Hdf5Message[];
}

export interface Hdf5File {
  readonly reader: Hdf5Reader;
  /** In the order of names, groups before their members. */
  readonly objects: readonly Hdf5Object[];
  readonly errors: readonly ErrorRecord[];
}

export const MESSAGE = {
  dataspace: 0x01,
  linkInfo: 0x02,
  datatype: 0x03,
  fill: 0x05,
  link: 0x06,
  externalFiles: 0x07,
  layout: 0x08,
  filters: 0x0b,
  attribute: 0x0c,
  continuation: 0x10,
  symbolTable: 0x11,
  attributeInfo: 0x15,
} as const;

export const malformedHdf5 = (path: string, problem: string, byteOffset?: number): DiagError =>
  malformedAs(FORMAT, problem, byteOffset === undefined ? { path } : { path, byteOffset });

/** An address or a length of 8 bytes; undefined for "nowhere", all ones. */
export function readAddress(reader: ByteReader): number | undefined {
  const bytes = reader.bytes(8);
  let nowhere = true;
  let value = 0;
  for (let i = 7; i >= 0; i--) {
    if (bytes[i] !== 0xff) nowhere = false;
    value = value * 256 + bytes[i]!;
  }
  // Beyond 2^53 no file reaches: the check against its length refuses the rounded number as well.
  return nowhere ? undefined : value;
}

/** An unsigned little-endian number of 1, 2, 4 or 8 bytes. */
export function readUnsigned(reader: ByteReader, width: number): number {
  const bytes = reader.bytes(width);
  let value = 0;
  for (let i = width - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
  return value;
}

export function hdf5Reader(source: ByteSource): Hdf5Reader {
  const { path, byteLength } = source;
  // Honest files have every structure read about once.
  const budget = 2 * byteLength + 65536;
  let used = 0;
  return {
    path,
    source,
    block: async (address, length, what) => {
      if (!(length <= MAX_STRUCTURE_BYTES))
        throw diagError(
          'limit-exceeded',
          { what: `${what} in bytes`, found: length, limit: MAX_STRUCTURE_BYTES, hint: '' },
          { path },
        );
      if (!(address + length <= byteLength))
        throw diagError(
          'checkpoint-truncated',
          { what, end: address + length, bytes: byteLength },
          { path, byteOffset: address },
        );
      used += length;
      if (used > budget)
        throw malformedHdf5(path, 'its structures point at each other in circles or overlap', address);
      return byteReader(await source.slice(address, address + length), path, what, address);
    },
  };
}

/**
 * Reads the structure of a file: every group and data set, none of the data.
 *
 * Objects that are damaged are left out and named in `errors`; soft links are left out, external links are errors.
 *
 * @throws checkpoint-malformed, checkpoint-truncated, hdf5-unsupported, limit-exceeded if the root cannot be read
 */
export async function openHdf5(source: ByteSource): Promise<Hdf5File> {
  const reader = hdf5Reader(source);
  const { path } = source;
  const errors: ErrorRecord[] = [];
  const objects: Hdf5Object[] = [];
  const seen = new Map<number, Hdf5Object | undefined>();

  const visit = async (name: string, address: number, depth: number): Promise<void> => {
    if (seen.has(address)) {
      const known = seen.get(address);
      // A data set may have two names; a group that has lies in itself or doubles what it holds.
      if (known?.isDataset) objects.push({ ...known, name });
      else
        errors.push(malformedHdf5(path, `the group "${name}" has another name already`, address).toRecord());
      return;
    }
    seen.set(address, undefined);
    if (depth > MAX_DEPTH || seen.size > MAX_OBJECTS)
      throw diagError(
        'limit-exceeded',
        depth > MAX_DEPTH
          ? { what: 'the depth of groups', found: depth, limit: MAX_DEPTH, hint: '' }
          : { what: 'the number of objects', found: seen.size, limit: MAX_OBJECTS, hint: '' },
        { path },
      );
    const messages = await readObjectHeader(reader, address);
    const isDataset = messages.some(({ type }) => type === MESSAGE.layout);
    const object = { name, reader, address, isDataset, messages };
    seen.set(address, object);
    objects.push(object);
    if (isDataset) return;
    const links = await readLinks(reader, messages, name, errors);
    links.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    for (const [index, link] of links.entries()) {
      const full = name === '' ? link.name : `${name}/${link.name}`;
      if (link.name === links[index - 1]?.name) throw ambiguous(`"${full}" is there twice`, { path });
      try {
        await visit(full, link.address, depth + 1);
      } catch (error) {
        if (!(error instanceof DiagError) || error.code === 'limit-exceeded') throw error;
        errors.push(error.toRecord());
      }
    }
  };
  await visit('', await rootAddress(reader, errors), 0);
  return { reader, objects, errors };
}

async function rootAddress(reader: Hdf5Reader, errors: ErrorRecord[]): Promise<number> {
  const { path } = reader;
  const block = await reader.block(0, Math.min(96, reader.source.byteLength), 'the superblock');
  const signature = block.bytes(8);
  if (Buffer.compare(signature, HDF5_SIGNATURE) !== 0) throw malformedHdf5(path, 'it has no signature', 0);
  const version = block.u8();
  if (version > 3) throw unsupported(path, 'the file', `superblock version ${version}`);
  if (version < 2) block.bytes(4);
  const widths = [block.u8(), block.u8()];
  if (widths[0] !== 8 || widths[1] !== 8)
    throw unsupported(path, 'the file', `addresses of ${widths.join(' and ')} bytes`);
  block.bytes(version < 2 ? 9 + (version === 1 ? 4 : 0) : 1);
  const base = readAddress(block);
  if (base !== 0) throw unsupported(path, 'the file', 'a user block');
  block.bytes(8);
  const end = readAddress(block) ?? Number.NaN;
  block.bytes(version < 2 ? 16 : 0);
  const root = readAddress(block);
  if (root === undefined) throw malformedHdf5(path, 'it has no root group', 0);
  if (!(end <= reader.source.byteLength))
    errors.push(
      diagError(
        'checkpoint-truncated',
        { what: 'the file', end, bytes: reader.source.byteLength },
        { path },
      ).toRecord(),
    );
  if (version >= 2) await checkedBlock(reader, 0, 48, 'the superblock');
  return root;
}

export const unsupported = (path: string, name: string, feature: string): DiagError =>
  diagError('hdf5-unsupported', { name, feature }, { path, tensor: name });

/** A structure of version 2 without its last four bytes, which are its checksum. */
async function checkedBlock(
  reader: Hdf5Reader,
  address: number,
  length: number,
  what: string,
): Promise<ByteReader> {
  const block = await reader.block(address, length, what);
  const [content, expected] = [block.bytes(length - 4), block.u32()];
  const found = lookup3(content);
  if (found !== expected) {
    throw diagError(
      'checksum-mismatch',
      { what, found: hex(found), expected: hex(expected) },
      { path: reader.path, byteOffset: address },
    );
  }
  return byteReader(content, reader.path, what, address);
}

/** The messages of an object, those of its continuation blocks included. */
async function readObjectHeader(reader: Hdf5Reader, address: number): Promise<Hdf5Message[]> {
  const { path } = reader;
  const what = `the object header at byte ${address}`;
  const first = await reader.block(address, 16, what);
  const version = first.u8();
  const messages: Hdf5Message[] = [];
  const visited = new Set<number>([address]);
  const pending: { address: number; length: number }[] = [];
  const take = (type: number, flags: number, bytes: Uint8Array): void => {
    if (type === MESSAGE.continuation) {
      const where = byteReader(bytes, path, 'a continuation message');
      const next = { address: readAddress(where) ?? Number.NaN, length: readAddress(where) ?? Number.NaN };
      if (visited.has(next.address)) throw malformedHdf5(path, `${what} continues in itself`, address);
      visited.add(next.address);
      pending.push(next);
    } else if (type !== 0) {
      // A shared message holds the address of the real one: a committed type, which Keras never writes.
      if (flags & 2 && (type === MESSAGE.datatype || type === MESSAGE.dataspace))
        throw unsupported(path, `the object at byte ${address}`, 'a committed data type');
      if (!(flags & 2)) messages.push({ type, bytes });
    }
  };

  if (version === 1) {
    first.bytes(7);
    pending.push({ address: address + 16, length: first.u32() });
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
      const block = await reader.block(next.address, next.length, what);
      while (block.remaining >= 8) {
        const [type, size, flags] = [block.u16(), block.u16(), block.u8()];
        block.bytes(3);
        take(type, flags, block.bytes(size));
      }
    }
    return messages;
  }

  first.position = 0;
  if (Buffer.from(first.bytes(4)).toString('latin1') !== 'OHDR' || first.u8() !== 2)
    throw malformedHdf5(path, `no object lies at byte ${address}`, address);
  const flags = first.u8();
  const prefix = 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
  const sizeBytes = 1 << (flags & 3);
  const sizeBlock = await reader.block(address + prefix, sizeBytes, what);
  const size = readUnsigned(sizeBlock, sizeBytes);
  const readMessages = (block: ByteReader): void => {
    // Fewer bytes than a message's head are a gap.
    while (block.remaining >= (flags & 4 ? 6 : 4)) {
      const [type, length, messageFlags] = [block.u8(), block.u16(), block.u8()];
      if (flags & 4) block.bytes(2);
      take(type, messageFlags, block.bytes(length));
    }
  };
  const block = await checkedBlock(reader, address, prefix + sizeBytes + size + 4, what);
  block.bytes(prefix + sizeBytes);
  readMessages(block);
  for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
    if (!(next.length >= 8)) throw malformedHdf5(path, `${what} continues in no bytes`, next.address);
    const more = await checkedBlock(reader, next.address, next.length, what);
    expectSignature(more, 'OCHK', path, next.address);
    readMessages(more);
  }
  return messages;
}

interface Link {
  readonly name: string;
  readonly address: number;
}

async function readLinks(
  reader: Hdf5Reader,
  messages: readonly Hdf5Message[],
  group: string,
  errors: ErrorRecord[],
): Promise<Link[]> {
  const { path } = reader;
  const links: Link[] = [];
  const label = group === '' ? 'the root group' : group;
  for (const { type, bytes } of messages) {
    const block = byteReader(bytes, path, `a message of ${label}`);
    if (type === MESSAGE.symbolTable) {
      const [tree, heap] = [readAddress(block), readAddress(block)];
      if (tree === undefined || heap === undefined) continue;
      await readSymbolTable(reader, tree, heap, label, links, errors);
    } else if (type === MESSAGE.link) {
      const link = parseLink(block, path, label, errors);
      if (link !== undefined) links.push(link);
    } else if (type === MESSAGE.linkInfo) {
      block.bytes(1);
      if (block.u8() & 1) block.bytes(8);
      if (readAddress(block) !== undefined)
        throw unsupported(path, label, 'dense link storage (libver="latest" with more than 8 members)');
    }
  }
  return links;
}

function parseLink(block: ByteReader, path: string, group: string, errors: ErrorRecord[]): Link | undefined {
  block.bytes(1);
  const flags = block.u8();
  const type = flags & 8 ? block.u8() : 0;
  if (flags & 4) block.bytes(8);
  if (flags & 0x10) block.bytes(1);
  const name = textOfBytes(block.bytes(readUnsigned(block, 1 << (flags & 3))));
  if (type === 0) {
    const address = readAddress(block);
    if (address === undefined) throw malformedHdf5(path, `"${name}" of ${group} points nowhere`);
    return { name, address };
  }
  const target = textOfBytes(block.bytes(block.u16())).replaceAll('\0', ' ').trim();
  errors.push(
    (type === 64
      ? diagError('hdf5-external', { name, target }, { path })
      : unsupported(path, name, `a soft link to ${target}`)
    ).toRecord(),
  );
  return undefined;
}

async function readSymbolTable(
  reader: Hdf5Reader,
  treeAddress: number,
  heapAddress: number,
  group: string,
  links: Link[],
  errors: ErrorRecord[],
): Promise<void> {
  const { path } = reader;
  const heap = await reader.block(heapAddress, 32, `the names of ${group}`);
  expectSignature(heap, 'HEAP', path, heapAddress);
  heap.bytes(4);
  const size = readAddress(heap) ?? Number.NaN;
  heap.bytes(8);
  const names = await reader.block(readAddress(heap) ?? Number.NaN, size, `the names of ${group}`);
  const nameBytes = names.bytes(size);
  const nameAt = (offset: number): string => {
    const end = nameBytes.indexOf(0, offset);
    if (!(offset < size) || end < 0) throw malformedHdf5(path, `a name of ${group} lies outside its heap`);
    return textOfBytes(nameBytes.subarray(offset, end));
  };
  for (const { child } of await treeLeaves(reader, treeAddress, 0, 8, `the members of ${group}`)) {
    const head = await reader.block(child, 8, `the members of ${group}`);
    expectSignature(head, 'SNOD', path, child);
    head.bytes(2);
    const count = head.u16();
    const entries = await reader.block(child + 8, count * 40, `the members of ${group}`);
    for (let i = 0; i < count; i++) {
      const name = nameAt(readAddress(entries) ?? Number.NaN);
      const address = readAddress(entries);
      const cache = entries.u32();
      entries.bytes(4);
      const scratch = entries.bytes(16);
      if (cache === 2) {
        const target = nameAt(new DataView(scratch.buffer, scratch.byteOffset).getUint32(0, true));
        errors.push(unsupported(path, name, `a soft link to ${target}`).toRecord());
      } else if (address === undefined) throw malformedHdf5(path, `"${name}" of ${group} points nowhere`);
      else links.push({ name, address });
    }
  }
}

/**
 * The entries of the leaves of a version-1 B-tree, in order.
 *
 * | bytes | content |
 * |---|---|
 * | 4, 1, 1, 2 | `TREE`, type, level (0 for a leaf), number of children |
 * | 8, 8 | siblings, not used |
 * | … | key, child, key, child, …, key |
 *
 * @param type 0 for groups, 1 for chunks
 */
export async function treeLeaves(
  reader: Hdf5Reader,
  root: number,
  type: 0 | 1,
  keyBytes: number,
  what: string,
): Promise<{ key: Uint8Array; child: number }[]> {
  const { path } = reader;
  const leaves: { key: Uint8Array; child: number }[] = [];
  const seen = new Set<number>();
  const walk = async (address: number, parentLevel: number): Promise<void> => {
    if (seen.has(address)) throw malformedHdf5(path, `the tree of ${what} holds itself`, address);
    seen.add(address);
    const head = await reader.block(address, 24, what);
    expectSignature(head, 'TREE', path, address);
    const [foundType, level, count] = [head.u8(), head.u8(), head.u16()];
    if (foundType !== type || !(level < parentLevel))
      throw malformedHdf5(path, `the tree of ${what} has a wrong node`, address);
    const block = await reader.block(address + 24, count * (keyBytes + 8), what);
    for (let i = 0; i < count; i++) {
      const key = block.bytes(keyBytes);
      const child = readAddress(block) ?? Number.NaN;
      if (level === 0) leaves.push({ key, child });
      else await walk(child, level);
    }
  };
  await walk(root, 256);
  return leaves;
}

function expectSignature(block: ByteReader, signature: string, path: string, address: number): void {
  if (Buffer.from(block.bytes(4)).toString('latin1') !== signature)
    throw malformedHdf5(path, `no ${signature} block lies at byte ${address}`, address);
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const textOfBytes = (bytes: Uint8Array): string => utf8.decode(bytes);

/** Sizes along the axes; undefined for a null space, which holds nothing. */
export function parseDataspace(bytes: Uint8Array, path: string): number[] | undefined {
  const block = byteReader(bytes, path, 'a dataspace');
  const [version, rank] = [block.u8(), block.u8()];
  block.bytes(1);
  const kind = block.u8();
  if (version === 1) block.bytes(4);
  else if (version !== 2) throw unsupported(path, 'the file', `dataspace version ${version}`);
  if (version === 2 && kind === 2) return undefined;
  return Array.from({ length: rank }, () => block.u64());
}

/**
 * An attribute of an object: a text, a number, a row of texts; undefined where there is none or it is of another kind.
 */
export async function readAttribute(object: Hdf5Object, name: string): Promise<AttributeValue | undefined> {
  const { reader, messages } = object;
  const { path } = reader;
  for (const message of messages) {
    if (message.type !== MESSAGE.attribute) continue;
    const block = byteReader(message.bytes, path, `an attribute of "${object.name}"`);
    const version = block.u8();
    const flags = block.u8();
    const [nameSize, typeSize, spaceSize] = [block.u16(), block.u16(), block.u16()];
    if (version === 3) block.bytes(1);
    const padded = (size: number): Uint8Array =>
      block.bytes(version === 1 ? Math.ceil(size / 8) * 8 : size).subarray(0, size);
    const found = textOfBytes(padded(nameSize)).replace(/\0.*$/s, '');
    if (found !== name || (version > 1 && flags !== 0)) continue;
    const type = parseDatatype(padded(typeSize), path);
    const shape = parseDataspace(padded(spaceSize), path);
    return shape === undefined ? undefined : attributeValue(reader, type, shape, block);
  }
  return undefined;
}

async function attributeValue(
  reader: Hdf5Reader,
  type: Datatype,
  shape: readonly number[],
  block: ByteReader,
): Promise<AttributeValue | undefined> {
  const count = shape.reduce((product, n) => product * n, 1);
  if (!(count * type.size <= block.remaining)) return undefined;
  if (type.kind === 'string' || type.kind === 'variable-string') {
    const texts: string[] = [];
    for (let i = 0; i < count; i++) {
      const bytes = type.kind === 'string' ? block.bytes(type.size) : await globalHeapObject(reader, block);
      // Fixed texts are padded with zeros or spaces.
      texts.push(textOfBytes(bytes).replace(/\0.*$/s, ''));
    }
    return shape.length === 0 ? texts[0] : texts;
  }
  if (shape.length > 0 || type.kind !== 'number') return undefined;
  const bytes = block.bytes(type.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = !type.bigEndian;
  switch (type.dtype) {
    case 'I64':
      return view.getBigInt64(0, little);
    case 'I32':
      return view.getInt32(0, little);
    case 'F32':
      return view.getFloat32(0, little);
    case 'F64':
      return view.getFloat64(0, little);
    case 'BOOL':
      return view.getUint8(0) !== 0;
    default:
      return undefined;
  }
}

/** Bytes of variable length: u32 length, address of a collection (`GCOL`), u32 index of the object in it. */
async function globalHeapObject(reader: Hdf5Reader, block: ByteReader): Promise<Uint8Array> {
  const { path } = reader;
  const [length, address, wanted] = [block.u32(), readAddress(block), block.u32()];
  if (length === 0 || address === undefined || address === 0) return new Uint8Array(0);
  const head = await reader.block(address, 16, 'a global heap');
  expectSignature(head, 'GCOL', path, address);
  head.bytes(4);
  const end = address + (readAddress(head) ?? Number.NaN);
  for (let at = address + 16; at + 16 <= end; ) {
    const entry = await reader.block(at, 16, 'a global heap');
    const index = entry.u16();
    entry.bytes(6);
    const size = readAddress(entry) ?? Number.NaN;
    if (index === 0) break;
    if (index === wanted)
      return (await reader.block(at + 16, Math.min(size, length), 'a text')).bytes(Math.min(size, length));
    at += 16 + Math.ceil(size / 8) * 8;
    // NaN ends the loop.
  }
  throw malformedHdf5(path, `the text ${wanted} is not in the heap at byte ${address}`, address);
}
