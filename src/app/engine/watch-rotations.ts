/**
 * Logs of a watched folder that are rotated: what a file held before it was moved away, copied and truncated, or replaced belongs
 * before what it holds now, and the copy of it under another name is not a run of its own.
 */
import { basename, dirname } from 'node:path';
import type { RawLog } from '../../read/logs/read-log.ts';

type Series = RawLog['runs'][number]['series'][number];

const longest = (raw: RawLog): Series | undefined =>
  raw.runs.flatMap(({ series }) => series).sort((a, b) => b.value.length - a.value.length)[0];

/** Whether a log begins with all points of another one: by the first, the middle and the last of its longest series. */
function continues(before: RawLog, after: RawLog): boolean {
  const old = longest(before);
  if (old === undefined || old.value.length === 0) return true;
  const now = after.runs
    .flatMap(({ series }) => series)
    .find(({ name, value }) => name === old.name && value.length >= old.value.length);
  if (now === undefined) return false;
  const last = old.value.length - 1;
  return [0, last >> 1, last].every(
    (i) => Object.is(old.value.at(i), now.value.at(i)) && Object.is(old.step.at(i), now.step.at(i)),
  );
}

/** Whether a path is named as a rotation names an older part: `log.jsonl.1`, `log.jsonl-20260102`, `log.jsonl.1.gz`. */
export const isPartName = (path: string, of: string): boolean =>
  dirname(path) === dirname(of) &&
  basename(path).startsWith(basename(of)) &&
  /^[.\-_]\d[\w.-]*$/.test(basename(path).slice(basename(of).length));

/** The log that a file is a rotated part of, where its name is one of logrotate's: `train.log` of `train.log.2`, `train.log.2.gz`. */
const rotatedLog = (path: string): readonly string[] =>
  /^(.+\.(?:csv|err|json|jsonl|log|out|tsv|txt))\.\d{1,4}(?:\.gz)?$/.exec(path)?.slice(1) ?? [];

/** The steps that a log covers; undefined of one without a series. */
function stepsOf(raw: RawLog): { readonly first: number; readonly last: number } | undefined {
  const { step } = longest(raw) ?? {};
  const [first, last] = [step?.at(0), step?.at(-1)];
  return first === undefined || last === undefined ? undefined : { first, last };
}

/**
 * Where a part belongs among pieces of one run: where the steps go on from the piece before it to it, and from it to the piece after it.
 *
 * @returns undefined where it overlaps them: then it is a run of its own
 */
function placeAmong(pieces: readonly RawLog[], part: RawLog): number | undefined {
  const steps = stepsOf(part);
  if (steps === undefined) return undefined;
  for (let k = pieces.length; k >= 0; k--) {
    const [before, after] = [pieces[k - 1], pieces[k]].map((one) => one && stepsOf(one));
    const follows = k === 0 || (before !== undefined && before.last < steps.first);
    const precedes = k === pieces.length || (after !== undefined && after.first > steps.last);
    if (follows && precedes) return k;
  }
  return undefined;
}

const hasSeriesOf = (a: RawLog, b: RawLog): boolean => longest(a)?.name === longest(b)?.name;

export class Rotations {
  /** What each file held at the last look. */
  private last = new Map<string, RawLog>();
  /** What a file held before, the oldest part first. */
  private readonly history = new Map<string, RawLog[]>();
  /** Files that held records at any look: where one is removed, a file that is named like a part of it may be another run. */
  private readonly seen = new Set<string>();

  /**
   * Takes a new look into account.
   *
   * @param now the logs that are one file each, by path; an empty file has none
   * @param empty files that are there and hold nothing
   * @param moves whether a file is not known at this look: it and its parts stay as they were, and are in neither result
   * @returns the files of which there are earlier parts, oldest first and what they hold now last; and the paths that are such parts
   */
  look(
    now: ReadonlyMap<string, RawLog>,
    empty: ReadonlySet<string>,
    moves: (path: string) => boolean = () => false,
  ): { readonly joined: ReadonlyMap<string, readonly RawLog[]>; readonly parts: ReadonlySet<string> } {
    for (const [path, before] of this.last) {
      if (moves(path)) continue;
      const after = now.get(path);
      if (after !== undefined && continues(before, after)) continue;
      const moved = [...now].find(([other, raw]) => isPartName(other, path) && continues(before, raw));
      // A file that was removed, or rewritten at no smaller size, was not rotated.
      const shrank = after === undefined ? empty.has(path) : after.account.bytes < before.account.bytes;
      if (moved === undefined && !shrank) continue;
      this.history.set(path, [...(this.history.get(path) ?? []), moved?.[1] ?? before]);
    }
    for (const path of now.keys()) this.seen.add(path);
    this.takeUnseenParts(now, empty);
    const parts = new Set<string>();
    for (const [path, pieces] of this.history)
      for (const [other, raw] of now) {
        const piece = isPartName(other, path) ? pieces.findIndex((one) => continues(one, raw)) : -1;
        if (piece < 0) continue;
        parts.add(other);
        // It may have been written to after the last look.
        pieces[piece] = raw;
      }
    this.last = new Map([
      ...[...now].filter(([path]) => !parts.has(path)),
      ...[...this.last].filter(([path]) => moves(path)),
    ]);
    const joined = new Map(
      [...this.history]
        .filter(([path]) => !moves(path))
        .map(([path, pieces]) => {
          const current = now.get(path);
          return [path, current === undefined ? pieces : [...pieces, current]] as const;
        }),
    );
    return { joined, parts };
  }

  /**
   * Parts that were never seen under the name of their log: rotated before the watch began, or twice between two looks. The log itself
   * may hold nothing yet, or not be there until the next record.
   */
  private takeUnseenParts(now: ReadonlyMap<string, RawLog>, empty: ReadonlySet<string>): void {
    const absent = [...now.keys()].flatMap(rotatedLog).filter((path) => !this.seen.has(path));
    const logs = new Set([...now.keys(), ...empty, ...this.history.keys(), ...absent]);
    for (const path of logs) {
      const current = now.get(path);
      const candidates = [...now].filter(([other]) => isPartName(other, path));
      for (const [, raw] of candidates.sort(
        ([, a], [, b]) => (stepsOf(b)?.last ?? 0) - (stepsOf(a)?.last ?? 0),
      )) {
        const own = this.history.get(path) ?? [];
        const pieces = current === undefined ? own : [...own, current];
        const isOther = pieces.length > 0 && !hasSeriesOf(pieces.at(-1)!, raw);
        if (own.some((piece) => continues(piece, raw)) || isOther) continue;
        const place = placeAmong(pieces, raw);
        // After the current content nothing was rotated away.
        if (place === undefined || place > own.length) continue;
        this.history.set(path, [...own.slice(0, place), raw, ...own.slice(place)]);
      }
    }
  }
}
