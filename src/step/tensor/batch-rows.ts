/** Rows of a batch: its tensors by name, of which the first axis is the row. */

export type RowTensors = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly data: Float32Array | Int32Array }
>;

/** Entries of one row of a tensor. */
const widthOf = (shape: readonly number[]): number =>
  shape.slice(1).reduce((product, size) => product * size, 1);

/** Number of rows of a batch: the first axis of its first tensor. */
export const rowsOf = (batch: RowTensors): number => batch.values().next().value?.shape[0] ?? 0;

/** Rows [from, to) of a batch, as views. */
export const sliceRows = (batch: RowTensors, from: number, to: number): RowTensors =>
  new Map(
    [...batch].map(([name, { shape, data }]) => {
      const width = widthOf(shape);
      return [name, { shape: [to - from, ...shape.slice(1)], data: data.subarray(from * width, to * width) }];
    }),
  );

/** A batch without some of its rows, copied. */
export function withoutRows(batch: RowTensors, rows: readonly number[]): RowTensors {
  const out = new Set(rows);
  const kept = Array.from({ length: rowsOf(batch) }, (_, row) => row).filter((row) => !out.has(row));
  return new Map(
    [...batch].map(([name, { shape, data }]) => {
      const width = widthOf(shape);
      const values = new (data.constructor as typeof Float32Array)(kept.length * width);
      for (const [k, row] of kept.entries())
        values.set(data.subarray(row * width, (row + 1) * width) as Float32Array, k * width);
      return [name, { shape: [kept.length, ...shape.slice(1)], data: values }];
    }),
  );
}
