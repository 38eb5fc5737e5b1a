/** Parquet tables of metrics (pandas, polars, W&B history): every flat numeric column is a series, null is missing. */
import type { FileMetaData, SchemaElement } from 'hyparquet';
import { DiagError, diagError } from '../model/errors.ts';
import type { LogFormat } from './format.ts';
import { wholeDocument } from './json-document.ts';
import { rowTable } from './row-table.ts';

/** Run-length coding lets a small file claim any number of rows. */
const MAX_ROWS = 100_000_000;

/** Columns of numbers at the top level of the schema. */
function numericColumns(schema: readonly SchemaElement[]): string[] {
  const names: string[] = [];
  const under = (index: number, depth: number): number => {
    const element = schema[index];
    if (element === undefined || depth > 100) return schema.length;
    let next = index + 1;
    if (element.num_children !== undefined && element.num_children > 0)
      for (let k = 0; k < element.num_children && next < schema.length; k++) next = under(next, depth + 1);
    else if (
      depth === 1 &&
      element.repetition_type !== 'REPEATED' &&
      (['INT32', 'INT64', 'FLOAT', 'DOUBLE'].includes(element.type ?? '') ||
        element.logical_type?.type === 'FLOAT16' ||
        element.converted_type === 'DECIMAL')
    )
      names.push(element.name);
    return next;
  };
  under(0, 0);
  return names;
}

export const parquet: LogFormat = {
  id: 'parquet',
  title: 'Parquet',
  tried: 'Parquet (the magic bytes PAR1)',
  text: false,
  mayBeData: true,
  sniff: (head) => head.toString('latin1', 0, 4) === 'PAR1',
  document: true,
  async read(chunks, path) {
    const bytes = await wholeDocument(chunks, path);
    const { parquetMetadataAsync, parquetRead } = await import('hyparquet');
    const { compressors } = await import('hyparquet-compressors');
    const file = {
      byteLength: bytes.length,
      slice: (start: number, end = bytes.length): ArrayBuffer =>
        Uint8Array.prototype.slice.call(bytes, start, end).buffer as ArrayBuffer,
    };
    const table = rowTable();
    try {
      const metadata: FileMetaData = await parquetMetadataAsync(file);
      const rows = Number(metadata.num_rows);
      if (!(rows <= MAX_ROWS))
        throw diagError(
          'limit-exceeded',
          { what: 'the number of rows', found: rows, limit: MAX_ROWS, hint: 'split the file' },
          { path },
        );
      const columns = numericColumns(metadata.schema);
      const cells = new Map<string, { from: number; data: ArrayLike<unknown> }[]>();
      if (columns.length > 0)
        await parquetRead({
          file,
          metadata,
          compressors,
          columns,
          onChunk({ columnName, columnData, rowStart }) {
            const list = cells.get(columnName) ?? [];
            list.push({ from: rowStart, data: columnData });
            cells.set(columnName, list);
          },
        });
      const readers = columns.map((name) => {
        const parts = (cells.get(name) ?? []).sort((a, b) => a.from - b.from);
        let part = 0;
        return {
          index: table.column(name),
          at(row: number): unknown {
            while (part + 1 < parts.length && parts[part + 1]!.from <= row) part++;
            return parts[part] === undefined ? undefined : parts[part]!.data[row - parts[part]!.from];
          },
        };
      });
      for (let row = 0; row < rows && columns.length > 0; row++) {
        for (const reader of readers) {
          const cell = reader.at(row);
          if (typeof cell === 'number') table.set(reader.index, cell);
          else if (typeof cell === 'bigint') table.set(reader.index, Number(cell));
        }
        table.endRow(row + 1);
      }
    } catch (error) {
      if (error instanceof DiagError) throw error;
      throw diagError('log-parquet-damaged', { reason: (error as Error).message }, { path }, error);
    }
    const { series, ...run } = table.finish();
    return {
      kept: table.rows(),
      account: { bytes: bytes.length, records: bytes.length, overhead: 0, passedOver: 0, lost: [] },
      errors: [],
      // A row is no line of text.
      runs: [{ ...run, series: series.map(({ line: _, ...one }) => one) }],
    };
  },
};
