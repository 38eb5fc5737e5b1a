/**
 * Linear sketch and checksum of a tensor, by which runs are compared. `python/src/clippy_diag/sketch.py` states both
 * definitions; `fixtures/sketch/cases.json` holds the two languages to the same numbers.
 *
 *     mix(x)    x ^= x >>> 16; x *= 0x7feb352d; x ^= x >>> 15; x *= 0x846ca68b; x ^= x >>> 16      (in 32 bits)
 *     fold(i)   low 32 bits of i + 0x9e3779b1 · ⌊i / 2³²⌋
 *     h         mix(fold(i) ^ seed(name)): bits 0–4 bucket of table 1, 5 its sign, 6–10 bucket of table 2, 11 its sign
 */

/** Numbers in a sketch: two tables of 32 buckets. */
export const SKETCH_SIZE = 64;

/** Where a shard lies in its tensor: shape of the whole tensor, and first index of the shard in each axis. */
export interface Box {
  readonly shape: readonly number[];
  readonly start: readonly number[];
  /** Shape of the shard. */
  readonly local: readonly number[];
}

/** Flat row-major index of the first value of a contiguous range (0: the whole tensor), or a box. */
export type Place = number | Box;

/** Typed arrays whose bits a checksum reads; a type that JavaScript lacks is given as its words (bfloat16 as Uint16Array). */
export type Words =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

const GOLDEN = 0x9e3779b1;
const TWO_32 = 2 ** 32;
/** Hash codes of entries, and entries that are summed before they are added to the rest, both as in sketch.py. */
const CODES = 4096;
const CHUNK = 2 ** 15;
/** Sums of so many 32-bit numbers are exact in float64. */
const EXACT = 2 ** 20;

function mix(value: number): number {
  let x = value;
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  x ^= x >>> 16;
  return x >>> 0;
}

/** 32-bit seed of a tensor's name: the mixed FNV-1a hash of its UTF-8 bytes. */
export function seedOf(name: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) value = Math.imul(value ^ byte, 0x01000193);
  return mix(value);
}

const fold = (index: number): number =>
  ((index % TWO_32) | 0) + Math.imul(GOLDEN, Math.floor(index / TWO_32));

/** Global row-major index of the local entry `at`. */
function globalIndex(place: Place, at: number): number {
  if (typeof place === 'number') return place + at;
  let left = at;
  let stride = 1;
  let index = 0;
  for (let axis = place.shape.length - 1; axis >= 0; axis--) {
    index += ((left % place.local[axis]!) + place.start[axis]!) * stride;
    left = Math.floor(left / place.local[axis]!);
    stride *= place.shape[axis]!;
  }
  return index;
}

/**
 * Sketch of a tensor or of a shard of it: 64 sums in float64. Sketches of shards add up to the sketch of the whole, and
 * the difference of two sketches is the sketch of the difference. An entry that is NaN or infinite makes its two buckets
 * so; the others stay. Sums are taken in the order of sketch.py: the sketches of equal tensors are equal to the bit.
 */
export function sketch(values: ArrayLike<number>, name: string, place: Place = 0): Float64Array {
  const seed = seedOf(name);
  const bins = new Float64Array(CODES);
  const part = new Float64Array(CODES);
  for (let begin = 0; begin < values.length; begin += CHUNK) {
    const end = Math.min(begin + CHUNK, values.length);
    part.fill(0);
    for (let at = begin; at < end; at++)
      part[mix(fold(globalIndex(place, at)) ^ seed) & (CODES - 1)]! += values[at]!;
    for (let code = 0; code < CODES; code++) bins[code]! += part[code]!;
  }
  return fromBins(bins);
}

/** The sketch from sums by the 12 bits that name buckets and signs: 6 bits of table 2, 6 bits of table 1. */
function fromBins(bins: Float64Array): Float64Array {
  const tables = [new Float64Array(64), new Float64Array(64)] as const;
  for (let k = 0; k < 64; k++)
    for (let other = 0; other < 64; other++) {
      tables[0][k]! += bins[64 * other + k]!;
      tables[1][k]! += bins[64 * k + other]!;
    }
  return Float64Array.from({ length: SKETCH_SIZE }, (_, k) => {
    const table = tables[k >> 5]!;
    return table[k & 31]! - table[32 + (k & 31)]!;
  });
}

/**
 * 64-bit checksum of a tensor or of a shard of it: Σ low + 2³²·high mod 2⁶⁴ with, for the bits x of a value,
 * p = mix(fold(i) + 0x9e3779b1), low = mix(p ^ x), high = mix(0x9e3779b1·p + x); for values of 64 bits both are mixed
 * once more with the upper half. Checksums of shards add up modulo 2⁶⁴. 0 and −0 differ, and so do a float32 and the
 * bfloat16 of the same value.
 */
export function checksum(values: Words, place: Place = 0): bigint {
  const wide = values.BYTES_PER_ELEMENT === 8;
  const bits = wordsOf(values);
  let total = 0n;
  let lows = 0;
  let highs = 0;
  for (let at = 0; at < values.length; at++) {
    const p = mix(fold(globalIndex(place, at)) + GOLDEN);
    const x = wide ? bits[2 * at]! : bits[at]!;
    let low = mix(p ^ x);
    let high = mix(Math.imul(p, GOLDEN) + x);
    if (wide) {
      const y = bits[2 * at + 1]!;
      low = mix(low ^ y);
      high = mix(high + y);
    }
    lows += low;
    highs += high;
    if (at % EXACT === EXACT - 1 || at === values.length - 1) {
      total += BigInt(lows) + (BigInt(highs) << 32n);
      lows = highs = 0;
    }
  }
  return BigInt.asUintN(64, total);
}

/** The bits of the values: unsigned words of 8, 16 or 32 bits; values of 64 bits are two words, the lower one first. */
function wordsOf(values: Words): Uint8Array | Uint16Array | Uint32Array {
  const { buffer, byteOffset, byteLength } = values;
  if (values.BYTES_PER_ELEMENT === 1) return new Uint8Array(buffer, byteOffset, byteLength);
  if (values.BYTES_PER_ELEMENT === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

/**
 * Estimate of the Euclidean norm of what was sketched, with a standard deviation of 9 %; NaN where a bucket is NaN and
 * Infinity where one is infinite.
 */
export function sketchLength(sums: ArrayLike<number>): number {
  let squares = 0;
  for (let k = 0; k < sums.length; k++) squares += sums[k]! * sums[k]!;
  return Math.sqrt(squares / 2);
}
