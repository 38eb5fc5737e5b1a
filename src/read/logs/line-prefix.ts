/** What precedes a printed record and is no part of it: a bar that was still drawn, the stamps of two handlers of one logger. */

/**
 * A progress bar that was still drawn as the line was printed, and has no value itself:
 * `  6%|▋  | 187/2889 [03:55<56:38,  1.26s/it]Epoch [1/5], Loss: 10.7`.
 */
const GLUED_BAR =
  /^[^\d%]{0,60}\d{1,3}%\|[^|]{0,400}\| ?[\d.kMG]{1,12}\/[\d.kMG]{1,12} \[[^\]=]{0,80}\](?=[A-Za-z[])/;
const PERCENT = 0x25;
const BAR_MARK = 0x7c;

/** The place after a bar that a line begins with. */
export function afterBar(bytes: Buffer, from: number, to: number): number {
  const end = Math.min(to, from + 70);
  for (let at = from; at + 1 < end; at++) {
    if (bytes[at] !== PERCENT) continue;
    if (bytes[at + 1] !== BAR_MARK) return from;
    const bar = GLUED_BAR.exec(bytes.toString('latin1', from, Math.min(to, from + 600)));
    return from + (bar?.[0].length ?? 0);
  }
  return from;
}

/**
 * When a line was written: `2024-05-03T10:00:00.123Z`, `[10:00:00]`; glog's; a system's journal, with the program; not
 * at all, where a level begins the line: `INFO:root:`.
 */
const WRITTEN = [
  /\[?(?:\d{4}[-/]\d\d[-/]\d\d[T ])?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?(?: std(?:out|err) [FP])?/,
  /[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{1,9} {1,8}\d{1,9} [\w./-]{1,80}:\d{1,6}\]/,
  /[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,64} [^\s:]{1,64}:/,
  /(?=(?:INFO|WARNING|DEBUG|ERROR):[A-Za-z_])/,
];
const LEVEL = '(?:INFO|WARNING|WARN|DEBUG|ERROR|NOTICE)';
/** A level, perhaps with the name of its logger; that name in brackets before a level, or before a dash. */
const FIELDS = [
  new RegExp(String.raw`${LEVEL}\b(?::[A-Za-z_][\w.]{0,60}:|:| {0,8}\|(?= ))?`),
  new RegExp(String.raw`\[${LEVEL} {0,8}\]`),
  new RegExp(String.raw`\[[A-Za-z_][\w .:/-]{0,60}\](?=(?: [-|])? {0,4}\[?${LEVEL}\b)`),
  /[A-Za-z_][\w.]{0,60}(?::[\w<>]{1,60}){0,2}(?= - )/,
];
const anyOf = (parts: readonly RegExp[]): string => parts.map(({ source }) => `(?:${source})`).join('|');
const STAMP = new RegExp(
  `^(?:${anyOf(WRITTEN)})(?:(?: [-|])? {0,4}(?:${anyOf(FIELDS)})){0,4}(?: -)?(?: |$|(?<=:))`,
);

/** The text behind what a logger or a runtime puts before each line: the time, its name, the level. */
export const withoutStamp = (text: string): string => text.replace(STAMP, '');

/** Characters of the longest stamp. */
const LONGEST_STAMP = 400;
/** Where the text behind the stamp of a line begins, in bytes. */
export function endOfStamp(line: Buffer): number {
  const text = line.toString('latin1', 0, LONGEST_STAMP);
  return text.length - withoutStamp(text).length;
}

const GLOG = 0x49;
/**
 * Finds lines that two handlers of one logger print, absl's and Python's: `INFO:tensorflow:loss = 2.3` and, after it, `I0101
 * 12:00:00.000000 1407 log.py:7] loss = 2.3`.
 */
export class TwoHandlers {
  private before = Buffer.alloc(0);

  /** Whether a line repeats the line before it by the other handler. Every line is shown to it. */
  tells(bytes: Buffer, from: number, to: number): boolean {
    // A level, `INFO:`, or the `I1231` of glog.
    if (bytes[from] !== GLOG || (bytes[from + 5] !== 32 && bytes[from + 4] !== 0x3a)) {
      if (this.before.length > 0) this.before = Buffer.alloc(0);
      return false;
    }
    const line = bytes.subarray(from, to);
    const isTold =
      this.before.length > 0 &&
      (line[5] === 32) !== (this.before[5] === 32) &&
      message(line).equals(message(this.before));
    this.before = isTold ? Buffer.alloc(0) : Buffer.from(line);
    return isTold;
  }
}
/** What two handlers print alike: after `INFO:tensorflow:`, after `I0101 12:00:00.000000 1407 log.py:7] `. */
function message(line: Buffer): Buffer {
  const isStamped = line[5] === 32;
  const end = isStamped ? line.indexOf('] ') + 2 : line.indexOf(COLON, line.indexOf(COLON) + 1) + 1;
  return end < (isStamped ? 2 : 1) ? line : line.subarray(end);
}
const COLON = 0x3a;
