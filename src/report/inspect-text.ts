/** How `inspect` looks on a terminal: a heading for each input, a table for each run. */
import { counted, formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { InspectedCapture, InspectedInput, InspectedLog, Inspection } from '../model/inspection.ts';
import { accountLines, lostTexts } from './account-text.ts';
import { checkpointText, trajectoryText } from './checkpoint-text.ts';
import type { RenderOptions } from './format.ts';
import { nonFiniteText, numberText } from './measured-text.ts';
import { textTable } from './text-table.ts';

/** Cells of a series that gave no point: columns of the table where there are any. */
const CELLS = ['missing', 'refused'] as const;

function logText(log: InspectedLog, all: boolean): string[] {
  const lines = [
    `${inertName(log.path)}: ${log.format}, ${counted(log.kept, 'record')}` +
      (log.lost > 0 ? `, ${formatCount(log.lost)} lost` : '') +
      (log.unreadBytes > 0
        ? `, the last ${counted(log.unreadBytes, 'byte is', 'bytes are')} no whole record (unread)`
        : ''),
    // What was lost lies at a place in one of its files.
    ...(log.files === undefined
      ? accountLines(log.account, all)
      : [
          ...accountLines(log.account, all).slice(0, 1),
          ...log.files.flatMap(({ path, account }) =>
            lostTexts(account).map((text) => `  ${inertName(path)}: ${text}`),
          ),
        ]
    ).map((line) => `  ${line}`),
  ];
  for (const run of log.runs) {
    lines.push(
      `  run ${inertName(run.id)}: ${formatCount(run.series.length)} series by ${run.stepUnit}` +
        (run.attempts > 1 ? `, ${run.attempts} attempts` : '') +
        (run.paths.length > 1 ? `, ${run.paths.length} files` : '') +
        (run.hyperparameters.size > 0 ? `, ${run.hyperparameters.size} hyperparameters` : ''),
    );
    for (const note of run.notes) lines.push(`    note: ${inertName(note)}`);
    const shown = CELLS.filter((cell) => run.series.some((one) => one[cell] > 0));
    const rows = run.series.map((one) => [
      inertName(one.name),
      one.task === undefined ? one.role : `${one.role} (${inertName(one.task)})`,
      formatCount(one.points),
      `${numberText(one.firstStep)}..${numberText(one.lastStep)}`,
      numberText(one.first),
      numberText(one.last),
      numberText(one.min),
      numberText(one.max),
      nonFiniteText(one),
      ...shown.map((cell) => formatCount(one[cell])),
    ]);
    const head = [
      ...['series', 'role', 'points', run.stepUnit, 'first', 'last', 'min', 'max', 'non-finite'],
      ...shown,
    ];
    if (rows.length > 0) lines.push(...textTable({ head, rows, left: 2 }).map((line) => `    ${line}`));
  }
  return lines;
}

const captureText = (
  { path, kept, lost, firstStep, lastStep, account }: InspectedCapture,
  all: boolean,
): string[] => [
  `${inertName(path)}: capture, ${counted(kept, 'step')}, ${formatCount(firstStep)} to ${formatCount(lastStep)}` +
    (lost > 0 ? `, ${formatCount(lost)} lost` : '') +
    '; `--check` says what it allows',
  ...accountLines(account, all).map((line) => `  ${line}`),
];

/** How each kind of input is shown. */
const TEXT_OF = { log: logText, checkpoint: checkpointText, capture: captureText } as const satisfies {
  [K in InspectedInput['kind']]: (input: Extract<InspectedInput, { kind: K }>, all: boolean) => string[];
};

/** The text of one input. */
const inputText = (input: InspectedInput, all: boolean): string[] =>
  (TEXT_OF[input.kind] as (input: InspectedInput, all: boolean) => string[])(input, all);

/** The whole text; empty where nothing could be read. With `verbose` it says too what each byte was. */
export function inspectText(
  inspection: Inspection,
  options: RenderOptions & { readonly verbose: boolean },
): string {
  const { verbose } = options;
  const lines = inspection.inputs.flatMap((input) => [...inputText(input, verbose), '']);
  for (const { path, account, problem } of inspection.hyperparameterFiles)
    lines.push(
      `${inertName(path)}: hyperparameters${problem === null ? '' : `; it ${inertName(problem)}`}`,
      ...accountLines(account, verbose).map((line) => `  ${line}`),
      '',
    );
  lines.push(
    ...inspection.trajectories.flatMap((trajectory) => [...trajectoryText(trajectory, options), '']),
  );
  if (inspection.skipped.length > 0) {
    lines.push(`skipped ${counted(inspection.skipped.length, 'file')}:`);
    for (const { path, reason } of inspection.skipped.slice(0, 20))
      lines.push(`  ${inertName(path)}: ${reason}`);
    if (inspection.skipped.length > 20)
      lines.push(`  and ${formatCount(inspection.skipped.length - 20)} more`);
  }
  return lines.join('\n').trimEnd();
}
