/**
 * bzip2 streams, one or many after the other. The packages that decode them never return from a run whose length
 * overflows, so the project has a decoder of its own.
 *
 * | bits of a block | content |
 * |---|---|
 * | 48 | `314159265359` |
 * | 32, 1, 24 | CRC-32 of what the block holds; randomised (obsolete); row of the original in the sorted block |
 * | 16 and 16 for each bit set | which byte values occur |
 * | 3, 15, … | number of code tables; number of selectors; which table each 50 symbols use, moved to front |
 * | … | code lengths of each table, as differences |
 * | … | symbols: two digits of run lengths, places in a move-to-front list, end of block |
 *
 * A stream ends with `177245385090`, the CRC-32 of its blocks and bits up to a whole byte. Source: bzip2 1.0.8, and its
 * format specification (github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf).
 */
import { diagError } from '../../model/errors.ts';
import { byteFeed, restOf } from './byte-feed.ts';
import type { OnDamage } from './stream-damage.ts';

/** A block has at most 900,000 symbols of at most 20 bits, and its tables. */
const LARGEST_BLOCK_BYTES = 2_500_000;
const LEVEL_BYTES = 100_000;
const LONGEST_CODE = 20;
const GROUP = 50;
const OUTPUT_BYTES = 1 << 20;

/** What is wrong with a block. */
class BlockError extends Error {}
/** The bytes end within a block. */
class TornError extends BlockError {
  constructor() {
    super('unexpected end of file');
  }
}

/** Bits of bytes, the highest of a byte first. */
class BitReader {
  private at = 0;
  constructor(
    private readonly bytes: Uint8Array,
    firstBit: number,
  ) {
    this.at = firstBit;
  }

  /** Bits taken so far. */
  get position(): number {
    return this.at;
  }

  /** The next bits (at most 24) without taking them; zeros beyond the end. */
  peek(count: number): number {
    const { bytes, at } = this;
    const k = at >>> 3;
    const four = (bytes[k]! << 24) | (bytes[k + 1]! << 16) | (bytes[k + 2]! << 8) | bytes[k + 3]!;
    return (four << (at & 7)) >>> (32 - count);
  }

  skip(count: number): void {
    this.at += count;
    if (this.at > this.bytes.length * 8) throw new TornError();
  }

  read(count: number): number {
    const value = this.peek(count);
    this.skip(count);
    return value;
  }

  read32(): number {
    return ((this.read(16) << 16) | this.read(16)) >>> 0;
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let k = 0; k < 8; k++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc >>> 0;
});

/** Moves the entry at a place to the front. @returns the entry */
function moveToFront(list: Uint8Array, place: number): number {
  const entry = list[place]!;
  list.copyWithin(1, 0, place);
  list[0] = entry;
  return entry;
}

/** A table of prefix codes: of each length the largest code and what its codes begin at. */
interface CodeTable {
  readonly shortest: number;
  readonly longest: number;
  readonly limit: Int32Array;
  readonly base: Int32Array;
  readonly symbols: Uint16Array;
}

function codeTable(lengths: Uint8Array): CodeTable {
  const counts = new Int32Array(LONGEST_CODE + 2);
  for (const length of lengths) counts[length]!++;
  const symbols = new Uint16Array(lengths.length);
  const limit = new Int32Array(LONGEST_CODE + 2).fill(-1);
  const base = new Int32Array(LONGEST_CODE + 2);
  let [code, placed] = [0, 0];
  for (let length = 1; length <= LONGEST_CODE; length++) {
    base[length] = placed - code;
    lengths.forEach((one, symbol) => {
      if (one === length) symbols[placed++] = symbol;
    });
    code += counts[length]!;
    limit[length] = code - 1;
    code <<= 1;
  }
  return { shortest: Math.min(...lengths), longest: Math.max(...lengths), limit, base, symbols };
}

