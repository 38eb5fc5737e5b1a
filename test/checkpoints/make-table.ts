/** Writes LevelDB tables as TensorFlow does: no compression, checksums right. For tests. */
import { crc32c, maskedCrc32c } from '../../src/read/bytes/crc32c.ts';

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A block and its trailer. */
function block(entries: readonly Entry[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const { key, value } of entries)
    parts.push(Buffer.from([0, ...varint(key.length), ...varint(value.length)]), key, value);
  parts.push(u32(0), u32(1), Buffer.of(0));
  const content = Buffer.concat(parts);
  return Buffer.concat([content, u32(maskedCrc32c(crc32c(content)))]);
}

/** A table of these entries, in the order given, `perBlock` of them in a block. */
export function makeTable(entries: readonly Entry[], perBlock = 1000): Uint8Array {
  const blocks: Buffer[] = [];
  const handles: Entry[] = [];
  let offset = 0;
  const place = (bytes: Buffer): Buffer => {
    const handle = Buffer.from([...varint(offset), ...varint(bytes.length - 5)]);
    blocks.push(bytes);
    offset += bytes.length;
    return handle;
  };
  for (let i = 0; i < entries.length; i += perBlock) {
    const part = entries.slice(i, i + perBlock);
    handles.push({ key: part.at(-1)!.key, value: place(block(part)) });
  }
  const meta = place(block([]));
  const index = place(block(handles));
  const footer = Buffer.alloc(48);
  Buffer.concat([meta, index]).copy(footer);
  Buffer.from('57fb808b247547db', 'hex').copy(footer, 40);
  return new Uint8Array(Buffer.concat([...blocks, footer]));
}
