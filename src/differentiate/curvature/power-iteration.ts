/**
 * Power iteration for the largest **algebraic** eigenvalue.
 *
 * v ← (A + sI)v / ‖·‖ with s = 0 at first, which finds the eigenvalue of largest magnitude. If that is negative, s
 * becomes its magnitude: A + sI has no negative eigenvalue left, and its dominant one belongs to the largest of A.
 * The same shift breaks the tie of +λ and −λ, from which the plain iteration never converges although its Rayleigh
 * quotient soon stops changing; stagnation is therefore seen at the residual.
 */
import { axpy, dot, norm2, orthogonalise, product, scale } from './operator.ts';
import { isConverged, type Solve } from './solver.ts';

/** Products between two looks at whether the residual still falls. */
const PATIENCE = 20;

/** Finds one pair, whatever is wanted: further ones come from further calls with the first locked. */
export const powerIteration: Solve = async (operator, start, _want, options) => {
  const { locked, tolerance } = options;
  let v = start;
  let shift = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let before = Number.POSITIVE_INFINITY;
  for (let products = 1; ; products++) {
    const { image, norm } = await product(operator, v);
    const value = dot(v, image);
    lowest = Math.min(lowest, value);
    const residual = image.slice();
    axpy(-value, v, residual);
    const residualNorm = norm2(residual);
    const converged = isConverged(value, residualNorm, tolerance);
    if ((converged && (value >= 0 || shift > 0)) || products >= options.maxProducts)
      return { pairs: [{ vector: v, image }], lowest, products };
    const look = products % PATIENCE === 0;
    const next = image.slice();
    if (shift === 0 && (converged || (look && residualNorm > 0.9 * before))) {
      shift = converged ? -value : norm;
      if (!converged) lowest = Math.min(lowest, -shift);
      // What converged to the negative end has nothing of the top left but rounding: start again.
      if (converged) next.set(options.random.gaussian(operator.size));
    }
    if (look) before = residualNorm;
    if (shift > 0) axpy(shift, v, next);
    const length = orthogonalise(next, locked);
    // A·v = 0 on the complement of `locked`: v is an eigenvector of 0 but for its parts along what was found.
    if (!(length > 0)) return { pairs: [{ vector: v, image }], lowest, products };
    scale(1 / length, next);
    v = next;
  }
};
