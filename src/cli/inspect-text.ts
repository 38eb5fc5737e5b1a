/** How `inspect` looks on a terminal: a heading for each input, a table for each run. */
import type { InspectedInput, InspectedLog, InspectedSeries, Inspection } from '../engine/inspect.ts';
import { inertName } from '../model/inert-text.ts';

const count = (value: number): string => value.toLocaleString('en-US');

/** Six significant digits, exponent only where it is shorter. */
const short = (value: number | null): string =>
  value === null ? '-' : Number.isFinite(value) ? String(Number(value.toPrecision(6))) : String(value);

/** Columns under their headings, names to the left, numbers to the right. */
function table(heads: readonly string[], rows: readonly (readonly string[])[], left: number): string[] {
  const widths = heads.map((head, k) =>
    rows.reduce((width, row) => Math.max(width, row[k]!.length), head.length),
  );
  return [heads, ...rows].map((row) =>
    row
      .map((cell, k) => (k < left ? cell.padEnd(widths[k]!) : cell.padStart(widths[k]!)))
      .join('  ')
      .trimEnd(),
  );
}

const nonFinite = (series: InspectedSeries): string =>
  [
    ...(series.nan > 0 ? [`${count(series.nan)} NaN`] : []),
    ...(series.posInf > 0 ? [`${count(series.posInf)} +Inf`] : []),
    ...(series.negInf > 0 ? [`${count(series.negInf)} -Inf`] : []),
  ].join(', ') || '-';

function logText(log: InspectedLog): string[] {
  const lines = [
    `${inertName(log.path)}: ${log.format}, ${count(log.kept)} records` +
      (log.lost > 0 ? `, ${count(log.lost)} lost` : '') +
      (log.unreadBytes > 0 ? `, the last ${count(log.unreadBytes)} bytes are no whole record (unread)` : ''),
  ];
  for (const run of log.runs) {
    lines.push(
      `  run ${inertName(run.id)}: ${count(run.series.length)} series by ${run.stepUnit}` +
        (run.attempts > 1 ? `, ${run.attempts} attempts` : '') +
        (run.paths.length > 1 ? `, ${run.paths.length} files` : '') +
        (run.hyperparameters.size > 0 ? `, ${run.hyperparameters.size} hyperparameters` : ''),
    );
    for (const note of run.notes) lines.push(`    note: ${inertName(note)}`);
    const rows = run.series.map((one) => [
      inertName(one.name),
      one.task === undefined ? one.role : `${one.role} (${inertName(one.task)})`,
      count(one.points),
      `${short(one.firstStep)}..${short(one.lastStep)}`,
      short(one.first),
      short(one.last),
      short(one.min),
      short(one.max),
      nonFinite(one),
    ]);
    const heads = ['series', 'role', 'points', run.stepUnit, 'first', 'last', 'min', 'max', 'non-finite'];
    if (rows.length > 0) lines.push(...table(heads, rows, 2).map((line) => `    ${line}`));
  }
  return lines;
}

/** How each kind of input is shown. */
const TEXT_OF = { log: logText } as const satisfies {
  [K in InspectedInput['kind']]: (input: Extract<InspectedInput, { kind: K }>) => string[];
};

/** The whole text; empty where nothing could be read. */
export function inspectText(inspection: Inspection): string {
  const lines = inspection.inputs.flatMap((input) => [...TEXT_OF[input.kind](input), '']);
  if (inspection.skipped.length > 0) {
    lines.push(`skipped ${count(inspection.skipped.length)} files:`);
    for (const { path, reason } of inspection.skipped.slice(0, 20))
      lines.push(`  ${inertName(path)}: ${reason}`);
    if (inspection.skipped.length > 20) lines.push(`  and ${count(inspection.skipped.length - 20)} more`);
  }
  return lines.join('\n').trimEnd();
}
