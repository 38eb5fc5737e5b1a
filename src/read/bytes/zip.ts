/**
 * zip archives, read strictly: anything that two readers could read differently is refused.
 *
 * | record | signature | read for |
 * |---|---|---|
 * | end of central directory, at the very end | `PK 5 6` | where the central directory lies, how many entries |
 * | zip64 end record and its locator, before it | `PK 6 6`, `PK 6 7` | the same beyond 4 GiB or 65,535 entries |
 * | central directory entry | `PK 1 2` | name, sizes, CRC-32, offset of the local header |
 * | local header, before the data of a member | `PK 3 4` | must say the same |
 * | data descriptor, after the data (flag bit 3) | `PK 7 8` or none | must say the same |
 *
 * Local headers, data and descriptors must follow one another from byte 0 to the central directory without a gap and
 * without overlap. Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
 */
import { Readable } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { type DiagError, diagError } from '../../model/errors.ts';
import { crc32 } from './crc32.ts';
import { hex } from './hex.ts';
import { type ByteReader, byteReader } from './reader.ts';
import { type ByteSource, bytesSource, type Extent, partOfSource, placeOf } from './source.ts';
import { windowedSource } from './windowed-source.ts';

export interface ZipMember {
  readonly name: string;
  /** Bytes after decompression. */
  readonly byteLength: number;
  readonly compressed: boolean;
  /** All bytes in pieces; the last comes before a wrong checksum is thrown. @throws checksum-mismatch */
  stream(): AsyncIterable<Uint8Array>;
  /** All bytes, checked. @throws limit-exceeded above `limit` bytes; checksum-mismatch */
  read(limit: number): Promise<Uint8Array>;
  /**
   * The member as a file of its own: a part of the archive, not read until asked for, where it is stored; inflated
   * into memory, at most 1 GiB, at the first slice where it is compressed.
   */
  source(): ByteSource;
  /** Where its bytes lie in the file of the archive, compressed as they are. */
  readonly extent: Extent;
}

const MAX_ENTRIES = 100_000;
const MAX_INFLATED_IN_MEMORY = 2 ** 30;
const PIECE = 4 * 1024 * 1024;
const END_BYTES = 22;
const LOCATOR_BYTES = 20;
const END64_BYTES = 56;
const LOCAL_BYTES = 30;
const ENCRYPTED = 1;
const HAS_DESCRIPTOR = 8;

interface Entry {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly packed: number;
  readonly size: number;
  readonly offset: number;
}

/** Whether the first bytes are those of a zip archive, also of an empty one. */
export const looksLikeZip = (head: Uint8Array): boolean =>
  head[0] === 0x50 &&
  head[1] === 0x4b &&
  ((head[2] === 3 && head[3] === 4) || (head[2] === 5 && head[3] === 6));

const opened = new WeakMap<ByteSource, Promise<ReadonlyMap<string, ZipMember>>>();

/**
 * Names that distinguish formats in zip archives: all of them, or in a damaged archive those whose local headers are in the
 * file's first bytes.
 */
export async function zipNames(head: Uint8Array, source: ByteSource): Promise<readonly string[]> {
  if (!looksLikeZip(head)) return [];
  try {
    return [...(await openZip(source)).keys()];
  } catch {
    const names: string[] = [];
    const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
    for (
      let at = 0;
      at >= 0 && at + LOCAL_BYTES <= bytes.length;
      at = bytes.indexOf('PK\x03\x04', at + 4, 'latin1')
    )
      names.push(bytes.toString('utf8', at + LOCAL_BYTES, at + LOCAL_BYTES + bytes.readUInt16LE(at + 26)));
    return names;
  }
}

/**
 * The members of an archive in the order of the central directory, folders left out. Reads the directory and the
 * local headers, none of the data; once for each source.
 *
 * @throws archive-cut, checkpoint-malformed, checkpoint-ambiguous, limit-exceeded
 */
export function openZip(source: ByteSource): Promise<ReadonlyMap<string, ZipMember>> {
  let members = opened.get(source);
  if (members === undefined) {
    members = readMembers(source);
    opened.set(source, members);
  }
  return members;
}

