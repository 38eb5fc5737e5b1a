/** A bisection on one screen: the answer, the changes that make the difference, the trials. */
import { Ansis } from 'ansis';
import type { Bisect, BisectTrial } from '../model/bisect.ts';
import type { Cell } from '../model/cell.ts';
import { counted, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { RenderOptions } from './format.ts';
import { cutMiddle } from './short-names.ts';
import { textTable } from './text-table.ts';
import { wrap } from './wrap.ts';

/** Changes that are shown; `--json` has all. */
const SHOWN = 12;
const VALUE_WIDTH = 30;

const value = (cell: Cell): string => (cell === null ? '-' : cutMiddle(inertName(String(cell)), VALUE_WIDTH));

/** Lines of the screen; names are untrusted text. */
export function bisectText(found: Bisect, options: RenderOptions): string[] {
  const paint = new Ansis(options.colour ? 1 : 0);
  const { changes, trials, notes, statement } = found;
  const title = found.found ? paint.red.bold('FOUND') : paint.yellow.bold('NOT FOUND');
  const rows = changes
    .slice(0, SHOWN)
    .map(({ name, good, bad }) => [cutMiddle(inertName(name), 2 * VALUE_WIDTH), value(good), value(bad)]);
  const left = changes.length - rows.length;
  return [
    title,
    ...wrap(inertName(statement), options.width, '  '),
    '',
    ...(rows.length === 0
      ? []
      : [
          ...textTable({ head: ['change', 'good', 'bad'], rows, width: options.width - 2 }).map(
            (line) => `  ${line}`,
          ),
          ...(left > 0 ? [`  ${left} more in --json`] : []),
          '',
        ]),
    `  ${counted(trials.length, 'trial')}`,
    ...textTable({
      head: ['changes taken', 'outcome', 'loss at the end', 'seconds'],
      rows: trials.map(trialRow),
      left: 2,
      width: options.width - 2,
    }).map((line) => `  ${line}`),
    ...notes.flatMap((note) =>
      wrap(`${options.ascii ? '>' : '→'} ${inertName(note)}`, options.width, '  ', '  '),
    ),
  ];
}

export const trialRow = ({ changes, outcome, exitCode, loss, seconds }: BisectTrial): string[] => [
  cutMiddle(inertName(changes), 2 * VALUE_WIDTH),
  exitCode === 0 ? outcome : `${outcome} (exit code ${exitCode})`,
  loss === null ? '-' : formatNumber(loss, 'glance'),
  formatNumber(seconds, 'rough'),
];
