/**
 * A column of numbers as a log holds them: tens of millions in little memory, each read back bit for bit as it was pushed.
 *
 * Numbers are packed in blocks of 256, each by what its own numbers are: a step or a line number is an arithmetic sequence
 * and takes nothing, in however many blocks it goes on; a loss printed with five decimals is a whole number over 10⁵ and
 * takes what the range of those needs, up to four bytes; a float32 that was printed in full takes four; all else eight. A block is packed only if every
 * number comes back from it: what a column holds never depends on how.
 */

/** Numbers in order, by position; a Float64Array is one. */
export interface Column {
  readonly length: number;
  /** The number at a position, counted from the end below 0; undefined outside. */
  at(index: number): number | undefined;
  /** The numbers of [from, to), not copied. */
  subarray(from?: number, to?: number): Column;
  every(test: (value: number, index: number) => unknown): boolean;
  some(test: (value: number, index: number) => unknown): boolean;
  find(test: (value: number, index: number) => unknown): number | undefined;
  findIndex(test: (value: number, index: number) => unknown): number;
  findLastIndex(test: (value: number, index: number) => unknown): number;
  filter(test: (value: number, index: number) => unknown): Column;
  map(to: (value: number, index: number) => number): Column;
  [Symbol.iterator](): IterableIterator<number>;
}

const SHIFT = 8;
/** Numbers of a block. */
export const BLOCK = 1 << SHIFT;
const MASK = BLOCK - 1;
/** Room of a column that has hardly begun: a log may have tens of thousands, and 64 bytes cost V8 no allocation outside of its heap. */
const FEW = 8;

/** The number at a position of the column is `first + (position - from) * stride`: blocks that go on share one. */
interface Sequence {
  readonly from: number;
  readonly first: number;
  readonly stride: number;
}

/** Number k is `(least + code k) / divisor`; codes of three bytes lie in a Uint8Array of three times the length. */
interface Decimals {
  readonly least: number;
  readonly divisor: number;
  readonly codes: Uint8Array | Uint16Array | Uint32Array;
}

type Block = Float64Array | Float32Array | Sequence | Decimals;

/** A block that is not held in memory. */
export class Away {
  constructor(
    readonly room: BlockRoom,
    readonly place: number,
    readonly kind: number,
  ) {}
}

/** Where blocks lie that are not held in memory, as a file. */
export interface BlockRoom {
  /** Takes the bytes of a block; undefined where there is no room for them. */
  put(bytes: Uint8Array, kind: number): Away | undefined;
  /** Fills an array with the bytes at a place. */
  get(place: number, into: Uint8Array): void;
}

let room: BlockRoom | undefined;

/** Puts the blocks of all columns from now on in a room, or in memory. @returns the room until now */
export function keepBlocksIn(next: BlockRoom | undefined): BlockRoom | undefined {
  const before = room;
  room = next;
  return before;
}

/** How the bytes of a block that is away are read. */
const KINDS = [Float64Array, Float32Array, Uint8Array, Uint16Array, Uint32Array] as const;
/** Three bytes a code. */
const TRIPLES = KINDS.length;
const FIRST_DECIMALS = 2;
/** Bytes of `least` and `divisor`, before the codes. */
const HEAD = 16;
/** Bytes of a block that is away, at most. */
export const BLOCK_BYTES = HEAD + BLOCK * 8;

const bytesOf = ({ buffer, byteOffset, byteLength }: Float64Array | Float32Array | Decimals['codes']) =>
  new Uint8Array(buffer, byteOffset, byteLength);
const packing = new Uint8Array(BLOCK_BYTES);
const packingHead = new Float64Array(packing.buffer, 0, 2);

/** A block in the room; the block itself where it is small, or there is no room. */
function putAway(block: Block): Block | Away {
  if (room === undefined || 'stride' in block) return block;
  const isDecimal = 'codes' in block;
  const numbers = isDecimal ? block.codes : block;
  const head = isDecimal ? HEAD : 0;
  if (isDecimal) {
    packingHead[0] = block.least;
    packingHead[1] = block.divisor;
  }
  packing.set(bytesOf(numbers), head);
  const kind =
    isDecimal && numbers.length > BLOCK ? TRIPLES : KINDS.findIndex((one) => numbers instanceof one);
  return room.put(packing.subarray(0, head + numbers.byteLength), kind) ?? block;
}

