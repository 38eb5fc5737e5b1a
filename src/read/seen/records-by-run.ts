/** Which run of a file each record of the second reader belongs to. */
import { arrayOf } from '../../model/column.ts';
import type { LossRecords } from '../../model/loss-records.ts';
import type { Run } from '../../model/run.ts';

/**
 * Where a file holds several runs, a record is of the run of the last point at or before its line; those before the first
 * point are of the run of that point.
 *
 * @returns one entry a run, in their order
 */
export function recordsByRun(records: LossRecords, runs: readonly Run[]): LossRecords[] {
  if (runs.length === 1) return [records];
  const owners = new Map<number, number>();
  runs.forEach(({ series, paths }, k) => {
    const file = paths.indexOf(records.path);
    for (const { line, pathOffsets } of series) {
      if (line === undefined || file < 0) continue;
      const to = pathOffsets[file + 1] ?? line.length;
      for (let at = pathOffsets[file] ?? 0; at < to; at++) owners.set(line.at(at)!, k);
    }
  });
  const lines = [...owners.keys()].sort((a, b) => a - b);
  const parts: number[][] = runs.map(() => []);
  let next = 0;
  let owner = owners.get(lines[0] ?? -1) ?? 0;
  const [line, value, tag] = [arrayOf(records.line), arrayOf(records.value), arrayOf(records.tag)];
  const time = records.time === undefined ? undefined : arrayOf(records.time);
  for (let k = 0; k < line.length; k++) {
    while (next < lines.length && lines[next]! <= line[k]!) owner = owners.get(lines[next++]!)!;
    parts[owner]!.push(k);
  }
  return parts.map((own) => ({
    path: records.path,
    line: Float64Array.from(own, (k) => line[k]!),
    value: Float64Array.from(own, (k) => value[k]!),
    tag: Float64Array.from(own, (k) => tag[k]!),
    ...(time === undefined ? {} : { time: Float64Array.from(own, (k) => time[k]!) }),
  }));
}
