/** A comparison of two runs on one screen. */
import { Ansis } from 'ansis';
import type { Cell } from '../model/cell.ts';
import type { RunComparison, RunDifference } from '../model/comparison.ts';
import { counted, formatCount, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { RenderOptions } from './format.ts';
import { cutMiddle } from './short-names.ts';
import { textTable } from './text-table.ts';
import { wrap } from './wrap.ts';

/** Settings that are shown; `--json` has all. */
const SETTINGS_SHOWN = 12;
const VALUE_WIDTH = 36;

const MARKS = { same: '=', apart: '≠', 'cannot-tell': '?' } as const;

/** Lines of the screen; names are untrusted text. */
export function comparisonText(comparison: RunComparison, options: RenderOptions): string[] {
  const paint = new Ansis(options.colour ? 1 : 0);
  const { verdict, statement, settings, runs, differsAt, partsAt, forGoodFrom, floor, more } = comparison;
  const tone = { same: paint.green, apart: paint.red, 'cannot-tell': paint.yellow }[verdict];
  const title = `${options.ascii && verdict === 'apart' ? '!=' : MARKS[verdict]} ${verdict.toUpperCase()}`;
  const row = (label: string, value: string): string[] =>
    wrap(inertName(value), options.width, ' '.repeat(13)).map((line, k) =>
      k === 0 ? `  ${label.padEnd(11)}${line.trimStart()}` : line,
    );
  return [
    tone(paint.bold(title)),
    ...wrap(inertName(statement), options.width, '  '),
    '',
    ...row('first', runs.a.join(', ')),
    ...row('second', runs.b.join(', ')),
    ...row('compared', comparedWords(comparison)),
    ...(differsAt === null ? [] : row('differs', differenceWords(differsAt))),
    ...(partsAt === null ? [] : row('apart', differenceWords(partsAt))),
    ...(forGoodFrom === null ? [] : row('to the end', `from step ${formatCount(forGoodFrom)} on`)),
    ...row(
      'floor',
      floor.relative === null ? floor.kind : `${floor.kind}, ${floor.relative.toExponential(1)}`,
    ),
    '',
    ...settingLines(settings, options),
    ...more.flatMap((line) => wrap(`${options.ascii ? '>' : '→'} ${line}`, options.width, '  ', '  ')),
  ];
}

export const comparedWords = ({ compared: { steps, from, to, links }, paired }: RunComparison): string =>
  steps === 0
    ? 'nothing'
    : `${formatCount(steps)} steps (${formatCount(from)} to ${formatCount(to)}): ${links.join(', ')}; ${paired ? 'one start' : 'different starts'}`;

export const differenceWords = ({ step, link, tensor, size }: RunDifference): string =>
  `step ${formatCount(step)}, ${link}${tensor === null ? '' : ` of ${tensor}`}${size === null ? '' : `, ${size < 1e-3 ? size.toExponential(1) : formatNumber(size, 'brief')} of its size`}`;

function settingLines(settings: RunComparison['settings'], options: RenderOptions): string[] {
  if (settings.length === 0) return [];
  const value = (cell: Cell): string =>
    cell === null ? '-' : cutMiddle(inertName(String(cell)), VALUE_WIDTH);
  const rows = settings
    .slice(0, SETTINGS_SHOWN)
    .map(({ key, a, b }) => [cutMiddle(inertName(key), VALUE_WIDTH), value(a), value(b)]);
  const left = settings.length - rows.length;
  return [
    `  ${counted(settings.length, 'setting')} ${settings.length === 1 ? 'differs' : 'differ'}${left > 0 ? `; ${formatCount(left)} more in --json` : ''}`,
    ...textTable({ head: ['setting', 'first', 'second'], rows, width: options.width - 4 }).map(
      (line) => `    ${line}`,
    ),
    '',
  ];
}
