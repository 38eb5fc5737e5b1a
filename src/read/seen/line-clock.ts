/** The time that is printed in a line of a log: most of them say it at the same place, so that a few bytes are compared. */

/** How times are printed; the groups are year, month, day, hour, minute and second, as far as the form has them. */
const FORMS: readonly { readonly pattern: RegExp; readonly groups: string }[] = [
  { pattern: /(\d{4})[-/](\d\d)[-/](\d\d)[T _](\d\d):(\d\d):(\d\d)/d, groups: 'YMDhms' },
  { pattern: /(?<!\d)(\d\d)\/(\d\d)\/(\d{4}),? (\d\d):(\d\d):(\d\d)/d, groups: 'MDYhms' },
  { pattern: /(?<![\d/-])(\d\d)[-/](\d\d) (\d\d):(\d\d):(\d\d)/d, groups: 'MDhms' },
  // glog and absl.
  { pattern: /^[IWEF](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\./d, groups: 'MDhms' },
  // Elsewhere in a line it is a duration: the bar of tqdm has two.
  { pattern: /^[[(]?(\d\d):(\d\d):(\d\d)(?![:\d])/d, groups: 'hms' },
];
/** Bytes of a line that are searched. */
const SEARCHED = 300;
/** Lines in a row that may lack a time before no more are searched, and how many more for each that had one. */
const [MISSES, MISSES_A_HIT] = [64, 8];
const [HOUR, DAY] = [3600, 86_400];
/** A year for times that print none: it has every day. */
const LEAP_YEAR = 2000;

/** Where the last time was found in its line. */
interface Place {
  /** From the start of the line. */
  readonly offset: number;
  /** For each byte the group it is of; '' where it is no digit of one. */
  readonly groups: readonly string[];
  readonly bytes: Buffer;
}

const FIELDS = 'YMDhms';

/** Reads the times of lines one after the other. */
export class LineClock {
  private place: Place | undefined;
  private hits = 0;
  private misses = 0;
  private last = Number.NEGATIVE_INFINITY;
  /** Seconds that a time without a year or a date got because it began anew. */
  private added = 0;
  private day = { year: 0, month: 0, date: 0, start: Number.NaN };
  private readonly fields = new Float64Array(FIELDS.length);

  /**
   * The time in the line from `start` to `end`, in seconds: since 1970 where a year is printed, else since an unknown day, but
   * growing over midnight and New Year. NaN where the line has none. Its zone is not looked at: only distances count.
   */
  read(bytes: Buffer, start: number, end: number): number {
    if (this.misses > MISSES + MISSES_A_HIT * this.hits) return Number.NaN;
    if (!this.readAsBefore(bytes, start, end) && !this.search(bytes, start, end)) {
      this.misses++;
      return Number.NaN;
    }
    this.hits++;
    return this.seconds();
  }

  private readAsBefore(bytes: Buffer, start: number, end: number): boolean {
    const { place, fields } = this;
    if (place === undefined || start + place.offset + place.bytes.length > end) return false;
    fields.fill(0);
    for (let k = 0, at = start + place.offset; k < place.bytes.length; k++, at++) {
      const group = place.groups[k]!;
      if (group === '') {
        if (bytes[at] !== place.bytes[k]) return false;
        continue;
      }
      const digit = bytes[at]! - 48;
      if (digit < 0 || digit > 9) return false;
      const field = FIELDS.indexOf(group);
      fields[field] = 10 * fields[field]! + digit;
    }
    return this.isTime();
  }

  private search(bytes: Buffer, start: number, end: number): boolean {
    const text = bytes.toString('latin1', start, Math.min(end, start + SEARCHED));
    for (const { pattern, groups } of FORMS) {
      const found = pattern.exec(text);
      if (found === null) continue;
      const { index } = found;
      const of = Array.from(found[0], () => '');
      this.fields.fill(0);
      for (const [k, group] of [...groups].entries()) {
        const [from, to] = found.indices![k + 1]!;
        of.fill(group, from - index, to - index);
        this.fields[FIELDS.indexOf(group)] = Number(found[k + 1]);
      }
      if (!this.isTime()) continue;
      this.place = { offset: index, groups: of, bytes: Buffer.from(found[0], 'latin1') };
      return true;
    }
    return false;
  }

  private isTime(): boolean {
    const [, month, day, hour, minute, second] = this.fields;
    return month! <= 12 && day! <= 31 && hour! < 24 && minute! < 60 && second! <= 60;
  }

  private seconds(): number {
    const [year, month, date, hour, minute, second] = this.fields as unknown as number[];
    if (
      year !== this.day.year ||
      month !== this.day.month ||
      date !== this.day.date ||
      Number.isNaN(this.day.start)
    )
      this.day = {
        year: year!,
        month: month!,
        date: date!,
        start: month === 0 ? 0 : Date.UTC(year! || LEAP_YEAR, month! - 1, date) / 1000,
      };
    const told = this.day.start + HOUR * hour! + 60 * minute! + second!;
    // A clock without a date begins anew at midnight, one without a year at New Year; lines of two processes differ by less.
    const period = month === 0 ? DAY : year === 0 ? 366 * DAY : Number.POSITIVE_INFINITY;
    if (this.last - (told + this.added) > period / 2) this.added += period;
    this.last = told + this.added;
    return this.last;
  }
}
