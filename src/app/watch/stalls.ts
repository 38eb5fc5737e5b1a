/** Which watched runs stopped, and which go on. */

import { dirname, join } from 'node:path';
import { durationText } from '../../model/duration.ts';
import type { JobEnd } from '../../model/job.ts';
import type { Report, RunReport } from '../../model/report.ts';
import { namesIn, stampOf } from '../../read/bytes/source.ts';
import type { Stall } from '../engine/watch-alerts.ts';
import type { PaceState } from '../engine/watch-pace.ts';
import { isPartName } from '../engine/watch-rotations.ts';

/** A process that has ended writes no more: that is an event of its own, or none. */
const ENDED: ReadonlySet<JobEnd> = new Set(['completed', 'crashed', 'killed']);

/**
 * Runs that stopped: each that wrote a record while it was watched and has not for so long. Where all are silent, also the run of the
 * newest record. A run whose process has ended, and
 * one that had ended before the watch began, is not one of them.
 *
 * @param runs those that were read at this look
 * @param stall seconds
 * @param began milliseconds: when the watch began
 */
export function stallsOf(
  { pace, news }: PaceState,
  runs: readonly RunReport[],
  path: string,
  stall: number,
  began: number,
  now: number,
): readonly Stall[] {
  const silent = (at: number): boolean => now - at >= 1000 * stall;
  const since = (at: number): string => durationText(now - at);
  const stopped = runs.flatMap(({ id, stepUnit, attemptList, job }): Stall[] => {
    const last = news.get(id);
    if (job !== undefined && ENDED.has(job.ended)) return [];
    if (last === undefined || !last.grew || !silent(last.at)) return [];
    return [{ run: id, stepUnit, step: attemptList.at(-1)?.lastStep ?? null, since: since(last.at) }];
  });
  const newest = pace?.at ?? began;
  const endedOfAll = runs.length > 0 && runs.every(({ job }) => job !== undefined && ENDED.has(job.ended));
  const isUnread = pace !== null && runs.every(({ id }) => id !== pace.run);
  if (!silent(newest) || endedOfAll || isUnread || stopped.some(({ run }) => run === pace?.run))
    return stopped;
  const { run = path, stepUnit = 'step', step = null } = pace ?? {};
  return [{ run, stepUnit, step, since: since(newest) }, ...stopped];
}

/** Ids of runs that wrote a record while they were watched and have not stopped. */
export function growingOf({ news }: PaceState, stalls: readonly Stall[]): ReadonlySet<string> {
  const stopped = new Set(stalls.map(({ run }) => run));
  return new Set([...news].filter(([id, { grew }]) => grew && !stopped.has(id)).map(([id]) => id));
}

/**
 * Milliseconds until a run stalls that writes nothing more; Infinity where none can. A look then reports it as soon as it is one.
 *
 * @param stall seconds
 * @param began milliseconds: when the watch began
 * @param now milliseconds
 */
export function untilStall({ pace, news }: PaceState, stall: number, began: number, now: number): number {
  const last = [...news.values()].flatMap(({ at, grew }) => (grew ? [at] : []));
  const left = [...last, pace?.at ?? began].map((at) => at + 1000 * stall - now);
  return Math.min(...left.filter((ms) => ms > 0));
}

/** When the files of each run were last written to, in milliseconds. */
export async function timesOfWriting({ runs }: Report): Promise<Map<string, number>> {
  const times = new Map<string, number>();
  for (const { id, paths } of runs) {
    const written = await Promise.all(paths.map(timeOfWriting));
    const modified = written.filter((time) => time !== undefined);
    if (modified.length > 0) times.set(id, Math.max(...modified));
  }
  return times;
}

/** Of a log that was moved away it is the time of its newest part. */
async function timeOfWriting(path: string): Promise<number | undefined> {
  const stamp = await stampOf(path);
  if (stamp !== undefined) return stamp.modified;
  const folder = dirname(path);
  const names = (await namesIn(folder)) ?? [];
  const parts = [...names].map((name) => join(folder, name)).filter((part) => isPartName(part, path));
  const stamps = await Promise.all(parts.map((part) => stampOf(part)));
  const modified = stamps.flatMap((one) => (one === undefined ? [] : [one.modified]));
  return modified.length === 0 ? undefined : Math.max(...modified);
}