async function readMembers(source: ByteSource): Promise<ReadonlyMap<string, ZipMember>> {
  const { path } = source;
  const directory = await findDirectory(source);
  const reader = byteReader(
    await source.slice(directory.start, directory.end),
    path,
    'the central directory',
    directory.start,
  );
  const entries: Entry[] = [];
  const names = new Set<string>();
  for (let i = 0; i < directory.entries; i++) {
    const entry = readEntry(reader, path);
    if (names.has(entry.name)) throw ambiguous(path, `the archive holds "${entry.name}" twice`);
    names.add(entry.name);
    entries.push(entry);
  }
  if (reader.remaining > 0)
    throw malformed(path, `${reader.remaining} bytes follow the last directory entry`);
  const starts = await checkLocalHeaders(source, entries, directory.start);
  return new Map(
    entries
      .filter((entry) => !entry.name.endsWith('/'))
      .map((entry) => [entry.name, memberOf(source, entry, starts.get(entry)!)]),
  );
}

const malformed = (path: string, problem: string, byteOffset?: number): DiagError =>
  diagError(
    'checkpoint-malformed',
    { format: 'zip', problem },
    byteOffset === undefined ? { path } : { path, byteOffset },
  );

const ambiguous = (path: string, problem: string, byteOffset?: number): DiagError =>
  diagError('checkpoint-ambiguous', { problem }, byteOffset === undefined ? { path } : { path, byteOffset });

async function findDirectory(source: ByteSource): Promise<{ start: number; end: number; entries: number }> {
  const { path, byteLength } = source;
  const tailStart = Math.max(0, byteLength - END_BYTES - LOCATOR_BYTES - END64_BYTES);
  const tail = await source.slice(tailStart, byteLength);
  const endAt = tail.length - END_BYTES;
  const at = (offset: number, what: string): ByteReader =>
    byteReader(tail.subarray(offset), path, what, tailStart + offset);
  if (endAt < 0 || at(endAt, 'the end record').u32() !== 0x06054b50) {
    // A comment is legal but no framework writes one, and it is where a second end record would hide.
    const last = Buffer.from(await source.slice(Math.max(0, byteLength - END_BYTES - 0xffff), byteLength));
    if (endAt < 0 || last.lastIndexOf('PK\x05\x06', last.length - END_BYTES, 'latin1') < 0)
      throw diagError('archive-cut', { bytes: byteLength }, { path });
    throw ambiguous(path, 'bytes follow the end record of the archive');
  }
  const end = at(endAt + 4, 'the end record');
  const [disk, directoryDisk, entriesHere, entries] = [end.u16(), end.u16(), end.u16(), end.u16()];
  const [size, start, comment] = [end.u32(), end.u32(), end.u16()];
  if (comment !== 0) throw malformed(path, `its comment of ${comment} bytes is not there`);
  let directory = { start, size, entries };
  let directoryEnd = tailStart + endAt;
  const locatorAt = endAt - LOCATOR_BYTES;
  if (locatorAt >= 0 && at(locatorAt, 'the zip64 locator').u32() === 0x07064b50) {
    const recordAt = locatorAt - END64_BYTES;
    const locator = at(locatorAt + 4, 'the zip64 locator');
    const [recordDisk, recordOffset, disks] = [locator.u32(), locator.u64(), locator.u32()];
    if (recordDisk !== 0 || disks > 1 || recordAt < 0 || recordOffset !== tailStart + recordAt)
      throw malformed(path, 'its zip64 end record does not lie before the locator');
    const record = at(recordAt, 'the zip64 end record');
    if (record.u32() !== 0x06064b50 || record.u64() !== END64_BYTES - 12)
      throw malformed(path, 'its zip64 end record has another form');
    record.bytes(4);
    const [disk64, directoryDisk64] = [record.u32(), record.u32()];
    const wide = {
      entriesHere: record.u64(),
      entries: record.u64(),
      size: record.u64(),
      start: record.u64(),
    };
    const agrees = (narrow: number, full: number, limit: number): boolean =>
      narrow === full || narrow === limit;
    if (
      disk64 !== 0 ||
      directoryDisk64 !== 0 ||
      wide.entriesHere !== wide.entries ||
      !agrees(entries, wide.entries, 0xffff) ||
      !agrees(size, wide.size, 0xffffffff) ||
      !agrees(start, wide.start, 0xffffffff)
    )
      throw ambiguous(path, 'the two end records of the archive disagree');
    directory = wide;
    directoryEnd = tailStart + recordAt;
  } else if (entries === 0xffff || size === 0xffffffff || start === 0xffffffff)
    throw malformed(path, 'its zip64 end record is missing');
  if ((disk !== 0 && disk !== 0xffff) || (directoryDisk !== 0 && directoryDisk !== 0xffff))
    throw malformed(path, 'it spans several disks');
  if (entriesHere !== entries)
    throw malformed(path, `it has ${entriesHere} entries here and ${entries} in all`);
  if (directory.start + directory.size !== directoryEnd)
    throw ambiguous(
      path,
      `the directory of the archive ends at byte ${directory.start + directory.size}, its end record begins at ${directoryEnd}`,
    );
  if (directory.entries > MAX_ENTRIES)
    throw diagError(
      'limit-exceeded',
      {
        what: 'the number of members of the archive',
        found: directory.entries,
        limit: MAX_ENTRIES,
        hint: '',
      },
      { path },
    );
  return { start: directory.start, end: directoryEnd, entries: directory.entries };
}

