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
export const msgpackReader = (source: ByteSource, start = 0, end = source.byteLength): MsgpackReader =>
  new TokenReader(source, start, end);

class TokenReader implements MsgpackReader {
  constructor(
    private readonly source: ByteSource,
    public position: number,
    private readonly end: number,
  ) {}

  read(start: number, end: number): Promise<Uint8Array> {
    return this.source.slice(start, end);
  }

  async next(): Promise<MsgpackToken> {
    const at = this.position;
    const tag = (await this.take(1)).getUint8(0);
    if (tag < 0x80) return value(tag);
    if (tag < 0x90) return { kind: 'map', count: tag & 15 };
    if (tag < 0xa0) return { kind: 'array', count: tag & 15 };
    if (tag < 0xc0) return { kind: 'text', ...this.span(tag & 31) };
    if (tag >= 0xe0) return value(tag - 256);
    const token = TOKENS[tag]?.(this);
    if (token === undefined)
      throw diagError(
        'checkpoint-malformed',
        { format: 'MessagePack', problem: 'a value begins with the byte 0xc1, which no writer uses' },
        { path: this.source.path, byteOffset: at },
      );
    return token;
  }

  /** Goes over `length` bytes that are there. */
  span(length: number): { start: number; end: number } {
    const start = this.position;
    const end = start + length;
    if (end > this.end)
      throw diagError(
        'checkpoint-truncated',
        { what: 'a MessagePack value', end, bytes: this.end },
        { path: this.source.path, byteOffset: start },
      );
    this.position = end;
    return { start, end };
  }

  async take(length: number): Promise<DataView> {
    const { start, end } = this.span(length);
    const bytes = await this.source.slice(start, end);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }

  async unsigned(width: 1 | 2 | 4): Promise<number> {
    const view = await this.take(width);
    return width === 1 ? view.getUint8(0) : width === 2 ? view.getUint16(0) : view.getUint32(0);
  }

  async extension(length: number): Promise<MsgpackToken> {
    const type = (await this.take(1)).getInt8(0);
    return { kind: 'extension', type, ...this.span(length) };
  }
}

const value = (plain: null | boolean | number | bigint): MsgpackToken => ({ kind: 'value', value: plain });

/** What follows each first byte that holds no value or count itself. */
const TOKENS: Readonly<Record<number, (r: TokenReader) => MsgpackToken | Promise<MsgpackToken>>> = {
  192: () => value(null),
  194: () => value(false),
  195: () => value(true),
  196: async (r) => ({ kind: 'bytes', ...r.span(await r.unsigned(1)) }),
  197: async (r) => ({ kind: 'bytes', ...r.span(await r.unsigned(2)) }),
  198: async (r) => ({ kind: 'bytes', ...r.span(await r.unsigned(4)) }),
  199: async (r) => r.extension(await r.unsigned(1)),
  200: async (r) => r.extension(await r.unsigned(2)),
  201: async (r) => r.extension(await r.unsigned(4)),
  202: async (r) => value((await r.take(4)).getFloat32(0)),
  203: async (r) => value((await r.take(8)).getFloat64(0)),
  204: async (r) => value(await r.unsigned(1)),
  205: async (r) => value(await r.unsigned(2)),
  206: async (r) => value(await r.unsigned(4)),
  207: async (r) => value((await r.take(8)).getBigUint64(0)),
  208: async (r) => value((await r.take(1)).getInt8(0)),
  209: async (r) => value((await r.take(2)).getInt16(0)),
  210: async (r) => value((await r.take(4)).getInt32(0)),
  211: async (r) => value((await r.take(8)).getBigInt64(0)),
  212: (r) => r.extension(1),
  213: (r) => r.extension(2),
  214: (r) => r.extension(4),
  215: (r) => r.extension(8),
  216: (r) => r.extension(16),
  217: async (r) => ({ kind: 'text', ...r.span(await r.unsigned(1)) }),
  218: async (r) => ({ kind: 'text', ...r.span(await r.unsigned(2)) }),
  219: async (r) => ({ kind: 'text', ...r.span(await r.unsigned(4)) }),
  220: async (r) => ({ kind: 'array', count: await r.unsigned(2) }),
  221: async (r) => ({ kind: 'array', count: await r.unsigned(4) }),
  222: async (r) => ({ kind: 'map', count: await r.unsigned(2) }),
  223: async (r) => ({ kind: 'map', count: await r.unsigned(4) }),
};
