/** What a watcher shows: one screen that is drawn anew on a terminal, a line for each look elsewhere. */
import { formatCount, formatNumber } from '../model/format-number.ts';
import { inertName, inertOutput } from '../model/inert-text.ts';
import type { Report } from '../model/report.ts';
import type { RenderOptions } from '../reports/format.ts';
import { renderTerminal } from '../reports/terminal.ts';

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

/** The whole report on a screen that is cleared first, cut to its rows. */
export function watchScreen(
  report: Report,
  alerts: readonly string[],
  rows: number,
  options: RenderOptions,
): string {
  const lines = renderTerminal(report, options).trimEnd().split('\n');
  const shown = [...alerts.slice(-3), ...lines].slice(0, Math.max(5, rows - 1));
  return `\u001b[H\u001b[J${inertOutput(shown.join('\n'))}\n`;
}