function readEntry(reader: ByteReader, path: string): Entry {
  const byteOffset = reader.position;
  if (reader.u32() !== 0x02014b50)
    throw malformed(path, 'a directory entry has another signature', byteOffset);
  reader.bytes(4);
  const [flags, method] = [reader.u16(), reader.u16()];
  reader.bytes(4);
  const crc = reader.u32();
  let [packed, size] = [reader.u32(), reader.u32()];
  const [nameLength, extraLength, commentLength, disk] = [
    reader.u16(),
    reader.u16(),
    reader.u16(),
    reader.u16(),
  ];
  reader.bytes(6);
  let offset = reader.u32();
  const nameBytes = reader.bytes(nameLength);
  const name = memberName(nameBytes, path);
  const wide = zip64Field(reader.bytes(extraLength), path);
  reader.bytes(commentLength);
  // The field holds only what did not fit, in this order.
  if (size === 0xffffffff && wide) size = wide.u64();
  if (packed === 0xffffffff && wide) packed = wide.u64();
  if (offset === 0xffffffff && wide) offset = wide.u64();
  if (disk !== 0) throw malformed(path, `"${name}" lies on another disk`);
  if (flags & ENCRYPTED) throw malformed(path, `"${name}" is encrypted`);
  if (method !== 0 && method !== 8)
    throw malformed(path, `"${name}" is compressed by method ${method}; only deflate is read`);
  if ((method === 0 && packed !== size) || (name.endsWith('/') && size !== 0))
    throw malformed(path, `"${name}" has ${packed} bytes stored and ${size} declared`);
  return { name, nameBytes, flags, method, crc, packed, size, offset };
}

function memberName(bytes: Uint8Array, path: string): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw malformed(path, 'the name of a member is not UTF-8');
  }
  const leaves = /^[/\\]|^[A-Za-z]:|\\|\0/.test(name) || name.split('/').includes('..') || name === '';
  if (leaves) throw diagError('path-leaves-folder', { name, folder: 'of the archive' }, { path });
  return name;
}

/** The content of the zip64 extra field (id 1), undefined where there is none. */
function zip64Field(extra: Uint8Array, path: string): ByteReader | undefined {
  const reader = byteReader(extra, path, 'an extra field');
  let found: ByteReader | undefined;
  // Fewer than four bytes at the end are padding of some writers.
  while (reader.remaining >= 4) {
    const [id, length] = [reader.u16(), reader.u16()];
    const content = reader.bytes(length);
    if (id !== 1) continue;
    if (found) throw ambiguous(path, 'a member has two zip64 sizes');
    found = byteReader(content, path, 'a zip64 extra field');
  }
  return found;
}

