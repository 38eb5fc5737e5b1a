/** The page of a report on standard output: brief or whole, of one run or of all, in the order that was asked for. */

import * as Flags from '@oclif/core/flags';
import { type Report, VERDICT_CLASSES } from '../../model/report.ts';
import { FIRST_COLUMNS } from '../../model/runs-table.ts';
import { PAGE_ROWS, renderBrief } from '../../report/brief.ts';
import { quietLine } from '../../report/quiet.ts';
import { renderTerminal } from '../../report/terminal.ts';
import { briefFlag } from './brief-output.ts';
import type { CommandIo } from './command.ts';
import type { Io } from './io.ts';
import { knowing } from './known-values.ts';
import { terminalOptions } from './terminal-options.ts';

const helpGroup = 'PAGE';

export const pageFlags = {
  verbose: Flags.boolean({
    description: 'show everything: all findings, charts and replays, what was not run',
    helpGroup,
  }),
  quiet: Flags.boolean({
    description: 'print the verdict alone, in one line',
    exclusive: ['verbose', 'brief'],
    helpGroup,
  }),
  brief: briefFlag,
  ascii: Flags.boolean({ description: 'draw charts with ASCII characters only', helpGroup }),
  run: Flags.string({
    description: 'of several runs show this one alone',
    helpValue: 'NAME',
    helpGroup,
  }),
  sort: knowing(
    Flags.string({
      description: 'order the table of runs by a column; - in front turns it round (may be repeated)',
      helpValue: 'KEY',
      multiple: true,
      multipleNonGreedy: true,
      helpGroup,
    }),
    () => [...FIRST_COLUMNS, ...FIRST_COLUMNS.map((key) => `-${key}`)],
  ),
  where: knowing(
    Flags.string({
      description: 'show only runs whose column fits: =, !=, <, <=, > or >= (may be repeated)',
      helpValue: 'KEY=VALUE',
      multiple: true,
      multipleNonGreedy: true,
      helpGroup,
    }),
    () => [...VERDICT_CLASSES.map((name) => `class=${name}`), ...FIRST_COLUMNS.map((key) => `${key}=`)],
  ),
  'group-by': Flags.string({
    description: 'put runs with the same value together, e.g. of a hyperparameter (may be repeated)',
    helpValue: 'KEY',
    multiple: true,
    multipleNonGreedy: true,
    helpGroup,
  }),
};

interface PageFlags {
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly ascii: boolean;
}

/** What a command prints of a report. */
export function page(report: Report, flags: PageFlags, { stdout, env }: Pick<Io, 'stdout' | 'env'>): string {
  const options = terminalOptions(stdout, env, flags.ascii);
  if (flags.quiet) return `${quietLine(report)}\n`;
  if (flags.verbose) return renderTerminal(report, options);
  return renderBrief(report, { ...options, rows: rowsOf(stdout) });
}

/** Rows that a page may have: those of the terminal, but for the one with the prompt. */
export const rowsOf = ({ isTTY, rows }: Io['stdout']): number =>
  isTTY === true && rows !== undefined && rows > 0 ? rows - 1 : PAGE_ROWS;

/**
 * A page that is shown at once on a terminal and replaced when more is known; elsewhere it is printed once, when it is
 * finished.
 */
export function fillingScreen(
  flags: PageFlags,
  io: CommandIo,
): { first(report: Report): Promise<void>; last(text: string): Promise<void> } {
  const { stdout, env } = io;
  let lines = 0;
  return {
    async first(report) {
      if (stdout.isTTY !== true || env.TERM === 'dumb') return;
      const rows = rowsOf(stdout);
      const options = terminalOptions(stdout, env, flags.ascii);
      const text = renderBrief(report, { ...options, rows, pending: 'checkpoints, replay, curvature' });
      const count = text.split('\n').length - 1;
      // What scrolled out of the screen cannot be replaced.
      if (count >= (stdout.rows ?? PAGE_ROWS)) return;
      lines = count;
      await io.print(text);
    },
    async last(text) {
      if (lines > 0) await io.write(`\u001b[${lines}A\u001b[J`);
      await io.print(text);
    },
  };
}
