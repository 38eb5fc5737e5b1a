/** The factors of one step as they are measured: of each tensor the product over the parts of the rule, and the smallest. */
import type { ClipRule } from '../../step/rules/rule.ts';

/** Where the smallest factor is. */
export interface Bottleneck {
  readonly tensor: number;
  /** An entry or a unit of the tensor, as `place` says; 0 where it is the tensor. */
  readonly index: number;
  readonly factor: number;
  readonly place: ClipRule['place'];
}

const NOWHERE: Bottleneck = { tensor: 0, index: 0, factor: 1, place: 'tensor' };

/** NaN is the smallest: no other factor says more about a step. */
const isSmaller = (a: number, b: number): boolean => a < b || (Number.isNaN(a) && !Number.isNaN(b));

export function createFactors() {
  let products = new Float64Array(0);
  let smallest: Bottleneck | null = null;
  /** Of the tensor at hand the part with the smallest factor. */
  let tightest: Bottleneck | null = null;
  let engaged = false;
  return {
    begin(tensors: number): void {
      if (products.length !== tensors) products = new Float64Array(tensors);
      products.fill(1);
      smallest = null;
      tightest = null;
      engaged = false;
    },
    /** A factor of the tensor at hand. */
    note(found: Bottleneck): void {
      products[found.tensor] = products[found.tensor]! * found.factor;
      if (tightest === null || isSmaller(found.factor, tightest.factor)) tightest = found;
      if (found.factor !== 1) engaged = true;
    },
    /** The tensor is done. */
    close(tensor: number): void {
      const factor = products[tensor]!;
      if (tightest !== null && (smallest === null || isSmaller(factor, smallest.factor)))
        smallest = { ...tightest, factor };
      tightest = null;
    },
    /** Products are overwritten by the next step. */
    result: () => ({
      minFactor: (smallest ?? NOWHERE).factor,
      factors: products,
      bottleneck: smallest ?? NOWHERE,
      engaged,
    }),
  };
}
