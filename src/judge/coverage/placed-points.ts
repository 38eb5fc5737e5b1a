/** Points of series by the line of a file that they were read from. */
import type { TimeSeries } from '../../model/run.ts';

export interface PlacedPoints {
  /** Ascending. Points without a line are left out. */
  readonly line: Float64Array;
  readonly value: Float64Array;
  /** How many different lines there are. */
  readonly lines: number;
  /** The first point of that line; -1 where it has none. */
  indexOfLine(line: number): number;
  /** The first point at or after a line; the number of points where no point follows. */
  firstFrom(line: number): number;
  /** Whether a point of this value was read from the line. */
  isAt(line: number, value: number): boolean;
  /** Whether a point of this value is within a table's height of the line. */
  hasNear(line: number, value: number): boolean;
}

const NEAR_LINES = 200;

/** @param file index of the file among those of the run */
export function placeOfPoints(series: readonly TimeSeries[], file: number): PlacedPoints {
  const places: number[] = [];
  const values: number[] = [];
  for (const one of series) {
    if (one.line === undefined) continue;
    const to = one.pathOffsets[file + 1] ?? one.value.length;
    for (let k = one.pathOffsets[file] ?? 0; k < to; k++) {
      places.push(one.line.at(k)!);
      values.push(one.value.at(k)!);
    }
  }
  const sorted = places.every((place, k) => k === 0 || places[k - 1]! <= place);
  const order = Uint32Array.from(places.keys());
  if (!sorted) order.sort((a, b) => places[a]! - places[b]! || a - b);
  const line = Float64Array.from(order, (k) => places[k]!);
  const value = Float64Array.from(order, (k) => values[k]!);
  let lines = 0;
  for (let k = 0; k < line.length; k++) if (k === 0 || line[k] !== line[k - 1]) lines++;
  const firstFrom = (at: number): number => {
    let [low, high] = [0, line.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (line[middle]! < at) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return {
    line,
    value,
    lines,
    firstFrom,
    indexOfLine(at) {
      const found = firstFrom(at);
      return line[found] === at ? found : -1;
    },
    isAt(at, wanted) {
      for (let k = firstFrom(at); line[k] === at; k++) if (value[k] === wanted) return true;
      return false;
    },
    hasNear(at, wanted) {
      for (let k = firstFrom(at - NEAR_LINES); k < line.length && line[k]! <= at + NEAR_LINES; k++)
        if (line[k] === at || value[k] === wanted) return true;
      return false;
    },
  };
}
