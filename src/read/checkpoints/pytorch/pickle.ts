/**
 * Python's pickle as data: an interpreter that builds plain records and calls nothing.
 *
 * A global that is not on the caller's list is refused by name. One that is becomes a record `{ kind: 'global' }`, its
 * call a record with its arguments; what they mean is decided by the caller. Protocols 0 to 5.
 *
 * Source: CPython Lib/pickletools.py, which states every opcode with its arguments and its effect on the stack.
 */

import { type DiagError, diagError } from '../../../model/errors.ts';
import { type ByteReader, byteReader } from '../../bytes/reader.ts';

export type PickleValue = null | boolean | number | bigint | string | Uint8Array | PickleNode;

export type PickleNode =
  | { readonly kind: 'list' | 'tuple' | 'set'; readonly items: PickleValue[] }
  /** Also an OrderedDict or defaultdict. Entries in order; a key may come twice. */
  | { readonly kind: 'dict'; readonly entries: [PickleValue, PickleValue][] }
  /** Module and name with a space between: `torch._utils _rebuild_tensor_v2`. */
  | { readonly kind: 'global'; readonly name: string }
  | {
      readonly kind: 'call';
      readonly callee: string;
      readonly args: readonly PickleValue[];
      state?: PickleValue;
    }
  | { readonly kind: 'persistent'; readonly id: PickleValue };

export interface PickleLimits {
  readonly opcodes: number;
  readonly stack: number;
  readonly memo: number;
}

export const PICKLE_LIMITS: PickleLimits = { opcodes: 1_000_000, stack: 10_000, memo: 100_000 };

/** Longest integer, in bytes: parsing one takes time that grows with the square of its length. */
const MAX_INTEGER_BYTES = 1024;

/** Calls of these are containers. */
const DICTS = new Set([
  'collections OrderedDict',
  'collections defaultdict',
  'builtins dict',
  'pytorch_lightning.utilities.parsing AttributeDict',
]);
const SETS = new Set(['builtins set', 'builtins frozenset']);

/**
 * Reads one pickle.
 *
 * @param bytes what follows the pickle is left alone
 * @param allowed globals that may occur, module and name with a space between
 * @param base offset of the first byte in its file, for errors
 * @returns the value and the number of bytes that the pickle takes
 * @throws pickle-forbidden, checkpoint-truncated, checkpoint-malformed, limit-exceeded
 */
