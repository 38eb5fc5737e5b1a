/** Looks for what a process printed about its end, while a log is read for its records. */
import type { JobEnd, JobReason } from '../../model/job.ts';
import {
  CALL,
  EXCEPTION_CLASS,
  EXCEPTION_NAME,
  FIRST_FAILURE,
  INSTALLED,
  JOB_SIGNATURES,
  type JobSignature,
  OUTERMOST,
  RANK_FORMS,
  RESUMED_FROM,
  TRACEBACK,
} from './signatures.ts';

/** A line that says how a process ended. */
export interface JobSign {
  readonly ended: JobEnd;
  readonly reason: JobReason | null;
  /** 1-based, in the file. */
  readonly line: number;
  /** What was printed, without its prefix, at most 300 characters. Untrusted text. */
  readonly message: string;
  readonly rank: number | null;
  readonly time: string | null;
  /** Where the exception of a traceback was raised; see `frame` of a job. */
  readonly frame?: string;
  /** Another program's report of the failure. */
  readonly summary: boolean;
}

/** What a text says about the process that wrote it. */
export interface JobSigns {
  readonly signs: readonly JobSign[];
  /** Lines that say from which checkpoint training goes on. */
  readonly resumed: readonly {
    readonly line: number;
    readonly from: string;
    /** Whether the line says that training goes on, and not that weights were loaded for any purpose. */
    readonly goesOn: boolean;
  }[];
  /** The rank that a launcher names as the first to fail. */
  readonly firstRank: number | null;
  readonly lines: number;
}

export interface JobWatcher {
  /** Text as UTF-8, in order. */
  take(chunk: Uint8Array): void;
  /** What was found so far, also in a last line without an end. */
  end(): JobSigns;
}

const LONGEST_LINE = 2000;
const LONGEST_MESSAGE = 300;
/** Signs that are kept: tracebacks of a thousand ranks are one story. */
const MOST_SIGNS = 2000;
/** Lines that a traceback may have. */
const LONGEST_TRACEBACK = 400;
/** So many lines with a time behind a caught exception show that its process went on, and within how many lines they come. */
const OUTLIVED = { records: 5, lines: 400 } as const;
/** Lines of a launcher's words on the rank that failed first. */
const LONGEST_FIRST_FAILURE = 12;

const KEYWORDS: readonly Buffer[] = [
  ...new Set([
    TRACEBACK,
    FIRST_FAILURE.keyword,
    ...RESUMED_FROM.keywords,
    ...JOB_SIGNATURES.map(({ keyword }) => keyword),
  ]),
].map((keyword) => Buffer.from(keyword));

/** A date and a time of day, as loggers print them. */
const CLOCK = /\b(\d{4}[-/]\d\d?[-/]\d\d?[ T]\d\d?:\d\d:\d\d|\d\d?:\d\d:\d\d)\b/;

/** The rank that a line names; null where it names none. */
export function rankOf(line: string): number | null {
  for (const form of RANK_FORMS) {
    const found = form.exec(line);
    if (found !== null) return Number(found[1]);
  }
  return null;
}

/** A traceback whose exception has not been printed yet. */
interface OpenTraceback {
  /** The prefix of each of its lines. */
  readonly prefix: string;
  /** Whether the prefix has a clock, and differs from line to line. */
  readonly clock: boolean;
  readonly rank: number | null;
  left: number;
  /** The last call so far, and whether it is of the program itself; null before the first. */
  frame: { readonly text: string; readonly isOwn: boolean } | null;
  /** Whether its first call is not that of a whole program or thread: something caught the exception, and printed it. */
  isCaught: boolean;
}

/** Exceptions that something caught and printed, one after the other, whose process may go on. */
interface Caught {
  readonly signs: readonly JobSign[];
  /** Lines with a time behind them. */
  records: number;
  left: number;
}

/** A later call of the program itself, or of anything where none of the program is known, is where it happened. */
function takeCall(open: OpenTraceback, text: string): void {
  const [, path, line, name] = CALL.exec(text) ?? [];
  if (path === undefined) return;
  if (open.frame === null) open.isCaught = !open.clock && name !== undefined && !OUTERMOST.test(name);
  const isOwn = !INSTALLED.test(path);
  if (!isOwn && open.frame?.isOwn === true) return;
  open.frame = { text: `${path}:${line}${name === undefined ? '' : ` in ${name.trim()}`}`, isOwn };
}

