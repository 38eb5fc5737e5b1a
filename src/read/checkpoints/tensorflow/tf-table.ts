/**
 * The table of a TensorFlow checkpoint index: sorted keys and values in blocks, as LevelDB writes them.
 *
 * | bytes | content |
 * |---|---|
 * | block | entries { varint shared, varint added, varint value length, key suffix, value }, u32 restarts, u32 their number |
 * | after a block | u8 compression (0 none, 1 snappy), u32 masked crc32c of the block and that byte |
 * | last 48 | varints offset and size of the metaindex block and of the index block, padding, magic 0xdb4775248b80fb57 |
 *
 * The values of the index block are the handles (varint offset, varint size) of the data blocks. Source:
 * https://github.com/google/leveldb/blob/main/doc/table_format.md.
 */

import { type DiagError, diagError } from '../../../model/errors.ts';
import { crc32c, maskedCrc32c } from '../../bytes/crc32c.ts';
import { hex } from '../../bytes/hex.ts';
import type { ByteSource } from '../../bytes/source.ts';
import { malformed as malformedAs } from '../faults.ts';
import { checkLimit } from '../limit.ts';

const FOOTER_BYTES = 48;
const MAGIC = Uint8Array.of(0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb);
/** Keys share prefixes, so that a small file can hold keys of any total length. */
const MAX_KEY_BYTES = 64 * 1024 * 1024;

export interface TableEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Whether the file ends with the magic number of a table. */
export async function isTable(source: ByteSource): Promise<boolean> {
  if (source.byteLength < FOOTER_BYTES) return false;
  const tail = await source.slice(source.byteLength - MAGIC.length, source.byteLength);
  return Buffer.compare(tail, MAGIC) === 0;
}

/**
 * All entries of a table, in file order, their checksums verified.
 *
 * @throws checkpoint-malformed, checksum-mismatch, format-unsupported (compressed blocks), limit-exceeded
 */
export async function readTable(source: ByteSource): Promise<TableEntry[]> {
  const { path, byteLength } = source;
  if (!(await isTable(source))) throw malformed(path, 'it does not end with the magic number of a table');
  const footerStart = byteLength - FOOTER_BYTES;
  const footer = cursor(await source.slice(footerStart, byteLength - MAGIC.length), path);
  footer.handle();
  const index = footer.handle();
  const budget = { keyBytes: 0 };
  const entries: TableEntry[] = [];
  let covered = 0;
  for (const { value } of await readBlock(source, index, footerStart, budget)) {
    const handle = cursor(value, path).handle();
    // Blocks follow one another; a handle that goes back would let a small file be read for ever.
    if (handle.offset < covered) throw malformed(path, `the block at byte ${handle.offset} overlaps another`);
    covered = handle.offset + handle.size;
    for (const entry of await readBlock(source, handle, footerStart, budget)) entries.push(entry);
  }
  return entries;
}

const malformed = (path: string, problem: string): DiagError =>
  malformedAs('TensorFlow checkpoint index', problem, { path });

interface Handle {
  readonly offset: number;
  readonly size: number;
}

/** Varints one after another; ends with an error where the bytes do. */
function cursor(bytes: Uint8Array, path: string, start = 0) {
  const self = {
    at: start,
    varint: (): number => {
      let value = 0;
      for (let i = 0; i < 8; i++) {
        const byte = bytes[self.at++];
        if (byte === undefined) break;
        value += (byte & 0x7f) * 2 ** (7 * i);
        if (byte < 0x80) return value;
      }
      throw malformed(path, 'a number does not end');
    },
    handle: (): Handle => ({ offset: self.varint(), size: self.varint() }),
  };
  return self;
}

async function readBlock(
  source: ByteSource,
  { offset, size }: Handle,
  limit: number,
  budget: { keyBytes: number },
): Promise<TableEntry[]> {
  const { path } = source;
  if (!(offset + size + 5 <= limit))
    throw malformed(path, `a block of ${size} bytes at byte ${offset} does not fit before byte ${limit}`);
  const whole = await source.slice(offset, offset + size + 5);
  const trailer = new DataView(whole.buffer, whole.byteOffset + size, 5);
  const expected = trailer.getUint32(1, true);
  const found = maskedCrc32c(crc32c(whole, 0, size + 1));
  if (found !== expected)
    throw diagError(
      'checksum-mismatch',
      { what: `the index block at byte ${offset}`, found: hex(found), expected: hex(expected) },
      { path, byteOffset: offset },
    );
  if (trailer.getUint8(0) !== 0)
    throw diagError(
      'format-unsupported',
      {
        path,
        format: 'a table with compressed blocks',
        instead: 'TensorFlow writes checkpoint indexes uncompressed; save it again',
      },
      { path },
    );
  const block = whole.subarray(0, size);
  if (size < 4) throw malformed(path, `the block at byte ${offset} is too short`);
  const restarts = new DataView(block.buffer, block.byteOffset + size - 4, 4).getUint32(0, true);
  const end = size - 4 - 4 * restarts;
  if (end < 0) throw malformed(path, `the block at byte ${offset} has ${restarts} restarts`);
  const entries: TableEntry[] = [];
  const reader = cursor(block.subarray(0, end), path);
  let key: Uint8Array = new Uint8Array(0);
  while (reader.at < end) {
    const [shared, added, length] = [reader.varint(), reader.varint(), reader.varint()];
    const suffixEnd = reader.at + added;
    if (shared > key.length || !(suffixEnd + length <= end))
      throw malformed(path, `an entry of the block at byte ${offset} does not fit`);
    budget.keyBytes += shared + added;
    checkLimit('the length of all keys in bytes', budget.keyBytes, MAX_KEY_BYTES, { path });
    const next = new Uint8Array(shared + added);
    next.set(key.subarray(0, shared));
    next.set(block.subarray(reader.at, suffixEnd), shared);
    key = next;
    entries.push({ key, value: block.subarray(suffixEnd, suffixEnd + length) });
    reader.at = suffixEnd + length;
  }
  return entries;
}
