/** What a channel is to say of an alert: when it begins, and once more when it is over. */
import type { Brief } from '../../model/brief.ts';
import { inertName } from '../../model/inert-text.ts';
import type { Report } from '../../model/report.ts';
import { briefOf, briefText } from '../../report/kilobyte-brief.ts';
import type { Alert } from '../engine/watch-alerts.ts';

export interface Message {
  readonly event: 'begin' | 'end';
  readonly alert: Alert;
  /** What is watched, without secrets. */
  readonly path: string;
  /** The answer on the run; null where there is no report on it. */
  readonly brief: Brief | null;
}

/** The answer on one run of a report. */
function briefOfRun(report: Report | undefined, id: string): Brief | null {
  const run = report?.runs.find((one) => one.id === id);
  if (report === undefined || run === undefined) return null;
  const { gate: _, table: __, comparison: ___, ...rest } = report;
  return briefOf({ ...rest, runs: [run], verdict: { ...run.verdict, run: run.id } });
}

export const messageOf = (
  event: Message['event'],
  alert: Alert,
  path: string,
  report: Report | undefined,
): Message => ({ event, alert, path, brief: briefOfRun(report, alert.run) });

/** One line: `runs/a: loss diverged at step 400`; of the end `over: runs/a: …`. Without control characters. */
export const headlineOf = ({ event, alert }: Message): string =>
  `${event === 'end' ? 'over: ' : ''}${inertName(alert.run)}: ${inertName(alert.message)}`;

/** The answer in at most a kilobyte; the headline where there is none. */
export const bodyOf = (message: Message): string =>
  message.brief === null ? headlineOf(message) : briefText(message.brief);