function fetched({ room, place, kind }: Away): Block {
  const Numbers = KINDS[kind] ?? Uint8Array;
  const codes = new Numbers(kind === TRIPLES ? 3 * BLOCK : BLOCK);
  if (kind < FIRST_DECIMALS) {
    room.get(place, bytesOf(codes));
    return codes as Float64Array | Float32Array;
  }
  const bytes = packing.subarray(0, HEAD + codes.byteLength);
  room.get(place, bytes);
  bytesOf(codes).set(bytes.subarray(HEAD));
  return { least: packingHead[0]!, divisor: packingHead[1]!, codes: codes as Decimals['codes'] };
}

/** So many blocks that were fetched last are kept, each at a slot by its place: 2 MB at most. */
const SLOT_BITS = 10;
const slots: ({ readonly away: Away; readonly block: Block } | undefined)[] = Array.from({
  length: 1 << SLOT_BITS,
});

/** A block in memory. */
function here(block: Block | Away): Block {
  if (!(block instanceof Away)) return block;
  const slot = Math.imul(block.place, 0x9e3779b1) >>> (32 - SLOT_BITS);
  const known = slots[slot];
  if (known?.away === block) return known.block;
  const found = fetched(block);
  slots[slot] = { away: block, block: found };
  return found;
}

/** Powers of ten that are exact; a quotient of two exact numbers is rounded once, as a decimal that is read is. */
const POWERS = Float64Array.from({ length: 23 }, (_, k) => Number(`1e${k}`));

/** Whether a block of numbers, the first of which is at a position, goes on a sequence. */
function goesOn({ from, first, stride }: Sequence, values: Float64Array, position: number): boolean {
  for (let k = 0; k < BLOCK; k++)
    if (!Object.is(first + (position - from + k) * stride, values[k])) return false;
  return true;
}

function sequenceOf(
  values: Float64Array,
  from: number,
  before: Block | Away | undefined,
): Sequence | undefined {
  if (before !== undefined && 'stride' in before && goesOn(before, values, from)) return before;
  const first = values[0]!;
  const stride = values[1] === first ? 0 : values[1]! - first;
  const own = { from, first, stride };
  return goesOn(own, values, from) ? own : undefined;
}

/** The whole numbers of the block that is being packed. */
const whole = new Float64Array(BLOCK);

/** Fills `whole` with the numbers times a power of ten; whether each of them is the quotient of the two. */
function areDecimals(values: Float64Array, divisor: number): boolean {
  for (let k = 0; k < BLOCK; k++) {
    const value = values[k]!;
    const code = Math.round(value * divisor);
    if (code / divisor !== value || (code === 0 && !Object.is(value, 0))) return false;
    whole[k] = code;
  }
  return true;
}

function decimalsOf(values: Float64Array): Decimals | undefined {
  // Most numbers have all the digits of the column: too few are noticed at the first of them.
  const divisor = POWERS.find((power) => areDecimals(values, power));
  if (divisor === undefined) return undefined;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (let k = 0; k < BLOCK; k++) {
    const code = whole[k]!;
    if (code < least) least = code;
    if (code > most) most = code;
  }
  const range = most - least;
  if (range >= 2 ** 32 || most > Number.MAX_SAFE_INTEGER || least < Number.MIN_SAFE_INTEGER) return undefined;
  if (range >= 2 ** 16 && range < 2 ** 24) {
    const codes = new Uint8Array(3 * BLOCK);
    for (let k = 0, at = 0; k < BLOCK; k++, at += 3) {
      const code = whole[k]! - least;
      codes[at] = code;
      codes[at + 1] = code >> 8;
      codes[at + 2] = code >> 16;
    }
    return { least, divisor, codes };
  }
  const codes =
    range < 2 ** 8
      ? new Uint8Array(BLOCK)
      : range < 2 ** 16
        ? new Uint16Array(BLOCK)
        : new Uint32Array(BLOCK);
  for (let k = 0; k < BLOCK; k++) codes[k] = whole[k]! - least;
  return { least, divisor, codes };
}