export function readPickle(
  bytes: Uint8Array,
  allowed: ReadonlySet<string>,
  path: string,
  base = 0,
  limits: PickleLimits = PICKLE_LIMITS,
): { value: PickleValue; length: number } {
  const reader = byteReader(bytes, path, 'a pickle', base);
  const malformed = (problem: string): DiagError =>
    diagError(
      'checkpoint-malformed',
      { format: 'pickle', problem },
      { path, byteOffset: base + reader.position },
    );
  const checkLimit = (what: string, found: number, limit: number): void => {
    if (!(found <= limit))
      throw diagError(
        'limit-exceeded',
        { what: `the ${what} of a pickle`, found, limit, hint: 'no checkpoint of a framework comes near it' },
        { path, byteOffset: base + reader.position },
      );
  };

  let stack: PickleValue[] = [];
  /** The stacks below each open mark. */
  const marked: PickleValue[][] = [];
  const memo = new Map<number, PickleValue>();
  let depth = 0;

  const push = (value: PickleValue): void => {
    stack.push(value);
    checkLimit('stack', ++depth, limits.stack);
  };
  const pop = (): PickleValue => {
    if (stack.length === 0) throw malformed('an opcode takes a value from an empty stack');
    depth--;
    return stack.pop()!;
  };
  const top = (): PickleValue => {
    if (stack.length === 0) throw malformed('an opcode needs a value on an empty stack');
    return stack[stack.length - 1]!;
  };
  const popMark = (): PickleValue[] => {
    const below = marked.pop();
    if (below === undefined) throw malformed('an opcode needs a mark that is not there');
    const items = stack;
    depth -= items.length;
    stack = below;
    return items;
  };
  const put = (index: number): void => {
    memo.set(index, top());
    checkLimit('memo', memo.size, limits.memo);
  };
  const get = (index: number): void => {
    const value = memo.get(index);
    if (value === undefined) throw malformed(`the memo has no entry ${index}`);
    push(value);
  };
  const pairs = (items: readonly PickleValue[]): [PickleValue, PickleValue][] => {
    if (items.length % 2 !== 0) throw malformed('a key stands without a value');
    return Array.from({ length: items.length / 2 }, (_, i) => [items[2 * i]!, items[2 * i + 1]!]);
  };
  const global = (module: string, name: string): PickleValue => {
    const full = `${MODULES.get(module) ?? module} ${name}`;
    if (!allowed.has(full))
      throw diagError(
        'pickle-forbidden',
        { global: `${module}.${name}` },
        { path, byteOffset: base + reader.position },
      );
    return { kind: 'global', name: full };
  };
  const text = (): string => {
    const value = pop();
    if (typeof value !== 'string') throw malformed('the name of a global is no text');
    return value;
  };
  const call = (callee: PickleValue, argument: PickleValue): PickleValue => {
    if (!isNode(callee, 'global')) throw malformed('something that is no global is called');
    if (!isNode(argument, 'tuple')) throw malformed(`the arguments of ${callee.name} are no tuple`);
    const { name } = callee;
    const args = argument.items;
    if (DICTS.has(name)) {
      // OrderedDict() or, in old protocols, OrderedDict([(key, value), …]); defaultdict(factory).
      const initial = name === 'collections defaultdict' ? undefined : args[0];
      if (initial === undefined) return { kind: 'dict', entries: [] };
      if (!isNode(initial, 'list')) throw malformed(`${name} is made of something that is no list`);
      return {
        kind: 'dict',
        entries: initial.items.map((item): [PickleValue, PickleValue] => {
          if (!(isNode(item, 'tuple') || isNode(item, 'list')) || item.items.length !== 2)
            throw malformed(`${name} is made of something that is no pair`);
          return [item.items[0]!, item.items[1]!];
        }),
      };
    }
    if (SETS.has(name)) {
      const initial = args[0];
      if (initial === undefined) return { kind: 'set', items: [] };
      if (!isNode(initial, 'list') && !isNode(initial, 'tuple')) throw malformed('a set is made of no list');
      return { kind: 'set', items: [...initial.items] };
    }
    return { kind: 'call', callee: name, args };
  };
  const appendAll = (items: readonly PickleValue[], kind: 'list' | 'set'): void => {
    const target = top();
    if (!isNode(target, kind)) throw malformed(`items are added to what is no ${kind}`);
    for (const item of items) target.items.push(item);
  };
  const setAll = (entries: readonly [PickleValue, PickleValue][]): void => {
    const target = top();
    if (!isNode(target, 'dict')) throw malformed('a key is set in what is no dict');
    for (const entry of entries) target.entries.push(entry);
  };

  for (let opcodes = 1; ; opcodes++) {
    checkLimit('number of opcodes', opcodes, limits.opcodes);
    const opcode = reader.u8();
    switch (opcode) {
      // ---- frame and end
      case 0x80: // PROTO
        if (reader.u8() > 5) throw malformed('its protocol is newer than 5');
        break;
      case 0x95: // FRAME: a hint for buffering
        reader.u64();
        break;
      case 0x2e: {
        // STOP
        const value = pop();
        if (stack.length > 0 || marked.length > 0) throw malformed('values are left over at its end');
        return { value, length: reader.position };
      }
      // ---- constants
      case 0x4e: // NONE
        push(null);
        break;
      case 0x88: // NEWTRUE
        push(true);
        break;
      case 0x89: // NEWFALSE
        push(false);
        break;
      case 0x4a: // BININT
        push(reader.i32());
        break;
      case 0x4b: // BININT1
        push(reader.u8());
        break;
      case 0x4d: // BININT2
        push(reader.u16());
        break;
      case 0x8a: // LONG1
        push(integerOf(reader.bytes(reader.u8())));
        break;
      case 0x8b: {
        // LONG4
        const length = reader.i32();
        checkLimit('integer length', length < 0 ? Number.NaN : length, MAX_INTEGER_BYTES);
        push(integerOf(reader.bytes(length)));
        break;
      }
      case 0x49: {
        // INT, and the booleans of protocol 0
        const line = readLine(reader, malformed);
        push(line === '00' ? false : line === '01' ? true : decimalOf(line, malformed));
        break;
      }
      case 0x4c: // LONG
        push(decimalOf(readLine(reader, malformed).replace(/L$/, ''), malformed));
        break;
      case 0x46: // FLOAT
        push(floatOf(readLine(reader, malformed), malformed));
        break;
      case 0x47: // BINFLOAT, the one big-endian number
        push(new DataView(Uint8Array.from(reader.bytes(8)).buffer).getFloat64(0, false));
        break;
      // ---- text and bytes
      case 0x58: // BINUNICODE
        push(utf8(reader.bytes(reader.u32()), malformed));
        break;
      case 0x8c: // SHORT_BINUNICODE
        push(utf8(reader.bytes(reader.u8()), malformed));
        break;
      case 0x8d: // BINUNICODE8
        push(utf8(reader.bytes(reader.u64()), malformed));
        break;
      case 0x56: // UNICODE
        push(rawUnicode(readLine(reader, malformed), malformed));
        break;
      case 0x53: // STRING
        push(quoted(readLine(reader, malformed), malformed));
        break;
      case 0x54: // BINSTRING
        push(byteString(reader.bytes(reader.u32())));
        break;
      case 0x55: // SHORT_BINSTRING
        push(byteString(reader.bytes(reader.u8())));
        break;
      case 0x42: // BINBYTES
        push(reader.bytes(reader.u32()));
        break;
      case 0x43: // SHORT_BINBYTES
        push(reader.bytes(reader.u8()));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        push(reader.bytes(reader.u64()));
        break;
      // ---- containers
      case 0x28: // MARK
        marked.push(stack);
        stack = [];
        checkLimit('stack', depth + marked.length, limits.stack);
        break;
      case 0x29: // EMPTY_TUPLE
        push({ kind: 'tuple', items: [] });
        break;
      case 0x74: // TUPLE
        push({ kind: 'tuple', items: popMark() });
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: {
        // TUPLE3
        const items: PickleValue[] = [];
        for (let i = 0; i < opcode - 0x84; i++) items.unshift(pop());
        push({ kind: 'tuple', items });
        break;
      }
      case 0x5d: // EMPTY_LIST
        push({ kind: 'list', items: [] });
        break;
      case 0x6c: // LIST
        push({ kind: 'list', items: popMark() });
        break;
      case 0x61: // APPEND
        appendAll([pop()], 'list');
        break;
      case 0x65: // APPENDS
        appendAll(popMark(), 'list');
        break;
      case 0x7d: // EMPTY_DICT
        push({ kind: 'dict', entries: [] });
        break;
      case 0x64: // DICT
        push({ kind: 'dict', entries: pairs(popMark()) });
        break;
      case 0x73: {
        // SETITEM
        const value = pop();
        setAll([[pop(), value]]);
        break;
      }
      case 0x75: // SETITEMS
        setAll(pairs(popMark()));
        break;
      case 0x8f: // EMPTY_SET
        push({ kind: 'set', items: [] });
        break;
      case 0x90: // ADDITEMS
        appendAll(popMark(), 'set');
        break;
      case 0x91: // FROZENSET
        push({ kind: 'set', items: popMark() });
        break;
      // ---- stack and memo
      case 0x30: // POP, which also closes an empty mark
        if (stack.length === 0) popMark();
        else pop();
        break;
      case 0x31: // POP_MARK
        popMark();
        break;
      case 0x32: // DUP
        push(top());
        break;
      case 0x94: // MEMOIZE
        put(memo.size);
        break;
      case 0x70: // PUT
        put(indexOf(readLine(reader, malformed), malformed));
        break;
      case 0x71: // BINPUT
        put(reader.u8());
        break;
      case 0x72: // LONG_BINPUT
        put(reader.u32());
        break;
      case 0x67: // GET
        get(indexOf(readLine(reader, malformed), malformed));
        break;
      case 0x68: // BINGET
        get(reader.u8());
        break;
      case 0x6a: // LONG_BINGET
        get(reader.u32());
        break;
      // ---- globals, calls, persistent ids
      case 0x63: // GLOBAL
        push(global(readLine(reader, malformed), readLine(reader, malformed)));
        break;
      case 0x93: {
        // STACK_GLOBAL
        const name = text();
        push(global(text(), name));
        break;
      }
      case 0x69: {
        // INST
        const callee = global(readLine(reader, malformed), readLine(reader, malformed));
        push(call(callee, { kind: 'tuple', items: popMark() }));
        break;
      }
      case 0x6f: {
        // OBJ
        const [callee, ...items] = popMark();
        push(call(callee ?? null, { kind: 'tuple', items }));
        break;
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const args = pop();
        push(call(pop(), args));
        break;
      }
      case 0x92: {
        // NEWOBJ_EX
        const named = pop();
        if (!isNode(named, 'dict') || named.entries.length > 0) throw malformed('a call has named arguments');
        const args = pop();
        push(call(pop(), args));
        break;
      }
      case 0x62: {
        // BUILD
        const state = pop();
        const target = top();
        if (isNode(target, 'call')) target.state = state;
        // State of an OrderedDict is PyTorch's `_metadata`: versions of modules.
        else if (!isNode(target, 'dict')) throw malformed('state is given to what is no object');
        break;
      }
      case 0x50: // PERSID
        push({ kind: 'persistent', id: readLine(reader, malformed) });
        break;
      case 0x51: // BINPERSID
        push({ kind: 'persistent', id: pop() });
        break;
      default:
        // EXT1, EXT2, EXT4 name globals by number, NEXT_BUFFER takes bytes from elsewhere: neither can be checked.
        throw malformed(
          `opcode 0x${opcode.toString(16).padStart(2, '0')} is unknown or needs what is not in the file`,
        );
    }
  }
}