function nextSymbol(bits: BitReader, { shortest, longest, limit, base, symbols }: CodeTable): number {
  const ahead = bits.peek(LONGEST_CODE);
  for (let length = shortest; length <= longest; length++) {
    const code = ahead >>> (LONGEST_CODE - length);
    if (code > limit[length]!) continue;
    const symbol = symbols[base[length]! + code];
    if (symbol === undefined) break;
    bits.skip(length);
    return symbol;
  }
  throw new BlockError('a code that no table has');
}

interface Tables {
  /** Byte values that occur, ascending. */
  readonly values: Uint8Array;
  readonly codes: readonly CodeTable[];
  readonly selectors: Uint8Array;
}

function readTables(bits: BitReader): Tables {
  const values: number[] = [];
  const used = bits.read(16);
  for (let k = 0; k < 16; k++) {
    if ((used & (0x8000 >> k)) === 0) continue;
    const present = bits.read(16);
    for (let j = 0; j < 16; j++) if (present & (0x8000 >> j)) values.push(16 * k + j);
  }
  const count = bits.read(3);
  const selectors = new Uint8Array(bits.read(15));
  if (count < 2 || count > 6 || selectors.length === 0 || values.length === 0)
    throw new BlockError('a block without its tables');
  const order = Uint8Array.from({ length: count }, (_, k) => k);
  for (let k = 0; k < selectors.length; k++) {
    let place = 0;
    while (bits.read(1) === 1) if (++place >= count) throw new BlockError('a table that is not there');
    selectors[k] = moveToFront(order, place);
  }
  const codes = Array.from({ length: count }, () => {
    const lengths = new Uint8Array(values.length + 2);
    let length = bits.read(5);
    for (let k = 0; k < lengths.length; k++) {
      while (bits.read(1) === 1) {
        length += bits.read(1) === 0 ? 1 : -1;
        if (length < 1 || length > LONGEST_CODE) throw new BlockError('a code of an impossible length');
      }
      if (length < 1 || length > LONGEST_CODE) throw new BlockError('a code of an impossible length');
      lengths[k] = length;
    }
    return codeTable(lengths);
  });
  return { values: Uint8Array.from(values), codes, selectors };
}

/** Reads the symbols of a block into its last column. @returns how many bytes it has */
function readColumn(bits: BitReader, { values, codes, selectors }: Tables, column: Uint32Array): number {
  const end = values.length + 1;
  const order = Uint8Array.from(values);
  let [size, run, weight] = [0, 0, 1];
  for (let group = 0; ; group++) {
    const table = codes[selectors[group] ?? -1];
    if (table === undefined) throw new BlockError('a block that goes on after its selectors');
    for (let k = 0; k < GROUP; k++) {
      const symbol = nextSymbol(bits, table);
      if (symbol <= 1) {
        // Digits 1 and 2 of the length of a run, the lowest first.
        run += weight * (symbol + 1);
        weight *= 2;
        if (size + run > column.length) throw new BlockError('a run beyond the end of its block');
        continue;
      }
      if (run > 0) column.fill(order[0]!, size, size + run);
      size += run;
      [run, weight] = [0, 1];
      if (symbol === end) return size;
      if (size >= column.length) throw new BlockError('more bytes than a block has');
      column[size++] = moveToFront(order, symbol - 1);
    }
  }
}