function singlesOf(values: Float64Array): Float32Array | undefined {
  for (let k = 0; k < BLOCK; k++) if (!Object.is(Math.fround(values[k]!), values[k])) return undefined;
  return Float32Array.from(values);
}

/**
 * A block of numbers: the array itself where they cannot be packed.
 *
 * @param from position of its first number
 * @param before the block before it
 */
const packed = (values: Float64Array, from: number, before: Block | Away | undefined): Block =>
  sequenceOf(values, from, before) ?? decimalsOf(values) ?? singlesOf(values) ?? values;

function unpackDecimals({ least, divisor, codes }: Decimals, into: Float64Array): void {
  // One loop for each type of array: one over all of them would look the type up for every number.
  if (codes instanceof Uint16Array) for (let k = 0; k < BLOCK; k++) into[k] = (least + codes[k]!) / divisor;
  else if (codes instanceof Uint32Array)
    for (let k = 0; k < BLOCK; k++) into[k] = (least + codes[k]!) / divisor;
  else if (codes.length === BLOCK) for (let k = 0; k < BLOCK; k++) into[k] = (least + codes[k]!) / divisor;
  else
    for (let k = 0, at = 0; k < BLOCK; k++, at += 3)
      into[k] = (least + (codes[at]! | (codes[at + 1]! << 8) | (codes[at + 2]! << 16))) / divisor;
}

/**
 * The numbers of a block: itself where it is not packed, else in `into`.
 *
 * @param index of the block in its column
 */
function unpacked(block: Block, index: number, into: Float64Array): Float64Array {
  if (block instanceof Float64Array) return block;
  if (block instanceof Float32Array) into.set(block);
  else if ('stride' in block) {
    const { from, first, stride } = block;
    const past = index * BLOCK - from;
    for (let k = 0; k < BLOCK; k++) into[k] = first + (past + k) * stride;
  } else unpackDecimals(block, into);
  return into;
}

/** So many numbers cost as much one by one as their block does: it is unpacked after as many that were not in one that is. */
const MISSES = 64;

const NONE = new Float64Array(0);

/** A block of a column that is unpacked, for as long as its column is among those that were asked last. */
class Window {
  index = -1;
  values: Float64Array = NONE;
  room: Float64Array | undefined;
}

/** So many windows have room for a block, those that asked for it last: 1 MB at most, however many columns there are. */
const ROOMS = 512;
const furnished: Window[] = [];
let oldest = 0;

/** Gives a window the room of the one that has had it longest. */
function furnish(window: Window): Float64Array {
  const before = furnished[oldest];
  const room = before?.room ?? new Float64Array(BLOCK);
  if (before !== undefined) {
    before.index = -1;
    before.values = NONE;
    before.room = undefined;
  }
  furnished[oldest] = window;
  oldest = (oldest + 1) % ROOMS;
  window.room = room;
  return room;
}

/** Numbers in blocks, which a column and its views share, with the last two blocks that were asked for often. */
class Blocks {
  /** A window that moves on over the seam of two blocks needs both: those of even and odd index are kept apart. */
  private readonly even = new Window();
  private readonly odd = new Window();
  private misses = 0;

  constructor(private readonly blocks: readonly (Block | Away)[]) {}

  at(position: number): number {
    const block = position >>> SHIFT;
    const window = (block & 1) === 0 ? this.even : this.odd;
    if (block !== window.index) {
      // A loop over two places far apart would unpack a block for every number.
      if (++this.misses < MISSES) return this.pick(position);
      this.misses = 0;
      window.values = unpacked(here(this.blocks[block]!), block, window.room ?? furnish(window));
      window.index = block;
    }
    return window.values[position & MASK]!;
  }

  /** The number at a position, without its block: for a few that lie far apart. */
  pick(position: number): number {
    const block = here(this.blocks[position >>> SHIFT]!);
    const k = position & MASK;
    if (block instanceof Float64Array || block instanceof Float32Array) return block[k]!;
    if ('stride' in block) return block.first + (position - block.from) * block.stride;
    const { least, divisor, codes } = block;
    const code =
      codes.length === BLOCK
        ? codes[k]!
        : codes[3 * k]! | (codes[3 * k + 1]! << 8) | (codes[3 * k + 2]! << 16);
    return (least + code) / divisor;
  }

