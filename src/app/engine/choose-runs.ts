/** Of a report of many runs those that are asked for. */
import { diagError } from '../../model/errors.ts';
import { listed } from '../../model/listed.ts';
import { didYouMean } from '../../model/nearest.ts';
import type { Report } from '../../model/report.ts';
import { selectRows } from '../../model/runs-table.ts';
import { assembleReport } from './report.ts';

/** As the flags `--run`, `--sort`, `--where` and `--group-by` give it. */
interface Choice {
  readonly run?: string | undefined;
  readonly sort?: readonly string[] | undefined;
  readonly where?: readonly string[] | undefined;
  readonly 'group-by'?: readonly string[] | undefined;
}

/**
 * The report that was requested: one run, or a table in another order and with fewer rows.
 *
 * @throws usage for an unknown run or column, and a condition that cannot be read
 */
export function chosen(
  report: Report,
  { run, sort = [], where = [], 'group-by': groupBy = [] }: Choice,
): Report {
  const one = run === undefined ? report : ofRun(report, run);
  if (sort.length + where.length + groupBy.length === 0) return one;
  return { ...one, table: selectRows(one, { where, sort, groupBy }) };
}

/** Runs that are named where one was asked for that there is not. */
const NAMED = 8;

/** The report as if it had this run alone; its inputs and warnings stay. */
function ofRun(report: Report, name: string): Report {
  const { table: _, gate, ...rest } = report;
  const names = report.runs.map(({ id }) => id);
  const ends = names.filter((id) => id.endsWith(`/${name}`));
  const id = names.includes(name) ? name : ends.length === 1 ? ends[0] : undefined;
  if (id === undefined)
    throw diagError('usage', {
      problem: `--run: there is no run "${name}"`,
      hint: `${didYouMean(name, names)}the report has ${listed(names.slice(0, NAMED))}${names.length > NAMED ? ` and ${names.length - NAMED} more` : ''}`,
    });
  const alone = assembleReport({ ...rest, runs: report.runs.filter((run) => run.id === id) });
  return gate === undefined ? alone : { ...alone, gate };
}
