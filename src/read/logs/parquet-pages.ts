/**
 * Looks at the pages of a flat Parquet column before hyparquet decodes them: a run-length code may claim any number of
 * values, which the library would write out until the process dies.
 *
 * | page | content |
 * |---|---|
 * | data, version 1 | compressed: definition levels (u32 length, runs of 1 bit; optional columns only), then values |
 * | data, version 2 | definition levels (length in the header, never compressed), then values, compressed or not |
 * | values by dictionary | width in bits (1 byte), runs |
 *
 * A run is a varint: its lowest bit 0 for a repeated value (count × 2), 1 for bit-packed values (groups of eight × 2 + 1).
 * Source: Apache Parquet, Encodings.md and Compression.md.
 */
import type { ColumnMetaData, Compressors, PageHeader } from 'hyparquet';

/** Writers aim at a page of 1 MiB. */
const MAX_PAGE_BYTES = 256 << 20;
/** The last run may be filled up to a whole one: writers make them of up to 63 groups of eight. */
const MAX_FILLED = 504;
/** Bytes of the narrowest number of a dictionary. */
const NARROWEST = 2;

/**
 * Checks the pages of a column of one row group.
 *
 * @param file the bytes of the whole file
 * @param optional whether a value may be null
 * @throws Error where a page claims what its bytes cannot hold
 */
export async function checkPages(
  file: Uint8Array,
  chunk: {
    readonly about: ColumnMetaData;
    readonly rows: number;
    readonly start: number;
    readonly end: number;
  },
  optional: boolean,
  compressors: Compressors,
): Promise<void> {
  const { parquetHeader } = await import('hyparquet/src/column.js');
  const { decompressPage } = await import('hyparquet/src/datapage.js');
  const { about, start, end, rows } = chunk;
  if (!(start >= 0 && end <= file.length)) throw new Error('a column lies beyond the end of the file');
  const view = new DataView(file.buffer, file.byteOffset + start, end - start);
  const reader = { view, offset: 0 };
  const column = {
    name: about.path_in_schema.join('.'),
    optional,
    unpack: (bytes: Uint8Array, size: number): Uint8Array =>
      decompressPage(bytes, size, about.codec, compressors),
  };
  for (let seen = 0; seen < rows && reader.offset < view.byteLength - 1; ) {
    const header = parquetHeader(reader);
    const { compressed_page_size: packed, uncompressed_page_size: unpacked } = header;
    if (!(packed >= 0 && packed <= view.byteLength - reader.offset && unpacked >= 0))
      throw new Error(`a page of "${column.name}" lies beyond its column`);
    if (unpacked > MAX_PAGE_BYTES) throw new Error(`a page of "${column.name}" has ${unpacked} bytes`);
    const bytes = new Uint8Array(view.buffer, view.byteOffset + reader.offset, packed);
    reader.offset += packed;
    seen += checkPage(column, header, bytes, rows - seen);
  }
}

interface CheckedColumn {
  readonly name: string;
  readonly optional: boolean;
  unpack(bytes: Uint8Array, size: number): Uint8Array;
}

/** @param rows that are left. @returns how many of them the page has */
function checkPage(column: CheckedColumn, header: PageHeader, bytes: Uint8Array, rows: number): number {
  const { name } = column;
  const { data_page_header: first, data_page_header_v2: second, uncompressed_page_size: unpacked } = header;
  if (header.type === 'DICTIONARY_PAGE') {
    if (!((header.dictionary_page_header?.num_values ?? 0) * NARROWEST <= unpacked))
      throw new Error(`the dictionary of "${name}" claims more values than it has bytes`);
    return 0;
  }
  if (header.type === 'DATA_PAGE' && first !== undefined)
    return checkFirst(column, first, column.unpack(bytes, unpacked), rows);
  if (header.type === 'DATA_PAGE_V2' && second !== undefined)
    return checkSecond(column, second, bytes, unpacked, rows);
  throw new Error(`a page of "${name}" is of the type ${header.type}`);
}

/** A data page of version 1. */
function checkFirst(
  { name, optional }: CheckedColumn,
  header: NonNullable<PageHeader['data_page_header']>,
  page: Uint8Array,
  rows: number,
): number {
  const values = countOf(header.num_values, rows, name);
  const levels = optional
    ? new DataView(page.buffer, page.byteOffset, page.byteLength).getUint32(0, true)
    : 0;
  const set = optional ? checkRuns(page, 4, 1, values, name) : values;
  checkValues(page, optional ? 4 + levels : 0, header.encoding, set, name);
  return values;
}

/** A data page of version 2. */
function checkSecond(
  { name, optional, unpack }: CheckedColumn,
  header: NonNullable<PageHeader['data_page_header_v2']>,
  bytes: Uint8Array,
  unpacked: number,
  rows: number,
): number {
  const values = countOf(header.num_values, rows, name);
  const levels = header.definition_levels_byte_length + header.repetition_levels_byte_length;
  if (!(levels >= 0 && levels <= bytes.length)) throw new Error(`a page of "${name}" has no levels`);
  if (optional) checkRuns(bytes, header.repetition_levels_byte_length, 1, values, name);
  const data = bytes.subarray(levels);
  const page = header.is_compressed === false ? data : unpack(data, unpacked - levels);
  checkValues(page, 0, header.encoding, countOf(values - header.num_nulls, values, name), name);
  return values;
}

function countOf(values: number, most: number, name: string): number {
  // Written so that NaN fails.
  if (!(values >= 0 && values <= most))
    throw new Error(`a page of "${name}" claims ${values} values of ${most}`);
  return values;
}

function checkValues(page: Uint8Array, at: number, encoding: string, values: number, name: string): void {
  if (encoding === 'RLE_DICTIONARY' || encoding === 'PLAIN_DICTIONARY')
    checkRuns(page, at + 1, page[at] ?? 0, values, name);
}

/**
 * Walks over the runs of `values` numbers of `width` bits.
 *
 * @returns how many of them are 1, where the width is one bit
 */
function checkRuns(page: Uint8Array, start: number, width: number, values: number, name: string): number {
  if (width === 0) return 0;
  let ones = 0;
  let at = start;
  for (let seen = 0; seen < values; ) {
    let header = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = page[at++];
      if (byte === undefined || shift > 2 ** 28) throw new Error(`a run of "${name}" does not end`);
      header += (byte & 127) * shift;
      if (byte < 128) break;
    }
    const packed = header % 2 === 1;
    const count = packed ? ((header - 1) / 2) * 8 : header / 2;
    if (count > values - seen + MAX_FILLED)
      throw new Error(`a run of "${name}" claims ${count} of ${values - seen} values`);
    const size = packed ? (count / 8) * width : Math.ceil(width / 8);
    if (width === 1)
      for (let k = 0; k < Math.min(count, values - seen); k++)
        ones += packed ? (page[at + (k >> 3)]! >> (k & 7)) & 1 : page[at]! & 1;
    at += size;
    seen += count;
  }
  return ones;
}