  /** The numbers of [from, to) piece by piece, see {@link blocksOf}. */
  *pieces(from: number, to: number): Generator<Float64Array, void, undefined> {
    const room = new Float64Array(BLOCK);
    for (let at = from; at < to; ) {
      const index = at >>> SHIFT;
      const values = unpacked(here(this.blocks[index]!), index, room);
      const begin = at & MASK;
      const end = Math.min(BLOCK, to - index * BLOCK);
      yield begin === 0 && end === values.length ? values : values.subarray(begin, end);
      at += end - begin;
    }
  }
}

/** The numbers of blocks from a position on. */
class PackedColumn implements Column {
  constructor(
    private readonly blocks: Blocks,
    private readonly first: number,
    readonly length: number,
  ) {}

  at(index: number): number | undefined {
    const k = index < 0 ? index + this.length : index;
    return k >= 0 && k < this.length ? this.blocks.at(this.first + k) : undefined;
  }

  /** The number at a position inside. */
  inside(index: number): number {
    return this.blocks.at(this.first + index);
  }

  pick(index: number): number {
    return this.blocks.pick(this.first + index);
  }

  pieces(): Generator<Float64Array, void, undefined> {
    return this.blocks.pieces(this.first, this.first + this.length);
  }

  subarray(from = 0, to = this.length): Column {
    const begin = inside(from, this.length);
    if (begin === 0 && inside(to, this.length) === this.length) return this;
    return new PackedColumn(this.blocks, this.first + begin, Math.max(0, inside(to, this.length) - begin));
  }

  every(test: (value: number, index: number) => unknown): boolean {
    return this.findIndex((value, index) => !test(value, index)) < 0;
  }

  some(test: (value: number, index: number) => unknown): boolean {
    return this.findIndex(test) >= 0;
  }

  find(test: (value: number, index: number) => unknown): number | undefined {
    const index = this.findIndex(test);
    return index < 0 ? undefined : this.at(index);
  }

  findIndex(test: (value: number, index: number) => unknown): number {
    let index = 0;
    for (const piece of this.pieces())
      for (let k = 0; k < piece.length; k++, index++) if (test(piece[k]!, index)) return index;
    return -1;
  }

  findLastIndex(test: (value: number, index: number) => unknown): number {
    for (let index = this.length - 1; index >= 0; index--) if (test(this.at(index)!, index)) return index;
    return -1;
  }

  filter(test: (value: number, index: number) => unknown): Column {
    const kept = new ColumnBuilder();
    let index = 0;
    for (const piece of this.pieces())
      for (let k = 0; k < piece.length; k++) if (test(piece[k]!, index++)) kept.push(piece[k]!);
    return kept.finish();
  }

  map(to: (value: number, index: number) => number): Column {
    const made = new ColumnBuilder();
    let index = 0;
    for (const piece of this.pieces())
      for (let k = 0; k < piece.length; k++) made.push(to(piece[k]!, index++));
    return made.finish();
  }

  *[Symbol.iterator](): Generator<number, void, undefined> {
    for (const piece of this.pieces()) yield* piece;
  }
}

/** A position as `subarray` takes it: below 0 from the end, within the length. */
const inside = (position: number, length: number): number =>
  position < 0 ? Math.max(0, position + length) : Math.min(position, length);

/** A column that grows at its end. One of fewer numbers than a block is a Float64Array in the end. */
export class ColumnBuilder {
  private readonly blocks: (Block | Away)[] = [];
  /** The numbers after the last whole block; full only until the next number comes. */
  private tail: Float64Array = NONE;
  private held = 0;
  /** How many numbers the whole blocks have. */
  private before = 0;

  get length(): number {
    return this.before + this.held;
  }

  push(value: number): void {
    if (this.held === this.tail.length) this.makeRoom();
    this.tail[this.held++] = value;
  }

  private makeRoom(): void {
    if (this.held === BLOCK) {
      const block = putAway(packed(this.tail, this.before, this.blocks.at(-1)));
      this.blocks.push(block === this.tail ? this.tail.slice() : block);
      this.before += BLOCK;
      this.held = 0;
      return;
    }
    const wider = new Float64Array(Math.min(BLOCK, Math.max(FEW, 2 * this.held)));
    wider.set(this.tail);
    this.tail = wider;
  }