/** The text of a line behind the prefix of a traceback; undefined where the line is of something else. */
function behind({ prefix, clock }: OpenTraceback, line: string): string | undefined {
  if (clock) return line.length >= prefix.length ? line.slice(prefix.length) : undefined;
  return line.startsWith(prefix) ? line.slice(prefix.length) : undefined;
}

/** What is known so far. */
interface Watching {
  signs: JobSign[];
  readonly resumed: JobSigns['resumed'][number][];
  firstRank: number | null;
  /** Lines that the launcher's words on the first failure still have. */
  inFirstFailure: number;
  open: OpenTraceback[];
  caught: Caught | null;
  lineNumber: number;
}

type Form = Pick<JobSignature, 'ended' | 'reason' | 'summary'>;

const formOf = (text: string): Form | undefined =>
  JOB_SIGNATURES.find(({ keyword, pattern }) => text.includes(keyword) && pattern.test(text));

/** Keeps a sign, and returns it; undefined where there are too many. */
function note(
  watching: Watching,
  text: string,
  { ended, reason, summary }: Form,
  rank: number | null,
  frame?: string,
): JobSign | undefined {
  if (watching.signs.length >= MOST_SIGNS) return undefined;
  const sign: JobSign = {
    ended,
    reason,
    summary: summary === true,
    line: watching.lineNumber,
    message: text.trim().slice(0, LONGEST_MESSAGE),
    rank,
    time: CLOCK.exec(text)?.[1] ?? null,
    ...(frame === undefined ? {} : { frame }),
  };
  watching.signs.push(sign);
  return sign;
}

const namesException = (text: string): boolean => EXCEPTION_CLASS.test(EXCEPTION_NAME.exec(text)?.[1] ?? '');

/** Whether the line ended an open traceback: it names the exception. */
function endsTraceback(watching: Watching, line: string): boolean {
  for (const one of watching.open) {
    const text = behind(one, line);
    one.left--;
    if (text !== undefined) takeCall(one, text);
    if (text === undefined || text === '' || /^[\s|+]/.test(text) || !namesException(text)) continue;
    watching.open = watching.open.filter((other) => other !== one);
    const form = formOf(text) ?? { ended: 'crashed', reason: 'exception' };
    const sign = note(watching, text, form, rankOf(text) ?? one.rank, one.frame?.text);
    const signs = [...(watching.caught?.signs ?? []), ...(sign === undefined ? [] : [sign])];
    watching.caught = one.isCaught ? { signs, records: 0, left: OUTLIVED.lines } : null;
    return true;
  }
  watching.open = watching.open.filter(({ left }) => left > 0);
  return false;
}

/** Takes back exceptions that were caught where a logger goes on behind them: they ended nothing. */
function takeBehind(watching: Watching, line: string): void {
  const { caught } = watching;
  if (caught === null) return;
  if (CLOCK.test(line)) caught.records++;
  const isOutlived = caught.records === OUTLIVED.records;
  if (isOutlived) watching.signs = watching.signs.filter((sign) => !caught.signs.includes(sign));
  if (isOutlived || --caught.left === 0) watching.caught = null;
}

/** What Python prints before the traceback of a group of exceptions. */
const GROUP = '+ Exception Group ';

function opensTraceback({ open }: Watching, line: string): boolean {
  const at = line.indexOf(TRACEBACK);
  if (at < 0) return false;
  const prefix = line.slice(0, at);
  // A process that prints an exception of another one says `Original Traceback`.
  const plain = prefix.endsWith('Original ') ? prefix.slice(0, -'Original '.length) : prefix;
  // The lines of a group of exceptions begin with a bar.
  const own = plain.endsWith(GROUP) ? `${plain.slice(0, -GROUP.length)}| ` : plain;
  open.push({
    prefix: own,
    clock: CLOCK.test(own),
    rank: rankOf(line),
    left: LONGEST_TRACEBACK,
    frame: null,
    isCaught: false,
  });
  return true;
}

function readLine(watching: Watching, bytes: Buffer): void {
  watching.lineNumber++;
  const whole = bytes.toString('utf8', 0, Math.min(bytes.length, LONGEST_LINE));
  // A progress bar overwrites its line: a reader saw the last text in it.
  const line = whole.replace(/\r$/, '').slice(whole.lastIndexOf('\r', whole.length - 2) + 1);
  if (opensTraceback(watching, line) || (watching.open.length > 0 && endsTraceback(watching, line))) return;
  if (watching.open.length === 0) takeBehind(watching, line);
  if (line.includes(FIRST_FAILURE.keyword)) watching.inFirstFailure = LONGEST_FIRST_FAILURE;
  if (watching.inFirstFailure > 0) {
    watching.inFirstFailure--;
    const rank = FIRST_FAILURE.rank.exec(line)?.[1];
    if (rank !== undefined) watching.firstRank ??= Number(rank);
  }
  const form = formOf(line);
  if (form !== undefined) note(watching, line, form, rankOf(line));
  else readResume(watching, line);
}

