/**
 * What precedes a printed record: the time, level and place of a logger (logging, absl and glog, loguru, rich, TensorFlow),
 * and the rank that a launcher puts before each line.
 */

const LEVELS = ['INFO', 'WARNING', 'WARN', 'DEBUG', 'ERROR', 'NOTICE', 'CRITICAL', 'SUCCESS', 'Info', 'info'];
/** How far into a line its level may be. */
const WITHIN = 120;

/** By the first letter of a level, its second one. */
const LEVEL_START = new Uint8Array(256);
for (const level of LEVELS) LEVEL_START[level.charCodeAt(0)] = level.charCodeAt(1) & 0xdf;

const DIGITS = /^\d+$/;

/** Where {@link recordStart} leaves the rank of the line; NaN where it has none. */
export const prefixRank = new Float64Array([Number.NaN]);

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 48 && byte <= 57;
const isWord = (byte: number | undefined): boolean =>
  byte !== undefined &&
  (isDigit(byte) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || byte === 95);

const blanks = (bytes: Buffer, from: number, to: number): number => {
  let at = from;
  while (at < to && (bytes[at] === 32 || bytes[at] === 9)) at++;
  return at;
};

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

/** Where the record in a line starts, after what a launcher and a logger put before it. */
export function recordStart(bytes: Buffer, from: number, to: number): number {
  prefixRank[0] = Number.NaN;
  let at = blanks(bytes, afterBar(bytes, from, to), to);
  at = afterRank(bytes, at, to);
  at = afterSyslog(bytes, at, to);
  const glog = afterGlog(bytes, at, to);
  if (glog > at) return glog;
  const level = afterLevel(bytes, at, to);
  return level > at ? level : afterStamp(bytes, at, to);
}

/** `Jan 31 10:00:00 gpu-box trainer[812]: `, as syslog writes it. */
const SYSLOG = /^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S{1,64} [^\s[:]{1,48}(?:\[\d{1,9}\])?: /;

function afterSyslog(bytes: Buffer, from: number, to: number): number {
  if (bytes[from + 3] !== 32 || bytes[from + 6] !== 32 || bytes[from + 9] !== 0x3a) return from;
  const found = SYSLOG.exec(bytes.toString('latin1', from, Math.min(to, from + WITHIN + 40)));
  return found === null ? from : blanks(bytes, from + found[0].length, to);
}

/** A clock in a bracket, with a date before it and a place behind it: tensorpack's `[0513 09:01:00 @monitor.py:467]`. */
const STAMP = /^(?:[\d/.-]{4,10}[ T])?\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[ +-]\S{1,8})?(?: @\S{1,40})?$/;
const LONGEST_STAMP = 80;

function afterStamp(bytes: Buffer, from: number, to: number): number {
  if (bytes[from] !== 0x5b || !isDigit(bytes[from + 1])) return from;
  const close = bytes.subarray(from, Math.min(to, from + LONGEST_STAMP)).indexOf(0x5d);
  if (close < 0 || !STAMP.test(bytes.toString('latin1', from + 1, from + close))) return from;
  return blanks(bytes, from + close + 1, to);
}