/** Checks every local header against the directory and returns where the data of each entry begins. */
async function checkLocalHeaders(
  source: ByteSource,
  entries: readonly Entry[],
  directoryStart: number,
): Promise<ReadonlyMap<Entry, number>> {
  const { path } = source;
  const starts = new Map<Entry, number>();
  const ordered = [...entries].sort((a, b) => a.offset - b.offset);
  const window = windowedSource(source, 1024);
  let expected = 0;
  for (const [index, entry] of ordered.entries()) {
    const { name, offset } = entry;
    if (offset > expected)
      throw ambiguous(path, `bytes ${expected} to ${offset} before "${name}" belong to no member`, offset);
    if (offset < expected)
      throw ambiguous(path, `"${name}" at byte ${offset} lies inside another member`, offset);
    expected = ordered[index + 1]?.offset ?? directoryStart;
    starts.set(entry, await checkMember(window, entry, expected));
  }
  if (ordered.length === 0 && directoryStart > 0)
    throw ambiguous(path, `bytes 0 to ${directoryStart} belong to no member`, 0);
  return starts;
}

/**
 * Checks that all between the directory's place of an entry and that of the `next` one is what the directory says.
 *
 * @returns where its data begins
 */
async function checkMember(window: ByteSource, entry: Entry, next: number): Promise<number> {
  const { path } = window;
  const { start, crc, packed, size } = await readLocalHeader(window, entry, next);
  const end = start + entry.packed;
  const postponed = (entry.flags & HAS_DESCRIPTOR) !== 0;
  const same = crc === entry.crc && packed === entry.packed && size === entry.size;
  if (!same && !(postponed && crc === 0 && packed === 0 && size === 0))
    throw disagreement(path, entry, 'checksum or size');
  if (same && end === next) return start;
  if (!postponed)
    throw ambiguous(path, `bytes ${end} to ${next} after "${entry.name}" belong to no member`, end);
  if (!isDescriptor(await window.slice(end, Math.min(next, end + 25)), entry, path))
    throw disagreement(path, entry, 'data descriptor');
  return start;
}

const disagreement = (path: string, { name, offset }: Entry, what: string): DiagError =>
  ambiguous(path, `the local header of "${name}" and the directory disagree about its ${what}`, offset);

/** What only the local header says: where the data begins, and sizes and checksum, which may follow the data. */
async function readLocalHeader(
  window: ByteSource,
  entry: Entry,
  next: number,
): Promise<Pick<Entry, 'crc' | 'packed' | 'size'> & { readonly start: number }> {
  const { path } = window;
  const { name, nameBytes, offset } = entry;
  const extraStart = offset + LOCAL_BYTES + nameBytes.length;
  if (extraStart > next) throw disagreement(path, entry, 'place');
  const bytes = await window.slice(offset, extraStart);
  const header = byteReader(bytes, path, `the local header of "${name}"`, offset);
  if (header.u32() !== 0x04034b50) throw disagreement(path, entry, 'place');
  header.bytes(2);
  if (header.u16() !== entry.flags) throw disagreement(path, entry, 'flags');
  if (header.u16() !== entry.method) throw disagreement(path, entry, 'compression');
  header.bytes(4);
  const crc = header.u32();
  let [packed, size] = [header.u32(), header.u32()];
  const [nameLength, extraLength] = [header.u16(), header.u16()];
  if (nameLength !== nameBytes.length || Buffer.compare(header.bytes(nameLength), nameBytes) !== 0)
    throw disagreement(path, entry, 'name');
  const start = extraStart + extraLength;
  if (start + entry.packed > next) throw disagreement(path, entry, 'size');
  if (size === 0xffffffff || packed === 0xffffffff) {
    const wide = zip64Field(await window.slice(extraStart, start), path);
    if (size === 0xffffffff && wide) size = wide.u64();
    if (packed === 0xffffffff && wide) packed = wide.u64();
  }
  return { start, crc, packed, size };
}