function readResume({ resumed, lineNumber }: Watching, line: string): void {
  if (!RESUMED_FROM.keywords.some((keyword) => line.includes(keyword)) || resumed.length >= MOST_SIGNS)
    return;
  const from = RESUMED_FROM.pattern.exec(line)?.[1];
  if (from !== undefined) resumed.push({ line: lineNumber, from, goesOn: RESUMED_FROM.goesOn.test(line) });
}

/** Whole lines. Where a message spans lines each of them is read; else those from the first keyword on. */
function readLines(watching: Watching, text: Buffer): void {
  const spans = watching.open.length > 0 || watching.caught !== null || watching.inFirstFailure > 0;
  const hit = spans ? 0 : firstKeyword(text);
  const first = hit < 0 ? text.length : text.lastIndexOf(10, hit) + 1;
  watching.lineNumber += countLines(text, first);
  let from = first;
  while (from < text.length) {
    const end = text.indexOf(10, from);
    readLine(watching, text.subarray(from, end < 0 ? text.length : end));
    from = end < 0 ? text.length : end + 1;
  }
}

/** The keywords by the two bytes that end their first {@link WINDOW}; how far a search may go on from any two bytes (Wu and Manber 1994). */
const WINDOW = Math.min(...KEYWORDS.map(({ length }) => length));
const byEnd = new Map<number, Buffer[]>();
const stride = new Uint8Array(1 << 16).fill(WINDOW - 1);
for (const keyword of KEYWORDS)
  for (let k = 1; k < WINDOW; k++) {
    const pair = (keyword[k - 1]! << 8) | keyword[k]!;
    stride[pair] = Math.min(stride[pair]!, WINDOW - 1 - k);
    if (k === WINDOW - 1) byEnd.set(pair, [...(byEnd.get(pair) ?? []), keyword]);
  }

const standsAt = (text: Buffer, at: number, keyword: Buffer): boolean => {
  for (let k = 0; k < keyword.length; k++) if (text[at + k] !== keyword[k]) return false;
  return true;
};

/** Index of the first keyword, or -1. */
function firstKeyword(text: Buffer): number {
  for (let end = WINDOW - 1; end < text.length; ) {
    const pair = (text[end - 1]! << 8) | text[end]!;
    const step = stride[pair]!;
    if (step > 0) end += step;
    else {
      const from = end - WINDOW + 1;
      if (byEnd.get(pair)!.some((keyword) => standsAt(text, from, keyword))) return from;
      end++;
    }
  }
  return -1;
}

/**
 * Watches text for the end of the process that printed it. A log without any keyword costs one search and a count of
 * its lines; memory: one line, and what was found.
 */
export function watchJob(): JobWatcher {
  const watching: Watching = {
    signs: [],
    resumed: [],
    firstRank: null,
    inFirstFailure: 0,
    open: [],
    caught: null,
    lineNumber: 0,
  };
  let rest: Buffer = Buffer.alloc(0);
  return {
    take(chunk) {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
      const end = bytes.lastIndexOf(10);
      if (end < 0) {
        // A line longer than any message is of something else.
        rest = rest.length > LONGEST_LINE ? rest : Buffer.concat([rest, bytes]);
        return;
      }
      const begun = rest.length > 0 ? bytes.indexOf(10) + 1 : 0;
      if (begun > 0) readLines(watching, Buffer.concat([rest, bytes.subarray(0, begun)]));
      if (begun <= end) readLines(watching, bytes.subarray(begun, end + 1));
      rest = Buffer.from(bytes.subarray(end + 1));
    },
    end() {
      const { signs, resumed, open, caught, ...more } = watching;
      const seen: Watching = {
        ...more,
        signs: [...signs],
        resumed: [...resumed],
        open: open.map((one) => ({ ...one })),
        caught: caught && { ...caught },
      };
      if (rest.length > 0) readLines(seen, rest);
      return { signs: seen.signs, resumed: seen.resumed, firstRank: seen.firstRank, lines: seen.lineNumber };
    },
  };
}

/** How many lines end in [0, end). */
function countLines(text: Buffer, end: number): number {
  let count = 0;
  for (let at = text.indexOf(10); at >= 0 && at < end; at = text.indexOf(10, at + 1)) count++;
  return count;
}
