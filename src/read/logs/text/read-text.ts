/** The tables of a text, and the log in them: what `teach` shows. */
import { lineScanner } from '../../bytes/lines.ts';
import type { LogReadOptions } from '../format.ts';
import { asSaid, asText } from './as-said.ts';
import { logIn, type TextLog } from './table.ts';
import { type Template, Templates } from './templates.ts';

/** Bytes of the longest line that is looked at: longer ones are data that somebody printed. */
const LONGEST_RECORD = 64 << 10;

export interface ReadText {
  /** Undefined where the text holds none. */
  readonly log: TextLog | undefined;
  /** Every table of the text, and how many lines it has. */
  readonly templates: readonly Template[];
  readonly lines: number;
}

/**
 * Reads a text of any layout, given in chunks (lines may go over their ends).
 *
 * @param chunks UTF-8 without a byte order mark
 * @param path for messages
 */
export async function readText(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  options: Pick<LogReadOptions, 'layouts'>,
): Promise<ReadText> {
  const templates = new Templates();
  const scanner = lineScanner(
    path,
    {
      line(bytes, start, end, line) {
        if (end - start > LONGEST_RECORD || templates.again(bytes, start, end, line) !== undefined)
          return 'passed-over';
        const raw = bytes.toString('utf8', start, end);
        const said = Buffer.from(asSaid(asText(raw)));
        templates.add(said, 0, said.length, line, raw);
        if (said.equals(bytes.subarray(start, end))) templates.remember(bytes, start, end);
        return 'passed-over';
      },
      *settle() {},
    },
    { carriageReturns: true },
  );
  for await (const chunk of chunks) scanner.push(chunk);
  scanner.end();
  const all = templates.all();
  return { log: logIn(all, templates.lines, options, path), templates: all, lines: templates.lines };
}
