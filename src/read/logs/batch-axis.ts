/**
 * Steps that count the batches of an epoch: they start again every epoch, and training goes on. Each epoch would be an
 * attempt of its own, and a rise from one epoch to the next would be seen by none.
 */
import { type Column, copyOf } from '../../model/column.ts';
import { medianOf, usualDistance } from '../../model/order-statistics.ts';
import type { Restart } from './attempts.ts';

/** Points at either end of an epoch whose median is its level there, at most. */
const LEVEL_POINTS = 5;
/** Share of the epochs that have to begin nearer to where the one before ended than to where the first began. */
const CONTINUING = 0.5;
/** With one boundary alone: how much nearer. */
const CLEARLY = 0.25;

/** An axis on which every epoch counts its batches from one number on. */
export interface BatchAxis {
  /** Steps that an epoch has. */
  readonly period: number;
  /** The first step of every epoch. */
  readonly first: number;
  readonly epochs: number;
}

/** The part of a series between two of its points. */
interface Part {
  readonly step: Column;
  readonly value: Column;
}

/** Whether a part counts the same steps as another, or as its beginning where it is the last. */
function countsAs(part: Part, first: Part, isLast: boolean): boolean {
  const { length } = part.step;
  if (isLast ? length > first.step.length : length !== first.step.length) return false;
  for (let k = 0; k < length; k++) if (part.step.at(k)! !== first.step.at(k)!) return false;
  return true;
}

const levelOf = (values: Column, from: number, to: number): number =>
  medianOf(copyOf(values, Math.max(0, from), to));

/** Whether training goes on from each part to the next: by its levels, for a training anew begins where the first did. */
function goesOn(parts: readonly Part[]): boolean {
  const points = Math.max(1, Math.min(LEVEL_POINTS, parts[0]!.value.length >> 2));
  const initial = levelOf(parts[0]!.value, 0, points);
  let known = 0;
  let continuing = 0;
  let clearly = 0;
  for (let k = 1; k < parts.length; k++) {
    const { value } = parts[k - 1]!;
    const end = levelOf(value, value.length - points, value.length);
    const begin = levelOf(parts[k]!.value, 0, points);
    if (Number.isNaN(end) || Number.isNaN(begin)) continue;
    known++;
    const gap = Math.abs(begin - end);
    if (gap < Math.abs(begin - initial)) continuing++;
    if (gap < CLEARLY * Math.abs(initial - end)) clearly++;
  }
  return known === 1 ? clearly === 1 : known > 0 && continuing >= CONTINUING * known;
}

/**
 * Whether restarts are epochs of one training: every part has the same steps (the last may end sooner), and the levels of
 * the loss go on from one to the next.
 *
 * @param restarts as they were found in the axis, in file order
 * @returns null where they are restarts
 */
export function batchAxisOf(axis: Part, restarts: readonly Restart[]): BatchAxis | null {
  if (restarts.length === 0 || restarts.some(({ reason }) => reason !== 'step-went-back')) return null;
  const bounds = [0, ...restarts.map(({ index }) => index), axis.step.length];
  const parts = bounds.slice(1).map((to, k): Part => {
    const from = bounds[k]!;
    return { step: axis.step.subarray(from, to), value: axis.value.subarray(from, to) };
  });
  const [first] = parts;
  if (first === undefined || first.step.length < 2) return null;
  if (!parts.every((part, k) => countsAs(part, first, k === parts.length - 1))) return null;
  // Few points after one restart may be a crash soon after it.
  if (parts.length === 2 && parts[1]!.step.length < first.step.length) return null;
  if (!goesOn(parts)) return null;
  const period = first.step.at(-1)! - first.step.at(0)! + usualDistance(first.step);
  return { period, first: first.step.at(0)!, epochs: parts.length };
}

/** The steps of a series, counted on from epoch to epoch where they begin again. @param offsets where each epoch begins in it */
export function countedOn(step: Column, offsets: readonly number[], { period }: BatchAxis): Column {
  const begin = offsets.filter((at) => at > 0 && at < step.length);
  if (!begin.some((at) => step.at(at)! <= step.at(at - 1)!)) return step;
  const counted = copyOf(step);
  for (const [epoch, from] of offsets.entries())
    for (let k = from; k < (offsets[epoch + 1] ?? counted.length); k++) counted[k]! += epoch * period;
  return counted;
}