/** The bytes of a block from its last column: the sort is undone, then runs of four and a count are. */
function textOf(
  column: Uint32Array,
  size: number,
  origin: number,
): { readonly parts: readonly Uint8Array[]; readonly crc: number } {
  if (origin >= size) throw new BlockError('a first byte that is not there');
  const starts = new Uint32Array(256);
  for (let k = 0; k < size; k++) starts[column[k]!]!++;
  let sum = 0;
  for (let byte = 0; byte < 256; byte++) {
    const count = starts[byte]!;
    starts[byte] = sum;
    sum += count;
  }
  for (let k = 0; k < size; k++) {
    const byte = column[k]! & 0xff;
    column[starts[byte]!]! |= k << 8;
    starts[byte]!++;
  }
  const parts: Uint8Array[] = [];
  let part = new Uint8Array(OUTPUT_BYTES);
  let [filled, crc, alike, last] = [0, 0xffffffff, 0, -1];
  const put = (byte: number): void => {
    if (filled === part.length) {
      parts.push(part);
      part = new Uint8Array(OUTPUT_BYTES);
      filled = 0;
    }
    part[filled++] = byte;
    crc = (crc << 8) ^ CRC_TABLE[((crc >>> 24) ^ byte) & 0xff]!;
  };
  let entry = column[origin]!;
  for (let k = 0; k < size; k++) {
    entry = column[entry >>> 8]!;
    const byte = entry & 0xff;
    if (alike === 4) {
      for (let more = byte; more > 0; more--) put(last);
      [alike, last] = [0, -1];
    } else {
      alike = byte === last ? alike + 1 : 1;
      last = byte;
      put(byte);
    }
  }
  parts.push(part.subarray(0, filled));
  return { parts, crc: ~crc >>> 0 };
}

/** The content of a bzip2 stream; damage loses the block that it is in. See {@link OnDamage}. */
export async function* bzip2Chunks(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  onDamage: OnDamage,
): AsyncGenerator<Uint8Array> {
  const feed = byteFeed(chunks);
  const stream = { level: 0, crc: 0, bit: 0, column: new Uint32Array(0) };
  let [bytes, isFirst] = [0, true];
  try {
    while (await feed.need(1)) {
      await feed.need(LARGEST_BLOCK_BYTES);
      if (stream.level === 0) {
        const head = Buffer.from(feed.bytes().subarray(0, 4)).toString('latin1');
        if (!isFirst && !'BZh'.startsWith(head.slice(0, 3))) {
          const left = await restOf(feed);
          onDamage(
            diagError('stream-trailing', { path, format: 'bzip2', bytes: left }, { path }),
            'trailing',
          );
          return;
        }
        if (!/^BZh[1-9]$/.test(head)) throw new TornError();
        stream.level = Number(head[3]);
        [stream.crc, stream.bit] = [0, 0];
        feed.skip(4);
        isFirst = false;
        continue;
      }
      const bits = new BitReader(feed.bytes(), stream.bit);
      const parts = readBlock(bits, stream);
      feed.skip(bits.position >> 3);
      stream.bit = bits.position & 7;
      if (parts === undefined) {
        if (stream.bit > 0) feed.skip(1);
        [stream.level, stream.bit] = [0, 0];
        continue;
      }
      for (const part of parts) {
        bytes += part.length;
        yield part;
      }
    }
    if (stream.level > 0) throw new TornError();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    const details = { path, format: 'bzip2', bytes, reason: error.message };
    onDamage(diagError('stream-damaged', details, { path }), error instanceof TornError ? 'torn' : 'damaged');
  } finally {
    await feed.close();
  }
}

/** Reads a block, or the end of a stream. @returns the bytes of the block; undefined at the end */
function readBlock(
  bits: BitReader,
  stream: { readonly level: number; crc: number; column: Uint32Array },
): readonly Uint8Array[] | undefined {
  const magic = bits.read(24) * 2 ** 24 + bits.read(24);
  const crc = bits.read32();
  if (magic === 0x177245385090) {
    if (crc !== stream.crc) throw new BlockError('incorrect data check');
    return undefined;
  }
  if (magic !== 0x314159265359) throw new BlockError('no block where one should begin');
  if (bits.read(1) === 1) throw new BlockError('a randomised block of an old version');
  const origin = bits.read(24);
  const limit = stream.level * LEVEL_BYTES;
  if (stream.column.length < limit) stream.column = new Uint32Array(limit);
  const tables = readTables(bits);
  const column = stream.column.subarray(0, limit);
  const size = readColumn(bits, tables, column);
  const text = textOf(column, size, origin);
  if (text.crc !== crc) throw new BlockError('incorrect data check');
  stream.crc = (((stream.crc << 1) | (stream.crc >>> 31)) ^ crc) >>> 0;
  return text.parts;
}
