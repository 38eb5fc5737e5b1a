/**
 * OCDBT, the B+ tree of TensorStore, in which Orbax keeps its arrays.
 *
 * | file | content |
 * |---|---|
 * | `manifest.ocdbt` | magic 0x0cdb3a2a, u64 length, version 0, compression; configuration; the newest versions of the tree |
 * | `d/<id>` and others that a table of files names | nodes (magic 0x0cdb20de) and values, at any offset |
 *
 * Manifest and nodes end with the CRC-32C of what is before it; their bodies may be compressed with zstd. Values have no
 * checksum of their own. Source: https://google.github.io/tensorstore/kvstore/ocdbt/, "Storage format".
 */

import { posix } from 'node:path';
import { type DiagError, diagError } from '../../../model/errors.ts';
import { crc32c } from '../../bytes/crc32c.ts';
import { hex } from '../../bytes/hex.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { ambiguous, malformed as malformedAs, truncated } from '../faults.ts';
import { checkLimit } from '../limit.ts';
import { inflateZstd } from './codecs.ts';
import { MAX_KEYS, openFiles } from './folder-store.ts';
import type { KeyStore, StoredValue } from './store.ts';

const MANIFEST_MAGIC = 0x0cdb3a2a;
const NODE_MAGIC = 0x0cdb20de;
const FORMAT = 'OCDBT';
export const MANIFEST = 'manifest.ocdbt';
/** TensorStore writes nodes of 8 MB at most. */
const MAX_NODE_BYTES = 64 * 1024 * 1024;
const MAX_HEIGHT = 32;
/** Bytes of all nodes that one tree may make us read: each node of an honest tree is read once. */
const MAX_TREE_BYTES = 1024 * 1024 * 1024;

const malformed = (path: string, problem: string): DiagError => malformedAs(FORMAT, problem, { path });

interface Place {
  readonly file: string;
  /** What the paths of files in the node there begin with. */
  readonly base: string;
  readonly offset: number;
  readonly length: number;
}

interface Walk {
  readonly store: Pick<KeyStore, 'open'>;
  readonly path: string;
  readonly values: Map<string, StoredValue>;
  readonly files: Map<string, number>;
  bytes: number;
}

/**
 * Reads the newest version of a tree.
 *
 * @param manifest which stays open; files are looked for in its folder and below it
 * @throws checkpoint-malformed, checkpoint-truncated, checksum-mismatch, format-unsupported, limit-exceeded, file-missing, path-leaves-folder
 */
export async function ocdbtStore(manifest: ByteSource): Promise<KeyStore> {
  const { path } = manifest;
  const opened = openFiles(path);
  const walk: Walk = {
    store: opened,
    path,
    values: new Map(),
    files: new Map([[MANIFEST, manifest.byteLength]]),
    bytes: 0,
  };
  try {
    const root = await newestRoot(manifest);
    if (root !== undefined) await readNode(walk, root.place, root.height, '');
  } catch (error) {
    await opened.close();
    throw error;
  }
  return { values: walk.values, files: walk.files, ...opened };
}

async function newestRoot(manifest: ByteSource): Promise<{ place: Place; height: number } | undefined> {
  const { path, byteLength } = manifest;
  const body = await unwrapped(manifest, 0, byteLength, MANIFEST_MAGIC, path);
  // Id.
  body.skip(16);
  // Versions in files of their own, `manifest.<number>`, which Orbax does not ask for.
  if (body.varint() !== 0)
    throw diagError(
      'format-unsupported',
      { path, format: 'OCDBT with numbered manifests', instead: 'save the checkpoint with Orbax as it is' },
      { path },
    );
  // The largest value that is kept in a node, the largest node, arity.
  body.varint();
  body.varint();
  body.byte();
  if (body.varint() === 1) body.skip(4);
  const table = fileTable(body, '');
  const count = body.count();
  const column = (): number[] => body.column(count);
  column();
  const heights = Array.from({ length: count }, () => body.byte());
  const [ids, offsets, lengths] = [column(), column(), column()];
  if (count === 0) return undefined;
  const last = count - 1;
  // Offset and length are all ones where the tree holds nothing.
  if (lengths[last]! > Number.MAX_SAFE_INTEGER) return undefined;
  return { place: placeIn(table, ids[last]!, offsets[last]!, lengths[last]!, path), height: heights[last]! };
}

