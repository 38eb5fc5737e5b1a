/** Eigenpairs of a small dense symmetric matrix. */
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';

export interface SmallEigen {
  /** Largest algebraic first. */
  readonly values: readonly number[];
  /** `vectors[i]` belongs to `values[i]`; orthonormal. */
  readonly vectors: readonly Float64Array[];
}

/** @param rows a square matrix; its symmetric part is taken */
export function smallSymmetricEigen(rows: readonly (readonly number[])[]): SmallEigen {
  const n = rows.length;
  const symmetric = new Matrix(n, n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) symmetric.set(i, j, (rows[i]![j]! + rows[j]![i]!) / 2);
  const evd = new EigenvalueDecomposition(symmetric, { assumeSymmetric: true });
  const order = evd.realEigenvalues
    .map((_, i) => i)
    .sort((i, j) => evd.realEigenvalues[j]! - evd.realEigenvalues[i]!);
  return {
    values: order.map((i) => evd.realEigenvalues[i]!),
    vectors: order.map((i) =>
      Float64Array.from({ length: n }, (_, row) => evd.eigenvectorMatrix.get(row, i)),
    ),
  };
}
