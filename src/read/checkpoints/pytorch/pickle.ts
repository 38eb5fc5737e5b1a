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
import { malformed } from '../faults.ts';

export type PickleValue = null | boolean | number | bigint | string | Uint8Array | PickleNode;

export type PickleNode =
  | { readonly kind: 'list' | 'tuple' | 'set'; readonly items: PickleValue[] }
  /** Also an OrderedDict or defaultdict. Entries in order; a key may come twice. */
  | { readonly kind: 'dict'; readonly entries: Entry[] }
  /** Module and name with a space between: `torch._utils _rebuild_tensor_v2`. */
  | { readonly kind: 'global'; readonly name: string }
  | {
      readonly kind: 'call';
      readonly callee: string;
      readonly args: readonly PickleValue[];
      state?: PickleValue;
    }
  | { readonly kind: 'persistent'; readonly id: PickleValue };

/** A key and its value. */
export type Entry = [PickleValue, PickleValue];

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

/** Python 2 names of modules. */
const MODULES = new Map([
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
]);

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
  const machine = new Machine(reader, allowed, path, base, limits);
  for (let opcodes = 1; ; opcodes++) {
    machine.checkLimit('number of opcodes', opcodes, limits.opcodes);
    const opcode = reader.u8();
    if (opcode === STOP) return { value: machine.result(), length: reader.position };
    const operation = OPERATIONS[opcode];
    if (operation === undefined)
      throw machine.malformed(
        `opcode 0x${opcode.toString(16).padStart(2, '0')} is unknown or needs what is not in the file`,
      );
    operation(machine);
  }
}

/** What opcodes work on: a stack, the stacks below each open mark, and the memo. */
class Machine {
  #stack: PickleValue[] = [];
  readonly #marked: PickleValue[][] = [];
  readonly #memo = new Map<number, PickleValue>();
  /** How many values are on all stacks. */
  #depth = 0;

  constructor(
    readonly reader: ByteReader,
    private readonly allowed: ReadonlySet<string>,
    private readonly path: string,
    private readonly base: number,
    private readonly limits: PickleLimits,
  ) {}

  malformed(problem: string): DiagError {
    return malformed('pickle', problem, this.#where());
  }

  #where(): { path: string; byteOffset: number } {
    return { path: this.path, byteOffset: this.base + this.reader.position };
  }