async function readNode(walk: Walk, place: Place, height: number, prefix: string): Promise<void> {
  const { path } = walk;
  checkLimit('the height of the tree', height, MAX_HEIGHT, { path });
  walk.bytes += place.length;
  checkLimit('the nodes of the tree in bytes', walk.bytes, MAX_TREE_BYTES, { path });
  const source = await openCounted(walk, place.file);
  const body = await unwrapped(source, place.offset, place.length, NODE_MAGIC, path);
  const found = body.byte();
  if (found !== height) throw malformed(path, `a node of height ${found} is at the place of ${height}`);
  const table = fileTable(body, place.base);
  const entries = body.count();
  if (height > 0) await readChildren(walk, body, table, entries, { height, prefix });
  else await readLeaf(walk, body, table, entries, prefix);
}

async function readChildren(
  walk: Walk,
  body: Body,
  table: readonly TableFile[],
  entries: number,
  { height, prefix }: { height: number; prefix: string },
): Promise<void> {
  const shared = [0, ...body.column(Math.max(0, entries - 1))];
  const added = body.column(entries);
  const common = body.column(entries);
  const keys = body.joined(shared, added);
  const [ids, offsets, lengths] = [body.column(entries), body.column(entries), body.column(entries)];
  for (let i = 0; i < entries; i++)
    await readNode(
      walk,
      placeIn(table, ids[i]!, offsets[i]!, lengths[i]!, walk.path),
      height - 1,
      prefix + keys[i]!.slice(0, common[i]),
    );
}

async function readLeaf(
  walk: Walk,
  body: Body,
  table: readonly TableFile[],
  entries: number,
  prefix: string,
): Promise<void> {
  const { path, values } = walk;
  const shared = [0, ...body.column(Math.max(0, entries - 1))];
  const added = body.column(entries);
  const keys = body.joined(shared, added);
  const lengths = body.column(entries);
  const kinds = body.column(entries);
  const indirect = kinds.filter((kind) => kind === 1).length;
  const [ids, offsets] = [body.column(indirect), body.column(indirect)];
  let next = 0;
  for (let i = 0; i < entries; i++) {
    const key = Buffer.from(prefix + keys[i]!, 'latin1').toString('utf8');
    if (values.has(key)) throw ambiguous(`the key "${key}" is there twice`, { path });
    checkLimit('the number of keys', values.size + 1, MAX_KEYS, { path });
    if (kinds[i] === 0) values.set(key, { bytes: body.bytes(lengths[i]!) });
    else if (kinds[i] === 1) {
      const { file, offset } = placeIn(table, ids[next]!, offsets[next]!, lengths[i]!, path);
      next++;
      await openCounted(walk, file).catch((error: DiagError) => {
        // The array that needs the file says so; the others can be read.
        if (error.code !== 'file-missing') throw error;
      });
      values.set(key, { file, start: offset, end: offset + lengths[i]! });
    } else throw malformed(path, `a value has the kind ${kinds[i]}`);
  }
}

async function openCounted(walk: Walk, file: string): Promise<ByteSource> {
  const source = await walk.store.open(file);
  walk.files.set(file, source.byteLength);
  return source;
}

