/** The page of a report on standard output: brief or whole, of one run or of all, in the order that was asked for. */
import * as Flags from '@oclif/core/flags';
import { assembleReport } from '../engine/report.ts';
import { diagError } from '../model/errors.ts';
import { nearest } from '../model/nearest.ts';
import type { Report } from '../model/report.ts';
import { runsTable, selectRows } from '../model/runs-table.ts';
import { PAGE_ROWS, renderBrief } from '../reports/brief.ts';
import { headline, renderTerminal } from '../reports/terminal.ts';
import type { CommandIo } from './command.ts';
import type { Io } from './io.ts';
import { terminalOptions } from './terminal-options.ts';

const helpGroup = 'PAGE';

export const pageFlags = {
  verbose: Flags.boolean({
    description: 'show everything: all findings, charts and replays, what was not run',
    helpGroup,
  }),
  quiet: Flags.boolean({
    description: 'print the verdict alone, in one line',
    exclusive: ['verbose'],
    helpGroup,
  }),
  ascii: Flags.boolean({ description: 'draw charts with ASCII characters only', helpGroup }),
  run: Flags.string({
    description: 'of several runs show this one alone',
    helpValue: 'NAME',
    helpGroup,
  }),
  sort: Flags.string({
    description: 'order the table of runs by a column; - in front turns it round (may be repeated)',
    helpValue: 'KEY',
    multiple: true,
    multipleNonGreedy: true,
    helpGroup,
  }),
  where: Flags.string({
    description: 'show only runs whose column fits: =, !=, <, <=, > or >= (may be repeated)',
    helpValue: 'KEY=VALUE',
    multiple: true,
    multipleNonGreedy: true,
    helpGroup,
  }),
};

export interface PageFlags {
  readonly verbose: boolean;
  readonly quiet: boolean;
  readonly ascii: boolean;
  readonly run?: string | undefined;
  readonly sort?: readonly string[] | undefined;
  readonly where?: readonly string[] | undefined;
}

/**
 * The report of what was asked for: one run, or a table in another order and with fewer rows.
 *
 * @throws usage for a run that is none, a column that is none, and a condition that cannot be read
 */
export function chosen(report: Report, { run, sort = [], where = [] }: Partial<PageFlags>): Report {
  const one = run === undefined ? report : ofRun(report, run);
  if (sort.length === 0 && where.length === 0) return one;
  return { ...one, table: selectRows(one.table ?? runsTable(one), where, sort) };
}

/** The report as if it had this run alone; its inputs and warnings stay. */
function ofRun(report: Report, name: string): Report {
  const { table: _, gate, ...rest } = report;
  const names = report.runs.map(({ id }) => id);
  const ends = names.filter((id) => id.endsWith(`/${name}`));
  const id = names.includes(name) ? name : ends.length === 1 ? ends[0] : undefined;
  if (id === undefined)
    throw diagError('usage', {
      problem: `--run: there is no run "${name}"`,
      hint: `did you mean ${nearest(name, names)}? The report has ${names.length} runs`,
    });
  const alone = assembleReport({ ...rest, runs: report.runs.filter((run) => run.id === id) });
  return gate === undefined ? alone : { ...alone, gate };
}

/** What a command prints of a report. */
export function page(report: Report, flags: PageFlags, { stdout, env }: Pick<Io, 'stdout' | 'env'>): string {
  const options = terminalOptions(stdout, env, flags.ascii);
  if (flags.quiet) return `${headline(report)}\n`;
  if (flags.verbose) return renderTerminal(report, options);
  return renderBrief(report, { ...options, rows: rowsOf(stdout) });
}

/** Rows that a page may have: those of the terminal, but for the one with the prompt. */
export const rowsOf = ({ isTTY, rows }: Io['stdout']): number =>
  isTTY === true && rows !== undefined && rows > 0 ? Math.max(PAGE_ROWS, rows - 1) : PAGE_ROWS;

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
      // What scrolled out of the screen cannot be replaced; a table changes with every run.
      if (stdout.isTTY !== true || env.TERM === 'dumb' || report.runs.length !== 1) return;
      const rows = rowsOf(stdout);
      const options = terminalOptions(stdout, env, flags.ascii);
      const text = renderBrief(report, { ...options, rows, pending: 'checkpoints, replay, curvature' });
      const count = text.split('\n').length - 1;
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
