/** Batches from files: npz and safetensors (captures' step files too), CSV and Parquet with a map of columns. */

import type { TensorData } from '../../model/checkpoint.ts';
import { diagError, firstLineOf } from '../../model/errors.ts';
import { parquetCodecs } from '../../read/bytes/parquet-codecs.ts';
import { openFile } from '../../read/bytes/source.ts';
import { openCheckpoint } from '../../read/checkpoints/registry.ts';
import type { Batch, BatchInput, BatchTensor } from './objective.ts';

/** Columns or tensors for inputs whose names differ. */
export type ColumnMap = ReadonlyMap<string, readonly string[]>;

/**
 * Reads the batch of a file.
 *
 * @param inputs what the model takes; of none, which a module does not say, everything that the file has
 * @param map `input → columns`; left out, a column of the same name, or `name_0`, `name_1` … for wider inputs
 * @throws batch-map (a name in the map that is no input), batch-missing, batch-values, batch-table, format-unknown and
 *   what reading throws
 */
export async function readBatch(path: string, inputs: readonly BatchInput[], map: ColumnMap): Promise<Batch> {
  const unused = [...map.keys()].find(
    (name) => inputs.length > 0 && !inputs.some((input) => input.name === name),
  );
  if (unused !== undefined)
    throw diagError('batch-map', { name: unused, known: inputs.map(({ name }) => name) });
  const table = await tableOf(path);
  if (table !== undefined) return fromTable(table, inputs, map, path);
  const file = await openCheckpoint(path);
  try {
    // A step of a capture has gradients and parameters next to its batch.
    const prefixed = file.tensors.some(({ name }) => name.startsWith('batch/'));
    const available = new Map(
      file.tensors
        .filter(({ name }) => !prefixed || name.startsWith('batch/'))
        .map((tensor) => [prefixed ? tensor.name.slice('batch/'.length) : tensor.name, tensor]),
    );
    const batch = new Map<string, BatchTensor>();
    const asked = inputs.length > 0 ? inputs : [...available.keys()].map((name) => ({ name }));
    for (const { name } of asked) {
      const wanted = map.get(name)?.[0] ?? name;
      const tensor = available.get(wanted);
      if (tensor === undefined)
        throw diagError(
          'batch-missing',
          { name: wanted, found: [...available.keys()].map((k) => `"${k}"`) },
          { path },
        );
      batch.set(name, batchTensor(name, tensor.shape, await file.read(tensor.name)));
    }
    return batch;
  } finally {
    await file.close();
  }
}

/**
 * A tensor of a capture or file as a batch takes it: integers as Int32Array, floating numbers as Float32Array.
 *
 * @throws batch-values (an integer beyond 32 bits), complex-values
 */
export function batchTensor(name: string, shape: readonly number[], data: TensorData): BatchTensor {
  // A complex number is two of the array's.
  if (data.length !== shape.reduce((product, n) => product * n, 1))
    throw diagError('complex-values', { name });
  if (data instanceof Float32Array || data instanceof Int32Array) return { shape, data };
  if (data instanceof Float64Array) return { shape, data: Float32Array.from(data) };
  const ids = new Int32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (value < -(2 ** 31) || value >= 2 ** 31)
      throw diagError('batch-values', {
        name,
        row: i,
        found: String(data[i]),
        expected: 'a whole number below 2³¹',
      });
    ids[i] = value;
  }
  return { shape, data: ids };
}

/** Columns by name: texts of CSV, whatever Parquet holds, numbers of arrays. */
export type Table = ReadonlyMap<string, ArrayLike<unknown>>;

/** A table by the ending of its name; undefined for anything else. */
async function tableOf(path: string): Promise<Table | undefined> {
  if (/\.(csv|tsv)$/i.test(path)) return readCsv(path);
  return /\.parquet$/i.test(path) ? readParquet(path) : undefined;
}

/**
 * Reads a table from CSV, TSV, Parquet, or a file of arrays (npz): there [n] and [n, 1] are a column, [n, k] are the columns
 * NAME_0 to NAME_k−1.
 *
 * @throws batch-table, batch-empty, format-unknown and what reading throws
 */
export async function readTable(path: string): Promise<Table> {
  const table = await tableOf(path);
  if (table !== undefined) return table;
  const file = await openCheckpoint(path);
  try {
    const columns = new Map<string, ArrayLike<unknown>>();
    let rows: number | undefined;
    for (const { name, shape } of file.tensors) {
      const [n, width = 1, ...more] = shape;
      if (n === undefined || more.length > 0)
        throw diagError(
          'batch-table',
          {
            problem: `the array "${name}" is ${shape.join('×') || 'a scalar'}, and a column or a matrix is expected`,
          },
          { path },
        );
      rows ??= n;
      if (n !== rows)
        throw diagError(
          'batch-table',
          { problem: `the array "${name}" has ${n} rows, the one before it ${rows}` },
          { path },
        );
      const data = await file.read(name);
      if (width === 1) columns.set(name, data);
      else
        for (let c = 0; c < width; c++)
          columns.set(
            `${name}_${c}`,
            Array.from({ length: n }, (_, row) => data[row * width + c]!),
          );
    }
    if (rows === undefined || rows === 0) throw diagError('batch-empty', {}, { path });
    return columns;
  } finally {
    await file.close();
  }
}