/** Python 2 names of modules. */
const MODULES = new Map([
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
]);

/** Whether a value is a record of this kind. */
export function isNode<K extends PickleNode['kind']>(
  value: PickleValue | undefined,
  kind: K,
): value is PickleNode & { kind: K } {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && value.kind === kind;
}

type Malformed = (problem: string) => DiagError;

/** Bytes up to the next line feed, as Latin-1. */
function readLine(reader: ByteReader, malformed: Malformed): string {
  const codes: number[] = [];
  for (let code = reader.u8(); code !== 0x0a; code = reader.u8()) {
    codes.push(code);
    if (codes.length > 65536) throw malformed('a line is longer than 65,536 bytes');
  }
  return Buffer.from(codes).toString('latin1');
}

const numberOrBig = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : value;

/** Two's complement, little-endian; no bytes are 0. */
function integerOf(bytes: Uint8Array): number | bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return numberOrBig(bytes.length > 0 ? BigInt.asIntN(8 * bytes.length, value) : 0n);
}

function decimalOf(line: string, malformed: Malformed): number | bigint {
  if (!/^[-+]?\d{1,2500}$/.test(line)) throw malformed('an integer is not written in decimal digits');
  return numberOrBig(line.startsWith('+') ? BigInt(line.slice(1)) : BigInt(line));
}

