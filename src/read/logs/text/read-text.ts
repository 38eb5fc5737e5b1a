/** Any text as a log: its lines as rows of tables, the tables judged at the end. Nothing is asked of the layout. */
import { lineScanner } from '../../bytes/lines.ts';
import type { LogContent, LoggedSeries, LogReading, LogReadOptions } from '../format.ts';
import { TwoHandlers } from '../line-prefix.ts';
import { type Refused, refusedIn, withRefused } from './refused.ts';
import { logIn, type TextLog } from './table.ts';
import { type Template, Templates } from './templates.ts';

/** Bytes of the longest line that is looked at: longer ones are data that somebody printed. */
const LONGEST_RECORD = 64 << 10;

/** What was read, and how; `log` is undefined where the text holds none. */
export interface ReadText extends LogContent {
  readonly log: TextLog | undefined;
  /** Every table of the text, and how many lines it has. */
  readonly templates: readonly Template[];
  readonly lines: number;
}

/** Where the last number of a line without an end stops being whole: it may be cut. */
function wholeEnd(bytes: Buffer, start: number, end: number): number {
  let to = end;
  while (to > start && isOfNumber(bytes[to - 1]!)) to--;
  return to;
}
const isOfNumber = (byte: number): boolean =>
  (byte >= 48 && byte <= 57) || byte === 0x2e || byte === 0x2b || byte === 0x2d || (byte | 0x20) === 0x65;

/** The series of a log, that of its loss with the cells that have no number. */
const seriesOf = ({ series, loss }: TextLog, refused: readonly Refused[]): readonly LoggedSeries[] =>
  refused.length === 0 ? series : series.map((one) => (one.name === loss ? withRefused(one, refused) : one));

type TextOptions = Partial<Pick<LogReadOptions, 'encoding' | 'layouts' | 'roles'>>;

/**
 * Reads a text of any layout, given in chunks (lines may go over their ends).
 *
 * @param chunks UTF-8 without a byte order mark
 * @param path for messages
 * @returns the runs of the text, none where it holds no log; every byte is accounted for
 */
export async function readText(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  options: TextOptions = {},
): Promise<ReadText> {
  const reading = textReading(path, options);
  for await (const chunk of chunks) reading.push(chunk);
  return reading.content();
}

/** A text that is read piece by piece. */
export interface TextReading extends Pick<LogReading, 'push'> {
  /** What {@link readText} makes of the text so far; more may be pushed after it where the last line had an end. */
  content(): ReadText;
}

export function textReading(path: string, options: TextOptions = {}): TextReading {
  const templates = new Templates();
  const handlers = new TwoHandlers();
  let log: TextLog | undefined;
  let refused: readonly Refused[] = [];
  const scanner = lineScanner(
    path,
    {
      line(bytes, start, end, lineNumber, terminated) {
        if (end - start > LONGEST_RECORD || handlers.tells(bytes, start, end)) return 'passed-over';
        const to = terminated ? end : wholeEnd(bytes, start, end);
        const waits = templates.add(bytes, start, to, lineNumber);
        if (terminated) return waits ?? 'passed-over';
        if (to < end) return 'torn-record';
        return waits ?? 'torn-record';
      },
      *settle() {
        const all = templates.all();
        log = logIn(all, templates.lines, options, path);
        refused = log === undefined ? [] : refusedIn(log, all);
        const kinds = new Map(refused.map((one) => [one.template, one]));
        // A number that is left in such a line is no series of its own.
        if (refused.some(({ template }) => log?.used.has(template)))
          log = logIn(
            all.filter((one) => !kinds.has(one)),
            templates.lines,
            options,
          );
        for (const one of all) {
          const lost = kinds.get(one);
          const isRecord = log?.used.has(one) === true || lost?.isMissing === true;
          yield [one.waits, isRecord ? 'record' : lost === undefined ? 'passed-over' : 'refused-value'];
        }
        yield [templates.dropped, 'passed-over'];
      },
    },
    { carriageReturns: true, ...(options.encoding === undefined ? {} : { encoding: options.encoding }) },
  );
  const content = (): ReadText => {
    const { account, errors } = scanner.end();
    return {
      log,
      templates: templates.all(),
      lines: templates.lines,
      kept: log === undefined ? 0 : [...log.used].reduce((sum, { order }) => sum + order.length, 0),
      account,
      errors,
      runs:
        log === undefined
          ? []
          : [{ stepUnit: log.stepUnit, series: seriesOf(log, refused), notes: log.notes }],
      ...(log === undefined ? {} : { readBy: { how: log.by, statement: log.statement } }),
    };
  };
  return { push: (chunk, isWhole) => scanner.push(chunk, isWhole), content };
}