function fromTable(table: Table, inputs: readonly BatchInput[], map: ColumnMap, path: string): Batch {
  const batch = new Map<string, BatchTensor>();
  const mapped = new Set([...map.values()].flat());
  const all = [...map.keys(), ...[...table.keys()].filter((column) => !mapped.has(column))];
  const wanted: readonly BatchInput[] = inputs.length > 0 ? inputs : all.map((name) => ({ name, width: 1 }));
  for (const { name, width, ids = false } of wanted) {
    const own = map.get(name);
    const columns =
      own ??
      (width === 1 || table.has(name)
        ? [name]
        : Array.from({ length: width ?? 0 }, (_, i) => `${name}_${i}`));
    const missing = columns.find((column) => !table.has(column));
    if (missing !== undefined || columns.length === 0)
      throw diagError(
        'batch-missing',
        { name: missing ?? name, found: [...table.keys()].map((key) => `"${key}"`) },
        { path },
      );
    batch.set(name, joinColumns(table, columns, ids, path));
  }
  return batch;
}

/** @throws batch-values where a cell holds no number, or none that can be an id */
function joinColumns(table: Table, columns: readonly string[], ids: boolean, path: string): BatchTensor {
  const expected = ids ? 'a whole number below 2³¹' : 'a number';
  const rows = table.get(columns[0]!)!.length;
  const data = new (ids ? Int32Array : Float32Array)(rows * columns.length);
  const values = columns.map((column) => table.get(column)!);
  for (let row = 0; row < rows; row++)
    for (const [i, column] of values.entries()) {
      const value = numberIn(column[row]);
      if (value === undefined || (ids && (value | 0) !== value)) {
        const details = { name: columns[i]!, row, found: String(column[row] ?? 'empty'), expected };
        throw diagError('batch-values', details, { path });
      }
      data[row * columns.length + i] = value;
    }
  return { shape: columns.length === 1 ? [rows] : [rows, columns.length], data };
}

/** The number in a cell, or undefined where the cell has none; an empty cell is not 0. */
export function numberIn(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value);
  if (typeof value !== 'string' || value.trim() === '') return undefined;
  const text = value.trim();
  if (/^nan$/i.test(text)) return Number.NaN;
  const number = Number(text.replace(/^([+-]?)inf$/i, '$1Infinity'));
  return Number.isNaN(number) ? undefined : number;
}

async function readCsv(path: string): Promise<Table> {
  const source = await openFile(path);
  let text: string;
  try {
    text = new TextDecoder('utf-8').decode(await source.slice(0, source.byteLength));
  } finally {
    await source.close();
  }
  const { default: papa } = await import('papaparse');
  const { data } = papa.parse<string[]>(text, { skipEmptyLines: true });
  const [header, ...rows] = data;
  if (header === undefined || rows.length === 0) throw diagError('batch-empty', {}, { path });
  const names = header.map((name) => name.trim());
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw diagError('batch-table', { problem: `the column "${twice}" occurs twice in it` }, { path });
  // A cell more, such as that of a number with a comma, would move all that follow.
  const uneven = rows.findIndex((row) => row.length !== header.length);
  if (uneven >= 0)
    throw diagError(
      'batch-table',
      { problem: `row ${uneven} has ${rows[uneven]!.length} cells, its header ${header.length}` },
      { path },
    );
  return new Map(header.map((name, column) => [name.trim(), rows.map((row) => row[column] ?? '')]));
}

async function readParquet(path: string): Promise<Table> {
  const { asyncBufferFromFile, parquetReadObjects } = await import('hyparquet');
  const compressors = await parquetCodecs();
  // Opened first for its errors: the library's own name no place.
  await (await openFile(path)).close();
  const rows = await parquetReadObjects({ file: await asyncBufferFromFile(path), compressors }).catch(
    (error: unknown) => {
      throw diagError('batch-table', { problem: firstLineOf(error) }, { path }, error);
    },
  );
  if (rows.length === 0) throw diagError('batch-empty', {}, { path });
  return new Map(
    Object.keys(rows[0]!).map((name) => [name, rows.map((row) => (row as Record<string, unknown>)[name])]),
  );
}
