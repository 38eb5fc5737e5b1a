/** Rounding of the types that weights are stored in. */
import type { TensorInfo } from '../../model/checkpoint.ts';
import type { Options } from '../../model/options.ts';

/** Distance of 1 from the next larger number, by type. */
const UNITS: Readonly<Record<string, number>> = {
  F64: 2 ** -52,
  F32: 2 ** -23,
  F16: 2 ** -10,
  BF16: 2 ** -7,
  F8_E4M3: 2 ** -3,
  F8_E5M2: 2 ** -2,
};

/** Unit of a stored type; that of float32 for a type that is not known. */
export const unitOf = (dtype: TensorInfo['dtype'] | undefined): number => UNITS[dtype ?? 'F32'] ?? 2 ** -23;

/**
 * Sizes below this count as this one: a weight that has decayed to 1e-40 moves by gradients whose squares underflow in float32, so that
 * its optimizer's state is 0 there and not in float64.
 */
const SMALLEST = 2 ** -100;

/** Distance of a size, as float32 has it, from the next larger number of a type with this unit. */
export function ulpOf(size: number, unit: number): number {
  if (!(size > SMALLEST)) return unit * SMALLEST;
  BITS.value[0] = size;
  // The exponent, without a logarithm.
  BITS.words[0] = BITS.words[0]! & 0x7f800000;
  return BITS.value[0]! * unit;
}

/** A number rounded to bfloat16, ties to even. */
export function toBfloat16(x: number): number {
  BITS.value[0] = x;
  if (!Number.isFinite(x)) return x;
  const bits = BITS.words[0]!;
  BITS.words[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return BITS.value[0]!;
}

const single = new Float32Array(1);
const BITS = { value: single, words: new Uint32Array(single.buffer) };

/** A number as float32 with one bit flipped, counted from the lowest. */
export function withBitFlipped(x: number, bit: number): number {
  BITS.value[0] = x;
  BITS.words[0] = BITS.words[0]! ^ (1 << bit);
  return BITS.value[0]!;
}

/** Rounding of a power in float32, half a unit below 1. */
const POWER = 2 ** -24;
/** How much more than the computed error of a bias correction is allowed. */
const MARGIN = 2;

/**
 * How far, relative to a step of Adam, its bias correction is off where βᵗ is computed in float32: β is rounded, the power is
 * rounded, and 1 − βᵗ magnifies both. 6e-6 at β₂ = 0.999. 0 for optimizers without moments.
 *
 * @param step how many steps were taken, this one included
 */
export function powerRounding({ beta1, beta2 }: Options, step: number): number {
  const of = (beta: unknown): number => {
    if (typeof beta !== 'number' || !(beta > 0 && beta < 1)) return 0;
    const power = beta ** step;
    return (step * (power / beta) * Math.abs(Math.fround(beta) - beta) + POWER) / (1 - power);
  };
  // The second moment is under a root.
  return MARGIN * (of(beta1) + of(beta2) / 2);
}
