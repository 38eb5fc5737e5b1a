/** What a server of metrics knows, as lines of text that the readers of logs know. */

/** Points of one series in the order of logging. */
export type Points = readonly (readonly [step: number, value: number | string])[];

/**
 * Joins series to JSON lines, a line a step. A step that a series has twice begins a second line: a run that was resumed logs steps
 * again.
 *
 * @param series values that are no numbers are text such as "NaN"
 */
export function jsonLines(series: ReadonlyMap<string, Points>): string {
  const rows: Record<string, number | string>[] = [];
  const open = new Map<number, Record<string, number | string>>();
  for (const [name, points] of series)
    for (const [step, value] of points) {
      let row = open.get(step);
      if (row === undefined || Object.hasOwn(row, name)) {
        row = { step };
        rows.push(row);
        open.set(step, row);
      }
      row[name] = value;
    }
  rows.sort((a, b) => Number(a.step) - Number(b.step));
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}