/** `[rank0]:`, `[default3]:`, `[1,3]<stdout>:`, `(Worker pid=12, ip=10.0.0.1)`, `3: ` are ranks; the place after them. */
function afterRank(bytes: Buffer, from: number, to: number): number {
  const byte = bytes[from];
  if (byte === 0x5b) {
    const close = bytes.subarray(from, Math.min(to, from + 24)).indexOf(0x5d);
    if (close < 0) return from;
    const inner = bytes.toString('latin1', from + 1, from + close);
    let at = from + close + 1;
    const name = /^(?:rank|default|worker|gpu|cuda)[ :_=]?(\d{1,5})$/i.exec(inner);
    const openMpi = name === null ? /^\d{1,3},(\d{1,5})$/.exec(inner) : null;
    const rank = name?.[1] ?? openMpi?.[1];
    if (rank === undefined) return from;
    if (openMpi !== null && !/^<std(?:out|err)>/.test(bytes.toString('latin1', at, at + 8))) return from;
    if (openMpi !== null) at += 8;
    if (bytes[at] === 0x3a) at++;
    prefixRank[0] = Number(rank);
    return blanks(bytes, at, to);
  }
  if (byte === 0x28) {
    const close = bytes.subarray(from, Math.min(to, from + 80)).indexOf(0x29);
    if (close < 0) return from;
    const pid = /^[\w.()]+ pid=(\d+)/.exec(bytes.toString('latin1', from + 1, from + close));
    if (pid === null) return from;
    prefixRank[0] = Number(pid[1]);
    return blanks(bytes, from + close + 1, to);
  }
  return from;
}

/** `I0101 12:00:00.000000 140737 train.py:12] ` (glog, absl). */
function afterGlog(bytes: Buffer, from: number, to: number): number {
  const byte = bytes[from];
  if (byte !== 0x49 && byte !== 0x57 && byte !== 0x45 && byte !== 0x46) return from;
  for (let k = 1; k <= 4; k++) if (!isDigit(bytes[from + k])) return from;
  if (bytes[from + 5] !== 32) return from;
  const end = Math.min(to, from + WITHIN);
  for (let at = from + 6; at + 1 < end; at++)
    if (bytes[at] === 0x5d && bytes[at + 1] === 32) return blanks(bytes, at + 1, to);
  return from;
}

/** `2025-01-01 12:00:00,123 - name - INFO - `, `INFO:root:`, `[12:00:00] INFO     `, `… | INFO     | a.b:c:12 - `. */
function afterLevel(bytes: Buffer, from: number, to: number): number {
  // A logger starts with a time, a bracket or its level.
  const wide = bytes[from] === 0x5b || isDigit(bytes[from]);
  const end = wide ? Math.min(to, from + WITHIN) : Math.min(to, from + 4);
  for (let at = from; at + 4 <= end; at++) {
    if (LEVEL_START[bytes[at]!] === 0) continue;
    const byte = bytes[at]! & 0xdf;
    const second = bytes[at + 1]! & 0xdf;
    // I-N, W-A, D-E, E-R, N-O, C-R, S-U
    if (second !== LEVEL_START[byte]) continue;
    if (at > from && isWord(bytes[at - 1])) continue;
    const text = bytes.toString('latin1', at, Math.min(at + 9, to));
    const level = LEVELS.find((one) => text.startsWith(one) && !isWord(bytes[at + one.length]));
    if (level === undefined) continue;
    let after = at + level.length;
    // INFO:root: and INFO:tensorflow:
    if (bytes[after] === 0x3a && isWord(bytes[after + 1])) {
      let name = after + 1;
      while (name < to && bytes[name] !== 0x3a && bytes[name] !== 32) name++;
      if (bytes[name] === 0x3a) after = name + 1;
    }
    while (
      after < to &&
      (bytes[after] === 32 || bytes[after] === 9 || bytes[after] === 0x5d || bytes[after] === 0x3a)
    )
      after++;
    if ((bytes[after] === 0x7c || bytes[after] === 0x2d) && bytes[after + 1] === 32) {
      after += 2;
      // loguru: | package.module:function:12 -
      if (bytes[after - 2] === 0x7c) {
        const dash = bytes.subarray(after, Math.min(to, after + WITHIN)).indexOf(' - ');
        const place = dash < 0 ? '' : bytes.toString('latin1', after, after + dash);
        const line = place.slice(place.lastIndexOf(':') + 1);
        if (place !== '' && !place.includes(' ') && DIGITS.test(line)) after += dash + 3;
      }
    }
    return blanks(bytes, after, to);
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
const message = (line: Buffer): Buffer => line.subarray(recordStart(line, 0, line.length));
