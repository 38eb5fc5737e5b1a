/** What a watcher shows: one screen that is drawn anew on a terminal, a line for each look elsewhere. */
import { formatCount, formatNumber } from '../model/format-number.ts';
import { inertName, inertOutput } from '../model/inert-text.ts';
import type { Report } from '../model/report.ts';
import { renderBrief } from '../reports/brief.ts';
import type { RenderOptions } from '../reports/format.ts';
import { countsLine } from '../reports/runs-page.ts';

/** One line: where the run is, its loss, and what is thought of it so far. */
export function watchLine(report: Report): string {
  return report.runs
    .map((run) => {
      const loss = run.series.find(({ role, points }) => role === 'loss' && points > 0);
      const step = loss?.statistics.lastStep ?? run.attemptList[run.attemptList.length - 1]?.lastStep ?? 0;
      const value =
        loss === undefined ? '' : `  ${inertName(loss.name)} ${formatNumber(loss.statistics.last)}`;
      const name = report.runs.length > 1 ? `${inertName(run.id)}  ` : '';
      return `${name}${run.stepUnit} ${formatCount(step)}${value}  ${run.verdict.class}`;
    })
    .join('\n');
}

/** The page of a report on a screen that is cleared first, below the newest alerts, within its rows. */
export function watchScreen(
  report: Report,
  alerts: readonly string[],
  rows: number,
  options: RenderOptions,
): string {
  const told = alerts.slice(-3);
  const room = Math.max(5, rows - 1);
  // Of several runs the worst is shown, with its chart, below how many went how.
  const several = report.runs.length > 1;
  const worst = report.runs.find(({ id }) => id === report.verdict.run) ?? report.runs[0];
  const head = several ? [countsLine(report, options), ''] : [];
  const shown = several && worst !== undefined ? { ...report, runs: [worst] } : report;
  const page = renderBrief(shown, { ...options, rows: room - told.length - head.length })
    .trimEnd()
    .split('\n');
  return `\u001b[H\u001b[J${inertOutput([...told, ...head, ...page].slice(0, room).join('\n'))}\n`;
}
