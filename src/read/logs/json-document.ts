/**
 * Walking one JSON document in memory without building it: members and elements as ranges of bytes. A document that is
 * cut gives what is whole before the cut.
 */

import { diagError } from '../../model/errors.ts';
import type { Account, LossReason } from '../../model/log.ts';
import { sizeIn, type TextEncoding } from '../bytes/encoding.ts';
import { openLedger } from '../bytes/ledger.ts';
import { skipBlanks, skipValue, stringEnd, textOfString } from './json-line.ts';

/** A document has to be held whole. */
const MAX_DOCUMENT_BYTES = 512 << 20;

/** @throws limit-exceeded */
export async function wholeDocument(chunks: AsyncIterable<Uint8Array>, path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > MAX_DOCUMENT_BYTES)
      throw diagError(
        'limit-exceeded',
        {
          what: 'the size of a JSON document',
          found: bytes,
          limit: MAX_DOCUMENT_BYTES,
          hint: 'write one object a line (JSON lines): that is read without holding it',
        },
        { path },
      );
    parts.push(Buffer.from(chunk));
  }
  return Buffer.concat(parts);
}

export interface Member {
  /** Empty for the elements of a list. */
  readonly key: string;
  readonly start: number;
  readonly end: number;
  /** False for a last value that the end of the document may have cut. */
  readonly whole: boolean;
}

/** Where the members of an object or list ended. */
export interface MembersEnd {
  /** The position after the closing bracket; -1 where the document is cut or malformed before it. */
  at: number;
  /** How far it was understood, where there is no closing bracket. */
  stopped: number;
  /** The text ends there. */
  cut: boolean;
}
export const membersEnd = (): MembersEnd => ({ at: 0, stopped: 0, cut: false });

/** The key of a member that starts at `at`, and where its value does; what is wrong where there is none. */
function keyAt(bytes: Buffer, at: number, stop: number): { key: string; at: number } | 'cut' | 'malformed' {
  if (bytes[at] !== 0x22) return 'malformed';
  const keyEnd = stringEnd(bytes, at + 1, stop);
  if (keyEnd < 0) return 'cut';
  const colon = skipBlanks(bytes, keyEnd + 1, stop);
  if (colon >= stop) return 'cut';
  if (bytes[colon] !== 0x3a) return 'malformed';
  const value = skipBlanks(bytes, colon + 1, stop);
  return value >= stop ? 'cut' : { key: textOfString(bytes, at + 1, keyEnd), at: value };
}

/**
 * The members of the object, or the elements of the list, that starts at `start`. Ends early where the document is cut
 * or malformed; `end` receives where.
 */
export function* membersOf(
  bytes: Buffer,
  start: number,
  stop: number,
  end: MembersEnd = membersEnd(),
): Generator<Member> {
  end.at = -1;
  end.stopped = start;
  end.cut = false;
  const isObject = bytes[start] === 0x7b;
  const close = isObject ? 0x7d : 0x5d;
  let at = skipBlanks(bytes, start + 1, stop);
  if (at < stop && bytes[at] === close) {
    end.at = at + 1;
    return;
  }
  while (at < stop) {
    end.stopped = at;
    const named = isObject ? keyAt(bytes, at, stop) : { key: '', at };
    if (named === 'malformed') return;
    if (named === 'cut') break;
    const found = skipValue(bytes, named.at, stop);
    const valueEnd = found < 0 ? stop : found;
    // An empty value between two commas is malformed, not cut.
    end.cut = found < 0 && ![0x2c, 0x5d, 0x7d].includes(bytes[named.at]!);
    if (valueEnd > named.at) yield { key: named.key, start: named.at, end: valueEnd, whole: found >= 0 };
    if (found < 0) return;
    at = skipBlanks(bytes, found, stop);
    end.stopped = at;
    if (at >= stop) break;
    if (bytes[at] === close) {
      end.at = at + 1;
      return;
    }
    if (bytes[at] !== 0x2c) return;
    at = skipBlanks(bytes, at + 1, stop);
  }
  end.cut = true;
}

/**
 * The account of a document that is walked from start to end. Its stretches are entered in this order; the
 * rest is overhead.
 */
export interface DocumentLedger {
  record(start: number, end: number): void;
  passOver(start: number, end: number): void;
  /** Passes a value that {@link enter} classifies later. @returns its bytes in the document's own encoding */
  pass(start: number, end: number): number;
  enter(kind: 'record' | 'passOver', size: number): void;
  /**
   * Enters a stretch that gave nothing, without the part that was entered already. Zero bytes make it a hole,
   * whatever reason is given.
   */
  lose(reason: LossReason, start: number, end: number, records?: number): void;
  /** Whether a stretch has zero bytes. */
  isHoled(start: number, end: number): boolean;
  account(): Account;
}

/** @param encoding the document's encoding before it was made UTF-8 */
export function documentLedger(bytes: Buffer, encoding: TextEncoding = 'utf-8'): DocumentLedger {
  const ledger = openLedger();
  const holed = bytes.includes(0);
  const size = (start: number, end: number): number => sizeIn(encoding, bytes, start, end);
  let known = { index: 0, offset: 0 };
  const offsetOf = (index: number): number => {
    const from = index < known.index ? { index: 0, offset: 0 } : known;
    known = { index, offset: from.offset + size(from.index, index) };
    return known.offset;
  };
  /** The end of what was entered. */
  let reached = 0;
  const pass = (start: number, end: number): number => {
    reached = end;
    return size(start, end);
  };
  const isHoled = (start: number, end: number): boolean => holed && bytes.subarray(start, end).includes(0);
  return {
    record: (start, end) => ledger.record(pass(start, end)),
    passOver: (start, end) => ledger.passOver(pass(start, end)),
    pass,
    enter: (kind, bytesOf) => ledger[kind](bytesOf),
    isHoled,
    lose(reason, start, end, records) {
      const from = Math.max(start, reached);
      const offset = offsetOf(from);
      ledger.lose(isHoled(from, end) ? 'hole' : reason, pass(from, Math.max(from, end)), offset, records);
    },
    account() {
      const entered = ledger.account();
      const all = size(0, bytes.length);
      return { ...entered, bytes: all, overhead: all - entered.bytes };
    },
  };
}

/** Counts lines up to ascending positions. */
export function lineCounter(bytes: Buffer): (position: number) => number {
  let line = 1;
  let next = bytes.indexOf(10);
  return (position) => {
    while (next >= 0 && next < position) {
      line++;
      next = bytes.indexOf(10, next + 1);
    }
    return line;
  };
}
