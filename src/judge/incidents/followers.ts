/**
 * Followers that are kept from one judgement of a run to the next: of a log that grows, only the new points are followed.
 *
 * A follower does not look ahead, so one that has taken the first points of a series is the same whether the rest comes at once or
 * later. What was taken is known again by a checksum of 64 bits: a series that was rewritten is followed from its start.
 */
import { type Column, readerOf } from '../../model/column.ts';
import { Follower, type Limits, type Unit } from './follow.ts';

/** How a series is followed; two followers of the same points and the same of these are equal. */
export interface Following {
  readonly unit: Unit;
  readonly limits: Limits;
  readonly isWhole: boolean;
  readonly errors: number | undefined;
}

interface Kept {
  readonly how: Following;
  readonly follower: Follower;
  /** Of the points that it has taken. */
  sum: Checksum;
}

/** Followers that are kept of a run, each of about 50 kB: those of the most points. */
const MOST = 4;
/** Fewer points than these are followed in less time than it takes to compare them. */
const LEAST = 256;

const LIMITS = [
  'incidentRatio',
  'driftRatio',
  'fullRatio',
  'fullRatioAtEnd',
  'decisionPoints',
  'lostShare',
] as const satisfies readonly (keyof Limits)[];

const isSameWay = (a: Following, b: Following): boolean =>
  a.isWhole === b.isWhole &&
  a.errors === b.errors &&
  a.unit.byRatio === b.unit.byRatio &&
  a.unit.shift === b.unit.shift &&
  LIMITS.every((name) => a.limits[name] === b.limits[name]);

type Checksum = readonly [low: number, high: number];
const EMPTY: Checksum = [0x811c9dc5, 0x9747b28c];
const double = new Float64Array(1);
const words = new Uint32Array(double.buffer);

/** The checksum with the numbers [from, to) too. */
function sumWith([low, high]: Checksum, at: (index: number) => number, from: number, to: number): Checksum {
  let [a, b] = [low, high];
  for (let i = from; i < to; i++) {
    double[0] = at(i);
    a = Math.imul(a ^ words[0]!, 0x01000193);
    a = Math.imul(a ^ (a >>> 15) ^ words[1]!, 0x85ebca6b);
    b = Math.imul(b ^ words[1]!, 0xcc9e2d51);
    b = Math.imul(b ^ (b >>> 13) ^ words[0]!, 0x1b873593);
  }
  return [a, b];
}

/** Those that are asked at the moment: a judgement is one synchronous call. */
let current: { of(values: Column, how: Following): Follower } | undefined;

/** Does work that judges, and asks these for followers. */
function asking<T>(followers: typeof current, judge: () => T): T {
  const outer = current;
  current = followers;
  try {
    return judge();
  } finally {
    current = outer;
  }
}

/**
 * Judges series that begin with the same points, those of a run before its branches: these are followed once, and each branch goes on
 * from a copy.
 *
 * @param points that they have in common
 */
export function judgeBranches<T>(points: number, judge: () => T): T {
  const stems: Kept[] = [];
  const of = (values: Column, how: Following): Follower => {
    const at = readerOf(values);
    if (values.length <= points) return followTo(values.length, newFollower(how), at);
    const sum = sumWith(EMPTY, at, 0, points);
    let stem = stems.find((one) => isSameWay(one.how, how) && one.sum[0] === sum[0] && one.sum[1] === sum[1]);
    if (stem === undefined) {
      stem = { how, sum, follower: followTo(points, newFollower(how), at) };
      stems.push(stem);
    }
    return followTo(values.length, stem.follower.copy(), at);
  };
  return asking({ of }, judge);
}

/** A follower that has taken the points up to one before `end`. */
function followTo(end: number, follower: Follower, at: (index: number) => number): Follower {
  for (let i = follower.count; i < end; i++) follower.step(at(i));
  return follower;
}

/** The followers of one run. */
export class Followers {
  private known: Kept[] = [];
  private used: Kept[] = [];

  /** Points that were followed, over all judgements: for tests. */
  taken = 0;

  /** Does work that judges the run, with the followers of the time before; those that it did not ask for are forgotten. */
  during<T>(judge: () => T): T {
    try {
      return asking(this, judge);
    } finally {
      const longest = [...this.used].sort((a, b) => b.follower.count - a.follower.count);
      this.known = longest.slice(0, MOST);
      this.used = [];
    }
  }

  /** The follower of a series after its last point. It is not to be stepped on. */
  of(values: Column, how: Following): Follower {
    const at = readerOf(values);
    const sums = new Map<number, Checksum>();
    const isStart = ({ follower, sum }: Kept): boolean => {
      const { count } = follower;
      const own = sums.get(count) ?? sumWith(EMPTY, at, 0, count);
      sums.set(count, own);
      return own[0] === sum[0] && own[1] === sum[1];
    };
    const found = [...this.used, ...this.known].find(
      (one) => one.follower.count <= values.length && isSameWay(one.how, how) && isStart(one),
    );
    const kept = found ?? { how, follower: newFollower(how), sum: EMPTY };
    const from = kept.follower.count;
    kept.sum = sumWith(kept.sum, at, from, values.length);
    this.taken += values.length - from;
    if (!this.used.includes(kept)) this.used.push(kept);
    return followTo(values.length, kept.follower, at);
  }
}

const newFollower = ({ unit, isWhole, limits, errors }: Following): Follower =>
  new Follower(unit, isWhole, limits, errors);

/** The follower of a series after its last point: one that is kept, followed on, where the judgement has such. */
export function followerOf(values: Column, how: Following): Follower {
  if (current !== undefined && values.length >= LEAST) return current.of(values, how);
  return followTo(values.length, newFollower(how), readerOf(values));
}