  /** The last number; undefined where there is none. */
  last(): number | undefined {
    this.fillTail();
    return this.held === 0 ? undefined : this.tail[this.held - 1];
  }

  /** Takes the last number back, where there is one. */
  pop(): void {
    this.fillTail();
    if (this.held > 0) this.held--;
  }

  /** Takes the numbers of the last block up again, where none follows it. */
  private fillTail(): void {
    const block = this.held === 0 ? this.blocks.pop() : undefined;
    if (block === undefined) return;
    // Written to from here on: a block that is away may be in use elsewhere.
    if (block instanceof Float64Array) this.tail = block;
    else this.tail.set(unpacked(here(block), this.blocks.length, this.tail));
    this.before -= BLOCK;
    this.held = BLOCK;
  }

  /** The numbers so far; they stay as they are when more are pushed, until one of them is taken back. */
  finish(): Column {
    // A part of the tail would keep all of it.
    const rest = this.tail.slice(0, this.held);
    return this.blocks.length === 0
      ? rest
      : new PackedColumn(new Blocks([...this.blocks, rest]), 0, this.length);
  }
}

/** Whether a value is a column that is packed. */
export const isPacked = (value: unknown): value is Column => value instanceof PackedColumn;

/** Whether numbers lie in one array, unpacked. */
export const isArray = (values: Column | ArrayLike<number>): values is ArrayLike<number> => !isPacked(values);

/**
 * The numbers of a column piece by piece, for loops over all of them. A piece holds until the next one is asked for, and
 * is not to be written to.
 */
export const blocksOf = (column: Column): Iterable<Float64Array> =>
  column instanceof PackedColumn
    ? column.pieces()
    : [column instanceof Float64Array ? column : Float64Array.from(column)];

/** The numbers of some columns, one column after the other. */
export function joinedOf(columns: readonly Column[]): Column {
  const made = new ColumnBuilder();
  for (const column of columns)
    for (const block of blocksOf(column)) for (let k = 0; k < block.length; k++) made.push(block[k]!);
  return made.finish();
}

/** Whether its values differ; NaN differs from itself. */
export function varies(column: Column): boolean {
  const first = column.at(0);
  return column.some((one) => one !== first);
}

/** The number at a position of a column, for loops that ask for many; positions are inside. */
export const readerOf = (column: Column): ((index: number) => number) =>
  column instanceof Float64Array
    ? (index) => column[index]!
    : column instanceof PackedColumn
      ? (index) => column.inside(index)
      : (index) => column.at(index)!;

/** The same for loops that ask for a few that lie far apart. */
export const pickerOf = (column: Column): ((index: number) => number) =>
  column instanceof PackedColumn ? (index) => column.pick(index) : readerOf(column);

/** Number of leading entries that are at most `limit`, of numbers that do not fall. */
export function upperBound(column: Column, limit: number): number {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column.at(middle)! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** At most so many entries from one on to another, evenly spaced. */
export function evenly(column: Column, from: number, to: number, most: number): Float64Array {
  const at = pickerOf(column);
  const stride = Math.max(1, Math.ceil((to - from) / most));
  return Float64Array.from({ length: Math.floor((to - from) / stride) }, (_, k) => at(from + k * stride));
}

/** The numbers in one array, which is the column itself where it is one: not to be written to. */
export const arrayOf = (column: Column): Float64Array =>
  column instanceof Float64Array ? column : copyOf(column);

/** A copy of [from, to), which may be written to; both positions are from the start. */
export function copyOf(column: Column, from = 0, to: number = column.length): Float64Array {
  if (column instanceof Float64Array) return column.slice(from, to);
  const copy = new Float64Array(Math.max(0, Math.min(to, column.length) - from));
  if (copy.length <= BLOCK) {
    for (let k = 0; k < copy.length; k++) copy[k] = column.at(from + k)!;
    return copy;
  }
  let at = 0;
  for (const piece of blocksOf(column.subarray(from, to))) {
    copy.set(piece, at);
    at += piece.length;
  }
  return copy;
}