  /** @throws limit-exceeded where `found` is above `limit` or is NaN */
  checkLimit(what: string, found: number, limit: number): void {
    if (!(found <= limit))
      throw diagError(
        'limit-exceeded',
        { what: `the ${what} of a pickle`, found, limit, hint: 'no checkpoint of a framework comes near it' },
        this.#where(),
      );
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
    this.checkLimit('stack', ++this.#depth, this.limits.stack);
  }

  pop(): PickleValue {
    if (this.#stack.length === 0) throw this.malformed('an opcode takes a value from an empty stack');
    this.#depth--;
    return this.#stack.pop()!;
  }

  /** The last `count` values, in the order in which they were pushed. */
  popLast(count: number): PickleValue[] {
    const items: PickleValue[] = [];
    for (let i = 0; i < count; i++) items.unshift(this.pop());
    return items;
  }

  top(): PickleValue {
    if (this.#stack.length === 0) throw this.malformed('an opcode needs a value on an empty stack');
    return this.#stack[this.#stack.length - 1]!;
  }

  mark(): void {
    this.#marked.push(this.#stack);
    this.#stack = [];
    this.checkLimit('stack', this.#depth + this.#marked.length, this.limits.stack);
  }

  /** The values since the last mark. */
  popMark(): PickleValue[] {
    const below = this.#marked.pop();
    if (below === undefined) throw this.malformed('an opcode needs a mark that is not there');
    const items = this.#stack;
    this.#depth -= items.length;
    this.#stack = below;
    return items;
  }

  /** Takes a value away, or an empty mark. */
  drop(): void {
    if (this.#stack.length === 0) this.popMark();
    else this.pop();
  }

  /** @param index by default the next that is free */
  put(index = this.#memo.size): void {
    this.#memo.set(index, this.top());
    this.checkLimit('memo', this.#memo.size, this.limits.memo);
  }

  get(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.malformed(`the memo has no entry ${index}`);
    this.push(value);
  }

  /** The one value that is left at the end. */
  result(): PickleValue {
    const value = this.pop();
    if (this.#stack.length > 0 || this.#marked.length > 0)
      throw this.malformed('values are left over at its end');
    return value;
  }

  /** Bytes up to the next line feed, as Latin-1. */
  line(): string {
    const codes: number[] = [];
    for (let code = this.reader.u8(); code !== 0x0a; code = this.reader.u8()) {
      codes.push(code);
      if (codes.length > 65536) throw this.malformed('a line is longer than 65,536 bytes');
    }
    return Buffer.from(codes).toString('latin1');
  }

  append(items: readonly PickleValue[], kind: 'list' | 'set'): void {
    const target = this.top();
    if (!isNode(target, kind)) throw this.malformed(`items are added to what is no ${kind}`);
    for (const item of items) target.items.push(item);
  }

  set(entries: readonly Entry[]): void {
    const target = this.top();
    if (!isNode(target, 'dict')) throw this.malformed('a key is set in what is no dict');
    for (const entry of entries) target.entries.push(entry);
  }

  /** Gives the state on the stack to the object below it. */
  build(): void {
    const state = this.pop();
    const target = this.top();
    if (isNode(target, 'call')) target.state = state;
    // State of an OrderedDict is PyTorch's `_metadata`: versions of modules.
    else if (!isNode(target, 'dict')) throw this.malformed('state is given to what is no object');
  }

  global(module: string, name: string): PickleValue {
    const full = `${MODULES.get(module) ?? module} ${name}`;
    if (!this.allowed.has(full))
      throw diagError('pickle-forbidden', { global: `${module}.${name}` }, this.#where());
    return { kind: 'global', name: full };
  }

  /** The text on the stack, of which a global's name is made. */
  popText(): string {
    const value = this.pop();
    if (typeof value !== 'string') throw this.malformed('the name of a global is not text');
    return value;
  }

  call(callee: PickleValue, argument: PickleValue): void {
    if (!isNode(callee, 'global')) throw this.malformed('something that is no global is called');
    if (!isNode(argument, 'tuple')) throw this.malformed(`the arguments of ${callee.name} are no tuple`);
    const { name } = callee;
    const { items } = argument;
    if (DICTS.has(name)) this.push(dictOf(name, items[0], this));
    else if (SETS.has(name)) this.push(setOf(items[0], this));
    else this.push({ kind: 'call', callee: name, args: items });
  }
}

/** `OrderedDict()` or, in old protocols, `OrderedDict([(key, value), …])`; `defaultdict(factory)`. */
function dictOf(name: string, argument: PickleValue | undefined, machine: Machine): PickleNode {
  if (argument === undefined || name === 'collections defaultdict') return { kind: 'dict', entries: [] };
  if (!isNode(argument, 'list')) throw machine.malformed(`${name} is made of something that is no list`);
  return {
    kind: 'dict',
    entries: argument.items.map((item): Entry => {
      if (!(isNode(item, 'tuple') || isNode(item, 'list')) || item.items.length !== 2)
        throw machine.malformed(`${name} is made of something that is no pair`);
      return [item.items[0]!, item.items[1]!];
    }),
  };
}

function setOf(argument: PickleValue | undefined, machine: Machine): PickleNode {
  if (argument === undefined) return { kind: 'set', items: [] };
  if (!isNode(argument, 'list') && !isNode(argument, 'tuple'))
    throw machine.malformed('a set is made of no list');
  return { kind: 'set', items: [...argument.items] };
}

/** Keys and values in turn. */
function pairs(items: readonly PickleValue[], machine: Machine): Entry[] {
  if (items.length % 2 !== 0) throw machine.malformed('a key has no value');
  return Array.from({ length: items.length / 2 }, (_, i) => [items[2 * i]!, items[2 * i + 1]!]);
}

const STOP = 0x2e;

/**
 * What each opcode but STOP does. EXT1, EXT2 and EXT4 name globals by number, NEXT_BUFFER takes bytes from elsewhere: neither
 * can be checked, so that they are not here.
 */
const OPERATIONS: Readonly<Record<number, (m: Machine) => void>> = {
  // ---- frame
  128: (m) => checkProtocol(m.reader.u8(), m), // PROTO
  149: (m) => void m.reader.u64(), // FRAME, a hint for buffering
  // ---- constants
  78: (m) => m.push(null), // NONE
  136: (m) => m.push(true), // NEWTRUE
  137: (m) => m.push(false), // NEWFALSE
  74: (m) => m.push(m.reader.i32()), // BININT
  75: (m) => m.push(m.reader.u8()), // BININT1
  77: (m) => m.push(m.reader.u16()), // BININT2
  138: (m) => m.push(integerOf(m.reader.bytes(m.reader.u8()))), // LONG1
  139: (m) => m.push(integerOf(m.reader.bytes(longLength(m)))), // LONG4
  73: (m) => m.push(integerOrBoolean(m.line(), m)), // INT
  76: (m) => m.push(decimalOf(m.line().replace(/L$/, ''), m)), // LONG
  70: (m) => m.push(floatOf(m.line(), m)), // FLOAT
  71: (m) => m.push(bigEndianFloat(m.reader.bytes(8))), // BINFLOAT
  // ---- text and bytes
  88: (m) => m.push(utf8(m.reader.bytes(m.reader.u32()), m)), // BINUNICODE
  140: (m) => m.push(utf8(m.reader.bytes(m.reader.u8()), m)), // SHORT_BINUNICODE
  141: (m) => m.push(utf8(m.reader.bytes(m.reader.u64()), m)), // BINUNICODE8
  86: (m) => m.push(rawUnicode(m.line(), m)), // UNICODE
  83: (m) => m.push(quoted(m.line(), m)), // STRING
  84: (m) => m.push(byteString(m.reader.bytes(m.reader.u32()))), // BINSTRING
  85: (m) => m.push(byteString(m.reader.bytes(m.reader.u8()))), // SHORT_BINSTRING
  66: (m) => m.push(m.reader.bytes(m.reader.u32())), // BINBYTES
  67: (m) => m.push(m.reader.bytes(m.reader.u8())), // SHORT_BINBYTES
  142: (m) => m.push(m.reader.bytes(m.reader.u64())), // BINBYTES8
  150: (m) => m.push(m.reader.bytes(m.reader.u64())), // BYTEARRAY8
  // ---- containers
  40: (m) => m.mark(), // MARK
  41: (m) => m.push({ kind: 'tuple', items: [] }), // EMPTY_TUPLE
  116: (m) => m.push({ kind: 'tuple', items: m.popMark() }), // TUPLE
  133: (m) => m.push({ kind: 'tuple', items: m.popLast(1) }), // TUPLE1
  134: (m) => m.push({ kind: 'tuple', items: m.popLast(2) }), // TUPLE2
  135: (m) => m.push({ kind: 'tuple', items: m.popLast(3) }), // TUPLE3
  93: (m) => m.push({ kind: 'list', items: [] }), // EMPTY_LIST
  108: (m) => m.push({ kind: 'list', items: m.popMark() }), // LIST
  97: (m) => m.append([m.pop()], 'list'), // APPEND
  101: (m) => m.append(m.popMark(), 'list'), // APPENDS
  125: (m) => m.push({ kind: 'dict', entries: [] }), // EMPTY_DICT
  100: (m) => m.push({ kind: 'dict', entries: pairs(m.popMark(), m) }), // DICT
  115: (m) => m.set(pairs(m.popLast(2), m)), // SETITEM
  117: (m) => m.set(pairs(m.popMark(), m)), // SETITEMS
  143: (m) => m.push({ kind: 'set', items: [] }), // EMPTY_SET
  144: (m) => m.append(m.popMark(), 'set'), // ADDITEMS
  145: (m) => m.push({ kind: 'set', items: m.popMark() }), // FROZENSET
  // ---- stack and memo
  48: (m) => m.drop(), // POP
  49: (m) => void m.popMark(), // POP_MARK
  50: (m) => m.push(m.top()), // DUP
  148: (m) => m.put(), // MEMOIZE
  112: (m) => m.put(indexOf(m.line(), m)), // PUT
  113: (m) => m.put(m.reader.u8()), // BINPUT
  114: (m) => m.put(m.reader.u32()), // LONG_BINPUT
  103: (m) => m.get(indexOf(m.line(), m)), // GET
  104: (m) => m.get(m.reader.u8()), // BINGET
  106: (m) => m.get(m.reader.u32()), // LONG_BINGET
  // ---- globals, calls, persistent ids
  99: (m) => m.push(m.global(m.line(), m.line())), // GLOBAL
  147: (m) => m.push(stackGlobal(m)), // STACK_GLOBAL
  105: (m) => m.call(m.global(m.line(), m.line()), { kind: 'tuple', items: m.popMark() }), // INST
  111: (m) => callFirst(m.popMark(), m), // OBJ
  82: callWithTuple, // REDUCE
  129: callWithTuple, // NEWOBJ
  146: callWithNames, // NEWOBJ_EX
  98: (m) => m.build(), // BUILD
  80: (m) => m.push({ kind: 'persistent', id: m.line() }), // PERSID
  81: (m) => m.push({ kind: 'persistent', id: m.pop() }), // BINPERSID
};

function checkProtocol(protocol: number, machine: Machine): void {
  if (protocol > 5) throw machine.malformed('its protocol is newer than 5');
}

function stackGlobal(machine: Machine): PickleValue {
  const name = machine.popText();
  return machine.global(machine.popText(), name);
}

const callFirst = ([callee, ...items]: readonly PickleValue[], machine: Machine): void =>
  machine.call(callee ?? null, { kind: 'tuple', items });

function callWithTuple(machine: Machine): void {
  const args = machine.pop();
  machine.call(machine.pop(), args);
}

/** Named arguments are nothing that a checkpoint needs. */
function callWithNames(machine: Machine): void {
  const named = machine.pop();
  if (!isNode(named, 'dict') || named.entries.length > 0)
    throw machine.malformed('a call has named arguments');
  callWithTuple(machine);
}

/** Whether a value is a record of this kind. */
export function isNode<K extends PickleNode['kind']>(
  value: PickleValue | undefined,
  kind: K,
): value is PickleNode & { kind: K } {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && value.kind === kind;
}

/** The length of a LONG4. */
function longLength(machine: Machine): number {
  const length = machine.reader.i32();
  machine.checkLimit('integer length', length < 0 ? Number.NaN : length, MAX_INTEGER_BYTES);
  return length;
}

/** The one big-endian number. */
const bigEndianFloat = (bytes: Uint8Array): number =>
  new DataView(Uint8Array.from(bytes).buffer).getFloat64(0, false);

/** Booleans of protocol 0 are `00` and `01`. */
const integerOrBoolean = (line: string, machine: Machine): PickleValue =>
  line === '00' ? false : line === '01' ? true : decimalOf(line, machine);

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

function decimalOf(line: string, machine: Machine): number | bigint {
  if (!/^[-+]?\d{1,2500}$/.test(line)) throw machine.malformed('an integer is not written in decimal digits');
  return numberOrBig(line.startsWith('+') ? BigInt(line.slice(1)) : BigInt(line));
}

function indexOf(line: string, machine: Machine): number {
  if (!/^\d{1,15}$/.test(line)) throw machine.malformed('an index of the memo is not a number');
  return Number(line);
}

function floatOf(line: string, machine: Machine): number {
  const special = /^([-+]?)(nan|inf|infinity)$/i.exec(line);
  if (special)
    return special[2]!.toLowerCase() === 'nan'
      ? Number.NaN
      : special[1] === '-'
        ? Number.NEGATIVE_INFINITY
        : Number.POSITIVE_INFINITY;
  if (!/^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?$/i.test(line))
    throw machine.malformed('a float is not a number');
  return Number(line);
}

function utf8(bytes: Uint8Array, machine: Machine): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // Python writes lone surrogates with "surrogatepass"; a name may hold one.
    const text = Buffer.from(bytes).toString('utf8');
    if (bytes.some((byte) => byte === 0xed)) return text;
    throw machine.malformed('a text is not UTF-8');
  }
}

/** A byte string of Python 2: UTF-8 as PyTorch reads it, else Latin-1. */
function byteString(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('utf8');
  return text.includes('\ufffd') ? Buffer.from(bytes).toString('latin1') : text;
}

/** Python's raw-unicode-escape: only \uXXXX and \UXXXXXXXX are escapes. */
function rawUnicode(line: string, machine: Machine): string {
  return line.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) => {
    const code = Number.parseInt((short ?? long)!, 16);
    if (code > 0x10ffff) throw machine.malformed('a text has a character beyond Unicode');
    return String.fromCodePoint(code);
  });
}

/** Python's repr of a byte string. */
function quoted(line: string, machine: Machine): string {
  const inner = /^(['"])(.*)\1$/s.exec(line)?.[2];
  if (inner === undefined) throw machine.malformed('a string is not in quotes');
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
