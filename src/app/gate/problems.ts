/** Damage and gaps that no rule can see, and that keep a gate from passing. */
import { decidingSeries } from '../../model/deciding-series.ts';
import { ERROR_TEXTS } from '../../model/errors.ts';
import { counted, formatCount } from '../../model/format-number.ts';
import type { GateProblem } from '../../model/gate.ts';
import { unaccounted } from '../../model/log.ts';
import type { Report, RunReport } from '../../model/report.ts';
import { verdictContradiction } from '../engine/verdict-contradiction.ts';
import { contradictionIn } from './contradictions.ts';
import { endsMessage, stopsEarly } from './ends-early.ts';
import { mayBeUnread } from './for-run.ts';
import { notAllJudged } from './not-all-judged.ts';
import type { GateConfig } from './resolve-config.ts';
import { isComplete, stepsDone } from './thresholds.ts';

/** Files that were not read, of which more are counted. */
const UNREAD_SHOWN = 20;

/** What a gate says of a log whose loss was found by its numbers alone, unless it accepts guesses. */
function guessIn(
  { path, readBy }: Report['inputs'][number],
  { acceptGuess }: Pick<GateConfig, 'acceptGuess'>,
): GateProblem[] {
  if (readBy?.how !== 'guess' || acceptGuess) return [];
  const message = `${path}: ${readBy.statement} (--accept-guess judges it)`;
  return [{ exitCode: 4, id: 'read-by-guess', run: null, message }];
}

/** Of the inputs as a whole. */
export function reportProblems(
  report: Report,
  config: Pick<GateConfig, 'path' | 'unread' | 'acceptGuess'> & {
    readonly expect: Pick<GateConfig['expect'], 'runs'>;
  },
): GateProblem[] {
  const problems: GateProblem[] = [];
  const add = (exitCode: 3 | 4, id: string, message: string): void => {
    problems.push({ exitCode, id, run: null, message });
  };
  for (const input of report.inputs) {
    for (const error of input.errors ?? []) add(3, error.id, `${input.path}: ${error.message}`);
    if ((input.lost ?? 0) > 0)
      add(
        3,
        'records-lost',
        input.kept === undefined
          ? `${input.path}: ${counted(input.lost!, 'step is', 'steps are')} lost`
          : `${input.path}: ${input.lost} of ${counted(input.lost! + input.kept, 'record')} lost`,
      );
    if ((input.unreadBytes ?? 0) > 0)
      add(
        4,
        'truncated',
        `${input.path}: its last ${counted(input.unreadBytes!, 'byte is', 'bytes are')} no whole record`,
      );
    if ((input.grownBytes ?? 0) > 0)
      add(
        4,
        'still-growing',
        `${input.path}: grew by ${counted(input.grownBytes!, 'byte')} while it was read`,
      );
    // A file has a hash exactly when it was read to its end; a folder of several files has none.
    const isFile = report.runs.some(({ paths }) => paths.includes(input.path));
    if (input.sha256 === null && input.kept !== undefined && isFile)
      add(4, 'not-read', `${input.path}: was not read to its end`);
    if (input.account !== undefined) {
      const open = unaccounted(input.account);
      if (open !== 0)
        add(4, 'account-open', `${input.path}: what became of ${open} of its bytes is not told`);
      // Those with an error of their own were told above.
      for (const { reason, bytes, at } of input.account.lost)
        if (reason !== 'torn-record' && (input.errors ?? []).length === 0 && (input.lost ?? 0) === 0)
          add(4, 'lost', `${input.path}: ${bytes} bytes from byte ${at} on are lost (${reason})`);
    } else if (input.kept !== undefined)
      add(4, 'account-missing', `${input.path}: the report has no \`account\` of it: analyze it again`);
    problems.push(...guessIn(input, config));
    if (input.kept === 0) add(4, 'no-records', `${input.path}: has no record`);
  }
  for (const warning of report.warnings) {
    const code = ERROR_TEXTS[warning.id]?.exitCode;
    add(code === 4 || code === undefined ? 4 : 3, warning.id, warning.message);
  }
  const unread = report.skipped.filter(
    ({ path, saysLog }) => saysLog !== undefined && !mayBeUnread(path, config),
  );
  for (const { path, reason, saysLog } of unread.slice(0, UNREAD_SHOWN))
    add(4, 'unread', `${path}: its ${saysLog} says that it is a log, and it was not read: ${reason}`);
  if (unread.length > UNREAD_SHOWN)
    add(4, 'unread', `${formatCount(unread.length - UNREAD_SHOWN)} more logs were not read`);
  if (report.runs.length === 0) add(4, 'no-runs', 'there is no run to judge');
  else if (report.runs.length < config.expect.runs)
    add(4, 'too-few-runs', `${counted(report.runs.length, 'run')}, expected at least ${config.expect.runs}`);
  return problems;
}

/**
 * Of one run.
 *
 * @param isSaved whether it is of a saved report, which anybody may have changed
 */
export function runProblems(report: RunReport, config: GateConfig, isSaved: boolean): GateProblem[] {
  const problems: GateProblem[] = [];
  const add = (id: string, message: string): void => {
    problems.push({ exitCode: 4, id, run: report.id, message });
  };
  if (report.series.every((series) => series.points === 0)) add('no-points', 'the run has no points');
  for (const series of report.series) {
    const contradiction = contradictionIn(series);
    if (contradiction !== null) add('report-contradicts-itself', contradiction);
  }
  const verdict = isSaved ? verdictContradiction(report) : null;
  if (verdict !== null) add('report-contradicts-itself', verdict);
  if (report.detectorsRun === undefined)
    add('detectors-unknown', 'the report does not say what was looked for: analyze the inputs again');
  problems.push(...notAllJudged(report));
  if (report.verdict.class === 'inconclusive') add('inconclusive', report.verdict.why);
  for (const { id, error } of report.failedDetectors)
    add('detector-crashed', `the detector ${id} failed: ${error.message}`);
  for (const entry of report.curvature)
    if (!entry.eigenvalues.every(({ converged }) => converged === true))
      add('not-converged', `the eigenvalue of ${entry.checkpoint} (${entry.block}) did not converge`);
  // A loss may end by design where the one that was judged goes on: `loss` for 100 steps, `train/loss` to the end.
  const decides = decidingSeries(report);
  const judgedToTheEnd = decides !== undefined && decides.points > 0 && !stopsEarly(report, decides);
  for (const series of report.series)
    if ((series === decides || (series.role === 'loss' && !judgedToTheEnd)) && stopsEarly(report, series))
      add('series-ends', endsMessage(series));
  const { steps } = config.expect;
  if (steps !== null) {
    const done = stepsOf(report);
    if (!isComplete(done, steps))
      add('too-few-steps', `${formatCount(done)} of ${counted(steps, 'step')} done`);
  }
  return problems;
}

/** The most steps that any series of the run shows as done; NaN without points. */
function stepsOf(report: RunReport): number {
  let most = Number.NaN;
  for (const { points, firstStep, lastStep } of report.series) {
    if (points === 0) continue;
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const step of firstStep) if (step < low) low = step;
    for (const step of lastStep) if (step > high) high = step;
    const done = stepsDone(low, high, points > 1 ? (high - low) / (points - 1) : 0);
    if (!(most >= done)) most = done;
  }
  return most;
}
