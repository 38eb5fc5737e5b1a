/** Writes zip archives field by field, so that a test can make one of them lie. */
import { deflateRawSync } from 'node:zlib';
import { crc32 } from '../../src/read/bytes/crc32.ts';

export interface ZipEntry {
  readonly name: string;
  readonly data: Uint8Array;
  readonly deflate?: boolean;
  /** Bytes after the data, which the packed size counts. */
  readonly tail?: Uint8Array;
  /** A data descriptor after the data, zeros in the local header, as PyTorch writes them. */
  readonly descriptor?: boolean;
  /** Sizes in zip64 extra fields, as numpy writes them. */
  readonly zip64?: boolean;
  /** Bytes put before the local header. */
  readonly gap?: Uint8Array;
  /** What the local header says instead of the truth. */
  readonly local?: {
    readonly name?: string;
    readonly size?: number;
    readonly crc?: number;
    readonly method?: number;
  };
  /** What the directory says instead of the truth. */
  readonly central?: {
    readonly size?: number;
    readonly crc?: number;
    readonly flags?: number;
    readonly method?: number;
    readonly offset?: number;
  };
}

export interface ZipLies {
  /** Bytes between the last member and the directory. */
  readonly beforeDirectory?: Uint8Array;
  readonly comment?: Uint8Array;
  readonly entryCount?: number;
}

const u16 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff];
const u32 = (value: number): number[] => [...u16(value & 0xffff), ...u16(value >>> 16)];
const u64 = (value: number): number[] => [...u32(value % 2 ** 32), ...u32(Math.floor(value / 2 ** 32))];

/** An archive of these members; without lies a valid one. */
export function makeZip(entries: readonly ZipEntry[], lies: ZipLies = {}): Uint8Array {
  const pieces: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const put = (bytes: Uint8Array | number[]): void => {
    pieces.push(Uint8Array.from(bytes));
    at += bytes.length;
  };
  for (const entry of entries) {
    const { local = {}, central = {} } = entry;
    const name = Buffer.from(entry.name);
    const packed = entry.deflate ? deflateRawSync(entry.data) : entry.data;
    const data = entry.tail === undefined ? packed : Buffer.concat([packed, entry.tail]);
    const flags = entry.descriptor ? 8 : 0;
    const method = entry.deflate ? 8 : 0;
    const crc = crc32(entry.data);
    const size = entry.data.length;
    put(entry.gap ?? []);
    const offset = at;
    const localName = Buffer.from(local.name ?? entry.name);
    const sizes = (crcValue: number, packed: number, full: number): number[] => [
      ...u32(crcValue),
      ...u32(packed),
      ...u32(full),
    ];
    const extra = entry.zip64 ? [...u16(1), ...u16(16), ...u64(local.size ?? size), ...u64(data.length)] : [];
    put([
      ...[0x50, 0x4b, 3, 4, 20, 0],
      ...u16(flags),
      ...u16(local.method ?? method),
      ...[0, 0, 0, 0],
      ...(entry.descriptor
        ? sizes(0, 0, 0)
        : entry.zip64
          ? sizes(local.crc ?? crc, 0xffffffff, 0xffffffff)
          : sizes(local.crc ?? crc, local.size ?? data.length, local.size ?? size)),
      ...u16(localName.length),
      ...u16(extra.length),
      ...localName,
      ...extra,
    ]);
    put(data);
    if (entry.descriptor)
      put([0x50, 0x4b, 7, 8, ...sizes(local.crc ?? crc, data.length, local.size ?? size)]);
    directory.push(
      Uint8Array.from([
        ...[0x50, 0x4b, 1, 2, 20, 0, 20, 0],
        ...u16(central.flags ?? flags),
        ...u16(central.method ?? method),
        ...[0, 0, 0, 0],
        ...sizes(central.crc ?? crc, central.size ?? data.length, central.size ?? size),
        ...u16(name.length),
        ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ...u32(central.offset ?? offset),
        ...name,
      ]),
    );
  }
  put(lies.beforeDirectory ?? []);
  const start = at;
  for (const entry of directory) put(entry);
  const count = lies.entryCount ?? entries.length;
  const comment = lies.comment ?? new Uint8Array(0);
  put([
    ...[0x50, 0x4b, 5, 6, 0, 0, 0, 0],
    ...u16(count),
    ...u16(count),
    ...u32(directory.reduce((sum, entry) => sum + entry.length, 0)),
    ...u32(start),
    ...u16(comment.length),
    ...comment,
  ]);
  return new Uint8Array(Buffer.concat(pieces));
}
