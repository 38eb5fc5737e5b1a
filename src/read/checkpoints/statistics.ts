/** Sum, range, norm and counts of a tensor, streamed. */
import { endianness } from 'node:os';
import type { Checkpoint, TensorData, TensorStatistics } from '../../model/checkpoint.ts';
import { countNonFinite } from '../../model/order-statistics.ts';
import { everyValueOf, isHalf } from './dtypes.ts';

/** Entries that are summed plainly before the sums are combined with compensation. */
const BLOCK = 1024;

/**
 * Statistics of a tensor of any size, in one pass.
 *
 * Sums are plain within blocks of 1,024 entries and compensated (Neumaier) across blocks, so that the error does not
 * grow with the size. Where squares leave the range of float64, the norm is scaled as in LAPACK's `dnrm2`.
 *
 * @param onEntries gets the number of entries of each piece
 * @throws what reading throws
 */
export async function tensorStatistics(
  checkpoint: Checkpoint,
  name: string,
  onEntries?: (count: number) => void,
): Promise<TensorStatistics> {
  const statistics = new StatisticsCollector();
  const { dtype, elements } = checkpoint.tensors.find((info) => info.name === name)!;
  if (!isHalf(dtype) || elements < 2 * PATTERNS) {
    for await (const piece of checkpoint.stream(name)) {
      statistics.add(piece);
      onEntries?.(piece.length);
    }
    return statistics.result();
  }
  const counts = elements < 2 ** 32 ? new Uint32Array(PATTERNS) : new Float64Array(PATTERNS);
  for await (const piece of checkpoint.stream(name, 'bits')) {
    if (piece instanceof Uint16Array) countPatterns(piece, counts);
    else statistics.add(piece);
    onEntries?.(piece.length);
  }
  statistics.addCounted(everyValueOf(dtype), counts);
  return statistics.result();
}

/** So many values has a float of 16 bits. Counting how often each occurs takes a third of decoding and adding them all. */
const PATTERNS = 65536;

/** Two at once, which takes two thirds of the time; which of the two comes first does not matter to a count. */
function countPatterns(piece: Uint16Array, counts: Uint32Array | Float64Array): void {
  const isAligned = piece.byteOffset % 4 === 0;
  const pairs = isAligned ? piece.length >> 1 : 0;
  const words = new Uint32Array(piece.buffer, isAligned ? piece.byteOffset : 0, pairs);
  for (let i = 0; i < pairs; i++) {
    const word = words[i]!;
    const one = word & 0xffff;
    const other = word >>> 16;
    counts[one] = counts[one]! + 1;
    counts[other] = counts[other]! + 1;
  }
  for (let i = 2 * pairs; i < piece.length; i++) {
    const bits = piece[i]!;
    counts[bits] = counts[bits]! + 1;
  }
}

/** Collects the statistics of values that come in pieces. */
export class StatisticsCollector {
  #count = 0;
  #sum = 0;
  #compensation = 0;
  // The squares sum up to scale² · squares.
  #scale = 1;
  #squares = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;
  #nan = 0;
  #posInf = 0;
  #negInf = 0;

  add(values: TensorData): void {
    const numbers =
      values instanceof BigInt64Array || values instanceof BigUint64Array ? toNumbers(values) : values;
    this.#count += numbers.length;
    for (let start = 0; start < numbers.length; start += BLOCK)
      this.#addBlock(numbers, start, Math.min(start + BLOCK, numbers.length));
  }

  /** Values that occur so many times each. */
  addCounted(values: ArrayLike<number>, counts: ArrayLike<number>): void {
    for (let k = 0; k < counts.length; k++) {
      const times = counts[k]!;
      const value = values[k]!;
      if (times === 0) continue;
      this.#count += times;
      if (Number.isNaN(value)) this.#nan += times;
      else if (value === Number.POSITIVE_INFINITY) this.#posInf += times;
      else if (value === Number.NEGATIVE_INFINITY) this.#negInf += times;
      else {
        this.#addSum(value * times);
        this.#addSquares(value * value * times, 1);
        this.#addRange(value, value);
      }
    }
  }

  result(): TensorStatistics {
    const isEmpty = this.#min > this.#max;
    return {
      count: this.#count,
      sum: this.#sum + this.#compensation,
      norm: this.#scale * Math.sqrt(this.#squares),
      min: isEmpty ? null : this.#min,
      max: isEmpty ? null : this.#max,
      nan: this.#nan,
      posInf: this.#posInf,
      negInf: this.#negInf,
    };
  }

  #addBlock(values: ArrayLike<number>, start: number, end: number): void {
    let sum = 0;
    let squares = 0;
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    for (let i = start; i < end; i++) {
      const value = values[i]!;
      sum += value;
      squares += value * value;
      if (value < least) least = value;
      if (value > most) most = value;
    }
    // All zeros, which unused rows of a table are.
    if (squares === 0 && least === 0 && most === 0) this.#addRange(0, 0);
    // Squares of normal size prove that every entry was finite and that none over- or underflowed to harm.
    else if (squares > 1e-290 && squares < 1e300) {
      this.#addSum(sum);
      this.#addSquares(squares, 1);
      this.#addRange(least, most);
    } else this.#addOddBlock(values, start, end);
  }

  /** Non-finite entries, or squares out of range. */
  #addOddBlock(values: ArrayLike<number>, start: number, end: number): void {
    let sum = 0;
    let largest = 0;
    for (let i = start; i < end; i++) {
      const value = values[i]!;
      if (Number.isFinite(value)) {
        sum += value;
        largest = Math.max(largest, Math.abs(value));
        this.#addRange(value, value);
      }
    }
    const odd = countNonFinite(values, start, end);
    this.#nan += odd.nan;
    this.#posInf += odd.posInf;
    this.#negInf += odd.negInf;
    this.#addSum(sum);
    if (largest === 0) return;
    let squares = 0;
    for (let i = start; i < end; i++) if (Number.isFinite(values[i]!)) squares += (values[i]! / largest) ** 2;
    this.#addSquares(squares, largest);
  }

  #addRange(least: number, most: number): void {
    if (least < this.#min) this.#min = least;
    if (most > this.#max) this.#max = most;
  }

  #addSum(value: number): void {
    const sum = this.#sum;
    const next = sum + value;
    this.#compensation += Math.abs(sum) >= Math.abs(value) ? sum - next + value : value - next + sum;
    this.#sum = next;
    // A sum beyond float64 is reported as infinite, not as the NaN that the compensation would make of it.
    if (!Number.isFinite(next)) this.#compensation = 0;
  }

  #addSquares(squares: number, scale: number): void {
    if (scale === this.#scale) this.#squares += squares;
    else if (this.#squares === 0) {
      this.#scale = scale;
      this.#squares = squares;
    } else if (scale > this.#scale) {
      this.#squares = this.#squares * (this.#scale / scale) ** 2 + squares;
      this.#scale = scale;
    } else this.#squares += squares * (scale / this.#scale) ** 2;
  }
}

/** 64-bit integers rounded to float64, ten times faster than `Number` of each BigInt. */
function toNumbers(values: BigInt64Array | BigUint64Array): Float64Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  const [low, high] = endianness() === 'LE' ? [0, 1] : [1, 0];
  const numbers = new Float64Array(values.length);
  const signed = values instanceof BigInt64Array;
  for (let i = 0; i < numbers.length; i++) {
    const upper = words[2 * i + high]!;
    numbers[i] = (signed ? upper | 0 : upper) * 2 ** 32 + words[2 * i + low]!;
  }
  return numbers;
}