/** Whether all bytes between the data and the next member are a descriptor that repeats the directory's values. */
function isDescriptor(bytes: Uint8Array, entry: Entry, path: string): boolean {
  if (![12, 16, 20, 24].includes(bytes.length)) return false;
  const reader = byteReader(bytes, path, 'a data descriptor');
  if (bytes.length % 8 === 0 && reader.u32() !== 0x08074b50) return false;
  const [crc, wide] = [reader.u32(), bytes.length >= 20];
  const [packed, size] = wide ? [reader.u64(), reader.u64()] : [reader.u32(), reader.u32()];
  return crc === entry.crc && packed === entry.packed && size === entry.size;
}

function memberOf(source: ByteSource, entry: Entry, start: number): ZipMember {
  const { name, size } = entry;
  const path = `${source.path}!${name}`;
  const stored = entry.method === 0;
  const raw = partOfSource(source, start, start + entry.packed, path);
  const extent = placeOf(source, start, start + entry.packed);
  async function* stream(): AsyncIterable<Uint8Array> {
    let crc = 0;
    for await (const piece of stored ? storedPieces(raw) : inflatedPieces(raw, size)) {
      crc = crc32(piece, crc);
      yield piece;
    }
    if (crc !== entry.crc) {
      throw diagError(
        'checksum-mismatch',
        { what: `"${name}"`, found: hex(crc), expected: hex(entry.crc) },
        { path },
      );
    }
  }
  const read = async (limit: number): Promise<Uint8Array> => {
    if (size > limit)
      throw diagError(
        'limit-exceeded',
        { what: `"${name}" in bytes`, found: size, limit, hint: '' },
        { path },
      );
    // Pieces first, so that a declared size without bytes behind it allocates nothing.
    const pieces: Uint8Array[] = [];
    for await (const piece of stream()) pieces.push(piece);
    return pieces.length === 1 ? pieces[0]! : new Uint8Array(Buffer.concat(pieces));
  };
  return {
    name,
    byteLength: size,
    compressed: !stored,
    stream,
    read,
    source: () => (stored ? raw : inflatedSource(path, size, read, extent)),
    extent,
  };
}

/** A source over a compressed member: inflated at the first slice, then kept. */
function inflatedSource(
  path: string,
  byteLength: number,
  read: (limit: number) => Promise<Uint8Array>,
  extent: Extent,
): ByteSource {
  let inflated: Promise<ByteSource> | undefined;
  return {
    path,
    byteLength,
    slice: async (start, end) => {
      inflated ??= read(MAX_INFLATED_IN_MEMORY).then((bytes) => bytesSource(path, bytes));
      return (await inflated).slice(start, end);
    },
    close: async () => {
      inflated = undefined;
    },
    place: () => extent,
  };
}

async function* storedPieces(raw: ByteSource): AsyncIterable<Uint8Array> {
  for (let at = 0; at < raw.byteLength; at += PIECE)
    yield await raw.slice(at, Math.min(at + PIECE, raw.byteLength));
}

/** Inflates, and ends with an error as soon as more comes out than was declared. */
async function* inflatedPieces(raw: ByteSource, size: number): AsyncIterable<Uint8Array> {
  const inflate = createInflateRaw({ chunkSize: 1024 * 1024 });
  const input = Readable.from(storedPieces(raw), { objectMode: false });
  // An error of the source must reach the loop below, which waits on the inflater.
  input.on('error', (error) => inflate.destroy(error));
  let produced = 0;
  try {
    for await (const piece of input.pipe(inflate) as AsyncIterable<Buffer>) {
      produced += piece.length;
      if (produced > size) throw malformed(raw.path, `it inflates to more than the declared ${size} bytes`);
      yield new Uint8Array(piece.buffer, piece.byteOffset, piece.length);
    }
  } catch (error) {
    if (!String((error as NodeJS.ErrnoException).code).startsWith('Z_')) throw error;
    throw malformed(raw.path, `its compressed data is damaged (${(error as Error).message})`);
  } finally {
    input.destroy();
    inflate.destroy();
  }
  if (produced !== size) throw malformed(raw.path, `it inflates to ${produced} bytes, ${size} were declared`);
  if (inflate.bytesWritten !== raw.byteLength)
    throw malformed(raw.path, `${raw.byteLength - inflate.bytesWritten} bytes follow its compressed data`);
}
