/** Parquet tables of metrics (pandas, polars, W&B history): every flat numeric column is a series, null is missing. */
import type { ColumnMetaData, FileMetaData, SchemaElement } from 'hyparquet';
import { DiagError, diagError } from '../../model/errors.ts';
import type { Account } from '../../model/log.ts';
import { openLedger } from '../bytes/ledger.ts';
import { parquetCodecs } from '../bytes/parquet-codecs.ts';
import type { LogFormat } from './format.ts';
import { wholeDocument } from './json-document.ts';
import { checkPages } from './parquet-pages.ts';
import { rowTable } from './row-table.ts';

/** Run-length coding lets a small file claim any number of rows. */
const MAX_ROWS = 100_000_000;

/** Columns of numbers at the top level of the schema, and whether a value of them may be null. */
function numericColumns(schema: readonly SchemaElement[]): ReadonlyMap<string, boolean> {
  const found = new Map<string, boolean>();
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
      found.set(element.name, element.repetition_type !== 'REQUIRED');
    return next;
  };
  under(0, 0);
  return found;
}

/** A column of one row group, and where it lies. */
interface Chunk {
  readonly about: ColumnMetaData;
  readonly rows: number;
  readonly start: number;
  readonly end: number;
}

/** The columns of all row groups in the order of their places. @throws Error where the directory does not tell them */
const chunksOf = ({ row_groups: groups }: FileMetaData): Chunk[] =>
  groups
    .flatMap(({ columns, num_rows: rows }) =>
      columns.map(({ meta_data: about }): Chunk => {
        if (about === undefined) throw new Error('its directory does not describe a column');
        const { dictionary_page_offset: dictionary, data_page_offset: data } = about;
        // Some writers leave the place of a dictionary that is not there at 0.
        const first = dictionary !== undefined && dictionary > 0n && dictionary < data ? dictionary : data;
        const start = Number(first);
        const end = start + Number(about.total_compressed_size);
        if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start <= end))
          throw new Error('its directory does not tell where a column lies');
        return { about, rows: Number(rows), start, end };
      }),
    )
    .sort((a, b) => a.start - b.start);

/** Where the bytes of the file went: to the columns that were read, to others, to the magic numbers and the directory. */
function accountOf(chunks: readonly Chunk[], isRead: (chunk: Chunk) => boolean, bytes: number): Account {
  const ledger = openLedger();
  let told = 0;
  for (const chunk of chunks) {
    // Chunks that share bytes count them once.
    const from = Math.min(Math.max(chunk.start, told), bytes);
    const to = Math.min(Math.max(chunk.end, from), bytes);
    ledger.overhead(from - told);
    if (isRead(chunk)) ledger.record(to - from);
    else ledger.passOver(to - from);
    told = to;
  }
  ledger.overhead(bytes - told);
  return ledger.account();
}

export const parquet: LogFormat = {
  id: 'parquet',
  title: 'Parquet',
  text: false,
  mayBeData: true,
  sniff: (head) => head.toString('latin1', 0, 4) === 'PAR1',
  document: true,
  async read(chunks, path) {
    const bytes = await wholeDocument(chunks, path);
    const { parquetMetadataAsync, parquetRead } = await import('hyparquet');
    const compressors = await parquetCodecs();
    const file = {
      byteLength: bytes.length,
      slice: (start: number, end = bytes.length): ArrayBuffer =>
        Uint8Array.prototype.slice.call(bytes, start, end).buffer as ArrayBuffer,
    };
    const table = rowTable();
    let account: Account;
    try {
      const metadata: FileMetaData = await parquetMetadataAsync(file);
      const rows = Number(metadata.num_rows);
      if (!(rows <= MAX_ROWS))
        throw diagError(
          'limit-exceeded',
          { what: 'the number of rows', found: rows, limit: MAX_ROWS, hint: 'split the file' },
          { path },
        );
      const optional = numericColumns(metadata.schema);
      const columns = [...optional.keys()];
      const groups = metadata.row_groups.reduce((sum, group) => sum + Number(group.num_rows), 0);
      if (groups !== rows) throw new Error(`it says that it has ${rows} rows, its row groups have ${groups}`);
      const isRead = ({ about: { path_in_schema: names } }: Chunk): boolean =>
        names.length === 1 && optional.has(names[0]!);
      const placed = chunksOf(metadata);
      for (const chunk of placed.filter(isRead))
        await checkPages(bytes, chunk, optional.get(chunk.about.path_in_schema[0]!)!, compressors);
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
        const length = parts.reduce((sum, { data }) => sum + data.length, 0);
        if (length !== rows) throw new Error(`the column "${name}" has ${length} of ${rows} rows`);
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
          else if (cell === null || cell === undefined) table.miss(reader.index);
          else table.refuse(reader.index, String(cell));
        }
        table.endRow(row + 1);
      }
      account = accountOf(placed, isRead, bytes.length);
    } catch (error) {
      if (error instanceof DiagError) throw error;
      throw diagError('log-parquet-damaged', { reason: (error as Error).message }, { path }, error);
    }
    const { series, ...run } = table.finish();
    return {
      kept: table.rows(),
      account,
      errors: [],
      // A row is no line of text.
      runs: [{ ...run, series: series.map(({ line: _, ...one }) => one) }],
    };
  },
};
