/** Learning a layout of printed lines: what a log holds, a record for it, the proof that it reads, and its place in a config. */
import { Readable } from 'node:stream';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import type { LayoutField, LayoutProof, TextLayout } from '../../model/layout.ts';
import { readChunks } from '../../read/bytes/chunks.ts';
import { isGzip } from '../../read/bytes/gzip.ts';
import { openFile } from '../../read/bytes/source.ts';
import { parseSafeYaml } from '../../read/bytes/yaml.ts';
import { readText } from '../../read/logs/text/read-text.ts';
import { type SeenText, seenIn, tokensOf } from '../../read/logs/text/show.ts';

/** Bytes of a log that is taught: the twin of it is made in memory. */
const MOST_BYTES = 64 << 20;
/** Tables that are shown. */
const SHOWN = 8;

/** The text of a log. @throws file-…, limit-exceeded, format-unsupported for a compressed one */
export async function textOf(path: string): Promise<Buffer> {
  const source = await openFile(path);
  try {
    if (source.byteLength > MOST_BYTES)
      throw diagError(
        'limit-exceeded',
        {
          what: 'the size of a log that is taught in bytes',
          found: source.byteLength,
          limit: MOST_BYTES,
          hint: 'teach the first thousand lines of it: head -1000 LOG > part.log',
        },
        { path },
      );
    const chunks: Buffer[] = [];
    for await (const chunk of readChunks(source)) chunks.push(Buffer.from(chunk));
    const bytes = Buffer.concat(chunks);
    if (isGzip(bytes))
      throw diagError('usage', {
        problem: `${path} is compressed`,
        hint: `gunzip -c ${path} > part.log, and teach that`,
      });
    return bytes;
  } finally {
    await source.close();
  }
}

const read = (text: Buffer, path: string, layouts: readonly TextLayout[] = []) =>
  readText(Readable.from([text]), path, { layouts });

/** The tables of a log with the most rows, and the log in them as it is read without a layout. */
export async function tablesIn(text: Buffer, path: string): Promise<SeenText> {
  const { templates, lines } = await read(text, path);
  return seenIn(templates, lines, SHOWN);
}

/** The text with the loss of one line made NaN. */
function withNan(text: Buffer, line: number, layout: TextLayout): Buffer | undefined {
  let start = 0;
  for (let k = 1; k < line; k++) {
    const end = text.indexOf(10, start);
    if (end < 0) return undefined;
    start = end + 1;
  }
  const end = text.indexOf(10, start);
  const whole = text.toString('utf8', start, end < 0 ? text.length : end);
  const numbers = tokensOf(whole).filter(({ at }) => at !== undefined);
  const field = layout.fields.find(({ role }) => role === 'loss')!;
  const size = tokensOf(layout.sample).filter(({ at }) => at !== undefined).length;
  const token = numbers[numbers.length - size + field.at - 1];
  if (token === undefined) return undefined;
  return Buffer.concat([
    text.subarray(0, start + token.from),
    Buffer.from('nan'),
    text.subarray(start + token.to),
  ]);
}

/** Reads a log by a layout, and a twin of it with a NaN. @throws log-no-record where the layout reads nothing */
export async function prove(text: Buffer, path: string, layout: TextLayout): Promise<LayoutProof> {
  const { log } = await read(text, path, [layout]);
  const series = log?.series.find(({ name }) => name === log.loss);
  if (log?.by !== 'layout' || series === undefined)
    throw diagError('usage', {
      problem: `no line of ${path} is read by this layout`,
      hint: '`clippy-diag teach LOG` shows the tables of a log and the numbers of their columns',
    });
  const middle = series.value.length >> 1;
  const line = series.line!.at(middle)!;
  const twin = withNan(text, line, layout);
  const other = twin === undefined ? undefined : (await read(twin, path, [layout])).log;
  const twinSeries = other?.series.find(({ name }) => name === log.loss);
  const holds =
    twinSeries !== undefined &&
    twinSeries.value.length === series.value.length &&
    series.value.every((value, k) =>
      k === middle ? Number.isNaN(twinSeries.value.at(k)) : Object.is(value, twinSeries.value.at(k)),
    );
  return { loss: log.loss, records: series.value.length, statement: log.statement, nanAtLine: line, holds };
}

/** A record of the table that has a line, with the fields that were named. */
export function layoutOf(
  seen: SeenText,
  table: number,
  name: string,
  fields: readonly LayoutField[],
): TextLayout {
  const found = seen.tables[table - 1];
  if (found === undefined)
    throw diagError('usage', {
      problem: `no table ${table}`,
      hint: `there are ${seen.tables.length}; \`clippy-diag teach LOG\` shows them`,
    });
  for (const { at } of fields)
    if (found.columns[at - 1] === undefined)
      throw diagError('usage', {
        problem: `table ${table} has no column ${at}`,
        hint: `it has ${found.columns.length}: ${found.sample}`,
      });
  return { name, sample: found.sample, fields };
}

/**
 * A config with a layout added, its comments kept; one of the same name is replaced.
 *
 * @param content the text of the config; empty where it does not exist
 * @throws config-syntax
 */
export async function withLayout(content: string, path: string, layout: TextLayout): Promise<string> {
  const {
    default: { parseDocument },
  } = await import('yaml');
  const old = await parseSafeYaml(content, path, 'the config', (reason, line) =>
    diagError('config-syntax', { reason }, { path, ...(line === null ? {} : { line }) }),
  );
  const document = parseDocument(content === '' ? 'version: 2\nextends: recommended\n' : content);
  document.set('version', 2);
  const layouts = isJsonObject(old) && Array.isArray(old.layouts) ? (old.layouts as unknown[]) : [];
  const others = layouts.filter((one) => !(isJsonObject(one) && one.name === layout.name));
  document.set('layouts', document.createNode([...others, layout]));
  return document.toString({ lineWidth: 0 });
}

export type { SeenText } from '../../read/logs/text/show.ts';
export { tokensOf } from '../../read/logs/text/show.ts';