function indexOf(line: string, malformed: Malformed): number {
  if (!/^\d{1,15}$/.test(line)) throw malformed('an index of the memo is no number');
  return Number(line);
}

function floatOf(line: string, malformed: Malformed): number {
  const special = /^([-+]?)(nan|inf|infinity)$/i.exec(line);
  if (special)
    return special[2]!.toLowerCase() === 'nan'
      ? Number.NaN
      : special[1] === '-'
        ? Number.NEGATIVE_INFINITY
        : Number.POSITIVE_INFINITY;
  if (!/^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?$/i.test(line)) throw malformed('a float is no number');
  return Number(line);
}

function utf8(bytes: Uint8Array, malformed: Malformed): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Python writes lone surrogates with "surrogatepass"; a name may hold one.
    const text = Buffer.from(bytes).toString('utf8');
    if (bytes.some((byte) => byte === 0xed)) return text;
    throw malformed('a text is not UTF-8');
  }
}

/** A byte string of Python 2: UTF-8 as PyTorch reads it, else Latin-1. */
function byteString(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('utf8');
  return text.includes('\ufffd') ? Buffer.from(bytes).toString('latin1') : text;
}

/** Python's raw-unicode-escape: only \uXXXX and \UXXXXXXXX are escapes. */
function rawUnicode(line: string, malformed: Malformed): string {
  return line.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) => {
    const code = Number.parseInt((short ?? long)!, 16);
    if (code > 0x10ffff) throw malformed('a text has a character beyond Unicode');
    return String.fromCodePoint(code);
  });
}

/** Python's repr of a byte string. */
function quoted(line: string, malformed: Malformed): string {
  const inner = /^(['"])(.*)\1$/s.exec(line)?.[2];
  if (inner === undefined) throw malformed('a string is not in quotes');
  const escapes = new Map([
    ['n', '\n'],
    ['r', '\r'],
    ['t', '\t'],
    ['a', '\x07'],
    ['b', '\b'],
    ['f', '\f'],
    ['v', '\v'],
  ]);
  const text = inner.replace(
    /\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3})|(.))/gs,
    (_, hex?: string, octal?: string, other?: string) =>
      hex !== undefined || octal !== undefined
        ? String.fromCharCode(
            hex === undefined ? Number.parseInt(octal!, 8) & 0xff : Number.parseInt(hex, 16),
          )
        : (escapes.get(other!) ?? other!),
  );
  return byteString(Uint8Array.from(Buffer.from(text, 'latin1')));
}
