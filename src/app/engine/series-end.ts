/** Whether a series stops while the others of its run go on: a log that lost a column must not pass a gate. */
import { blocksOf, type Column } from '../../model/column.ts';
import type { Run, TimeSeries } from '../../model/run.ts';

/** How many of its own largest gaps a series may lag behind another. */
const GAPS = 1.5;
/** A lag of this share of the run is one even where steps do not show it, since series count in different units. */
const TIME_SHARE = 0.1;

/** Where a sequence of times, steps or places ends, and its largest gap; the stretch before its start is one. */
interface End {
  readonly first: number;
  readonly last: number;
  readonly gap: number;
}

interface Ends {
  readonly series: TimeSeries;
  readonly step: End;
  readonly time: End | undefined;
  readonly place: (End & { readonly file: number }) | undefined;
}

function endOf(values: Column, start: number): End {
  let before = start;
  let gap = Number.NEGATIVE_INFINITY;
  for (const block of blocksOf(values))
    for (let i = 0; i < block.length; i++) {
      gap = Math.max(gap, block[i]! - before);
      before = block[i]!;
    }
  return { first: values.at(0)!, last: before, gap };
}

/** {@link endOf}, which looks once at a column that series share one after the other. */
function endsByColumn(): typeof endOf {
  let known: { readonly values: Column; readonly start: number; readonly end: End } | undefined;
  return (values, start) => {
    if (known?.values !== values || known.start !== start)
      known = { values, start, end: endOf(values, start) };
    return known.end;
  };
}

function endsOfSeries(): (series: TimeSeries) => Ends {
  const [stepEnd, timeEnd, placeEnd] = [endsByColumn(), endsByColumn(), endsByColumn()];
  return (series) => {
    const places = series.line ?? series.byteOffset;
    // The file that the last point came from; places in different files cannot be compared.
    let file = 0;
    series.pathOffsets.forEach((offset, k) => {
      if (offset < series.step.length) file = k;
    });
    const place = places?.subarray(series.pathOffsets[file] ?? 0);
    return {
      series,
      step: stepEnd(series.step, Math.min(0, series.step.at(0)!)),
      time: series.wallTime && timeEnd(series.wallTime, series.wallTime.at(0)!),
      place: place !== undefined && place.length > 0 ? { ...placeEnd(place, 0), file } : undefined,
    };
  };
}

const lags = (own: End, other: End): boolean => !(other.last - own.last <= GAPS * own.gap);

/** Whether a series stops against no end that it does not stop against other ends, too: `a` is at least as far in everything. */
function covers(a: Ends, b: Ends): boolean {
  if (!(a.step.last >= b.step.last)) return false;
  if (a.time === undefined || b.time === undefined) {
    if (a.time !== b.time) return false;
  } else if (!(a.time.last >= b.time.last && a.time.first >= b.time.first)) return false;
  if (a.place === undefined || b.place === undefined) return a.place === b.place;
  return a.place.file === b.place.file ? a.place.last >= b.place.last : a.place.file > b.place.file;
}

/** Ends that cover all the others: a few, where a run may have 50,000 series. */
function furthest(all: readonly Ends[]): Ends[] {
  let front: Ends[] = [];
  // From the last on: what is written at the end of a step lies the furthest.
  for (const one of all.toReversed()) {
    if (front.some((other) => covers(other, one))) continue;
    front = front.filter((other) => !covers(one, other));
    front.push(one);
  }
  return front;
}

/** Whether the gaps are known: if one is not, each other end is looked at. */
const isMeasured = ({ step, time, place }: Ends): boolean =>
  ![step.gap, time?.gap ?? 0, place?.gap ?? 0].some(Number.isNaN);

/**
 * The series of a run whose last point lies more than one and a half of their own largest gaps before the last point
 * of another; with them those without any point, where another has some.
 *
 * Where both have a wall time, it must say so, and the step too unless the lag in time is long; short logs are written in
 * bursts. Without wall time, both the step and the place in the file must say so: series of one file may count in different
 * units (epochs and steps), and a summary may follow far behind the training.
 */
export function seriesThatEnd(run: Pick<Run, 'series'>): ReadonlySet<TimeSeries> {
  const all = run.series.filter(({ step }) => step.length > 0).map(endsOfSeries());
  const ended = new Set<TimeSeries>();
  if (all.length > 0) for (const series of run.series) if (series.step.length === 0) ended.add(series);
  const front = furthest(all);
  for (const own of all) {
    const stops = (isMeasured(own) ? front : all).some((other) => {
      if (other === own) return false;
      if (own.time !== undefined && other.time !== undefined) {
        const start = Math.min(own.time.first, other.time.first);
        const late = other.time.last - own.time.last > TIME_SHARE * (other.time.last - start);
        const time = { ...own.time, gap: Math.max(own.time.gap, own.time.first - start) };
        return lags(time, other.time) && (late || lags(own.step, other.step));
      }
      if (!lags(own.step, other.step)) return false;
      if (own.place === undefined || other.place === undefined) return true;
      return own.place.file === other.place.file
        ? lags(own.place, other.place)
        : own.place.file < other.place.file;
    });
    if (stops) ended.add(own.series);
  }
  return ended;
}
