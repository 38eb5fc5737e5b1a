/**
 * MessagePack, token by token over a file: what is inside texts, byte strings and extensions is not read.
 *
 * Source: https://github.com/msgpack/msgpack/blob/master/spec.md.
 */
import { diagError } from '../../model/errors.ts';
import type { ByteSource } from './source.ts';

export type MsgpackToken =
  | { readonly kind: 'map'; readonly count: number }
  | { readonly kind: 'array'; readonly count: number }
  | { readonly kind: 'text'; readonly start: number; readonly end: number }
  | { readonly kind: 'bytes'; readonly start: number; readonly end: number }
  | { readonly kind: 'extension'; readonly type: number; readonly start: number; readonly end: number }
  | { readonly kind: 'value'; readonly value: null | boolean | number | bigint };

export interface MsgpackReader {
  /** Offset of the next token. */
  readonly position: number;
  /** @throws checkpoint-truncated, checkpoint-malformed */
  next(): Promise<MsgpackToken>;
  /** Bytes of a text or a byte string. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** Reads the tokens in bytes [start, end) of a source, which should have a window: slices are of a few bytes. */
export function msgpackReader(source: ByteSource, start = 0, end = source.byteLength): MsgpackReader {
  const { path } = source;
  let position = start;

  const take = async (length: number): Promise<DataView> => {
    if (position + length > end)
      throw diagError(
        'checkpoint-truncated',
        { what: 'a MessagePack value', end: position + length, bytes: end },
        { path, byteOffset: position },
      );
    const bytes = await source.slice(position, position + length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, length);
    position += length;
    return view;
  };
  const unsigned = async (width: 1 | 2 | 4): Promise<number> => {
    const view = await take(width);
    return width === 1 ? view.getUint8(0) : width === 2 ? view.getUint16(0) : view.getUint32(0);
  };
  const span = (length: number): { start: number; end: number } => {
    const from = position;
    if (from + length > end)
      throw diagError(
        'checkpoint-truncated',
        { what: 'a MessagePack value', end: from + length, bytes: end },
        { path, byteOffset: from },
      );
    position = from + length;
    return { start: from, end: position };
  };
  const extension = async (length: number): Promise<MsgpackToken> => {
    const type = (await take(1)).getInt8(0);
    return { kind: 'extension', type, ...span(length) };
  };
  const value = (plain: null | boolean | number | bigint): MsgpackToken => ({ kind: 'value', value: plain });

  return {
    get position() {
      return position;
    },
    read: (from, to) => source.slice(from, to),
    next: async () => {
      const at = position;
      const tag = (await take(1)).getUint8(0);
      if (tag < 0x80) return value(tag);
      if (tag < 0x90) return { kind: 'map', count: tag & 15 };
      if (tag < 0xa0) return { kind: 'array', count: tag & 15 };
      if (tag < 0xc0) return { kind: 'text', ...span(tag & 31) };
      if (tag >= 0xe0) return value(tag - 256);
      const width = [1, 2, 4] as const;
      switch (tag) {
        case 0xc0:
          return value(null);
        case 0xc2:
        case 0xc3:
          return value(tag === 0xc3);
        case 0xc4:
        case 0xc5:
        case 0xc6:
          return { kind: 'bytes', ...span(await unsigned(width[tag - 0xc4]!)) };
        case 0xc7:
        case 0xc8:
        case 0xc9:
          return extension(await unsigned(width[tag - 0xc7]!));
        case 0xca:
          return value((await take(4)).getFloat32(0));
        case 0xcb:
          return value((await take(8)).getFloat64(0));
        case 0xcc:
        case 0xcd:
        case 0xce:
          return value(await unsigned(width[tag - 0xcc]!));
        case 0xcf:
          return value((await take(8)).getBigUint64(0));
        case 0xd0:
          return value((await take(1)).getInt8(0));
        case 0xd1:
          return value((await take(2)).getInt16(0));
        case 0xd2:
          return value((await take(4)).getInt32(0));
        case 0xd3:
          return value((await take(8)).getBigInt64(0));
        case 0xd4:
        case 0xd5:
        case 0xd6:
        case 0xd7:
        case 0xd8:
          return extension(1 << (tag - 0xd4));
        case 0xd9:
        case 0xda:
        case 0xdb:
          return { kind: 'text', ...span(await unsigned(width[tag - 0xd9]!)) };
        case 0xdc:
        case 0xdd:
          return { kind: 'array', count: await unsigned(tag === 0xdc ? 2 : 4) };
        case 0xde:
        case 0xdf:
          return { kind: 'map', count: await unsigned(tag === 0xde ? 2 : 4) };
        default:
          throw diagError(
            'checkpoint-malformed',
            { format: 'MessagePack', problem: 'a value begins with the byte 0xc1, which no writer uses' },
            { path, byteOffset: at },
          );
      }
    },
  };
}