/** Checks magic, length and checksum of a manifest or node, and opens its body. */
async function unwrapped(
  source: ByteSource,
  offset: number,
  length: number,
  magic: number,
  path: string,
): Promise<Body> {
  checkLimit('a node in bytes', length, MAX_NODE_BYTES, { path });
  if (offset + length > source.byteLength)
    throw truncated('a node', offset + length, source.byteLength, { path: source.path, byteOffset: offset });
  const bytes = Buffer.from(await source.slice(offset, offset + length));
  if (length < 18 || bytes.readUInt32BE(0) !== magic)
    throw malformed(source.path, `at byte ${offset} no ${magic === NODE_MAGIC ? 'node' : 'manifest'} begins`);
  if (bytes.readBigUInt64LE(4) !== BigInt(length))
    throw malformed(source.path, `the node at byte ${offset} says another length than ${length}`);
  const [found, expected] = [crc32c(bytes, 0, length - 4), bytes.readUInt32LE(length - 4)];
  if (found !== expected)
    throw diagError(
      'checksum-mismatch',
      { what: `the node at byte ${offset}`, found: hex(found), expected: hex(expected) },
      { path: source.path, byteOffset: offset },
    );
  const [version, compression] = [bytes[12]!, bytes[13]!];
  if (version !== 0 || compression > 1)
    throw diagError(
      'format-unsupported',
      {
        path,
        format: `OCDBT of version ${version} with compression ${compression}`,
        instead: 'save the checkpoint with use_ocdbt=False',
      },
      { path },
    );
  const body = bytes.subarray(14, length - 4);
  return bodyOf(compression === 1 ? await inflateZstd(body, MAX_NODE_BYTES, path) : body, path);
}

interface TableFile {
  readonly file: string;
  readonly base: string;
}

/** Paths share their beginnings with the path before them; what a path begins with is what those of child nodes begin with. */
function fileTable(body: Body, base: string): TableFile[] {
  const count = body.count();
  const shared = [0, ...body.column(Math.max(0, count - 1))];
  const added = body.column(count);
  const bases = body.column(count);
  return body.joined(shared, added).map((name, i) => {
    const text = Buffer.from(name, 'latin1').toString('utf8');
    return { file: posix.normalize(base + text), base: base + text.slice(0, bases[i]) };
  });
}

function placeIn(
  table: readonly TableFile[],
  id: number,
  offset: number,
  length: number,
  path: string,
): Place {
  const entry = table[id];
  if (entry === undefined) throw malformed(path, `there is no file ${id} in a table of ${table.length}`);
  if (!Number.isSafeInteger(offset + length)) throw malformed(path, `a value lies at byte ${offset}`);
  return { ...entry, offset, length };
}

type Body = ReturnType<typeof bodyOf>;

/** Numbers and texts one after another; ends with an error where the bytes do. Texts are bytes, as latin1. */
function bodyOf(content: Uint8Array, path: string) {
  let at = 0;
  const need = (length: number): number => {
    if (!(at + length <= content.length)) throw malformed(path, 'a node ends within its entries');
    at += length;
    return at - length;
  };
  const self = {
    byte: (): number => content[need(1)]!,
    skip: (length: number): void => void need(length),
    bytes: (length: number): Uint8Array => content.subarray(need(length), at),
    varint: (): number => {
      let value = 0;
      for (let i = 0; i < 10; i++) {
        const byte = self.byte();
        value += (byte & 0x7f) * 2 ** (7 * i);
        if (byte < 0x80) return value;
      }
      throw malformed(path, 'a number does not end');
    },
    /** How many entries follow, each of at least one byte. */
    count: (): number => {
      const count = self.varint();
      if (count > content.length - at) throw malformed(path, `${count} entries do not fit into a node`);
      return count;
    },
    column: (count: number): number[] => Array.from({ length: count }, self.varint),
    /** Texts that begin with the first `shared[i]` bytes of the one before them. */
    joined: (shared: readonly number[], added: readonly number[]): string[] => {
      let text = '';
      let total = 0;
      return added.map((length, i) => {
        if (shared[i]! > text.length) throw malformed(path, 'a name shares more than the one before it has');
        text = text.slice(0, shared[i]) + Buffer.from(self.bytes(length)).toString('latin1');
        total += text.length;
        // Names that grow by sharing: a small node could make gigabytes of them.
        if (total > MAX_NODE_BYTES) throw malformed(path, 'its names are longer than any tree has');
        return text;
      });
    },
  };
  return self;
}
