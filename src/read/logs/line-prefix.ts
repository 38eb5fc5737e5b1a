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
