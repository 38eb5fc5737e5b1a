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
function guessIn({ path, readBy }: Input, { acceptGuess }: Pick<GateConfig, 'acceptGuess'>): GateProblem[] {
  if (readBy?.how !== 'guess' || acceptGuess) return [];
  const message = `${path}: ${readBy.statement} (--accept-guess judges it)`;
  return [{ exitCode: 4, id: 'read-by-guess', run: null, message }];
}

type Input = Report['inputs'][number];

/** What is damaged in an input (exit code 3) or not known of it (exit code 4). */
function inputProblems(input: Input, report: Report, config: Pick<GateConfig, 'acceptGuess'>): GateProblem[] {
  const of = (exitCode: 3 | 4, id: string, what: string): GateProblem => ({
    exitCode,
    id,
    run: null,
    message: `${input.path}: ${what}`,
  });
  const { lost = 0, unreadBytes = 0, grownBytes = 0, errors = [] } = input;
  const problems = errors.map(({ id, message }) => of(3, id, message));
  if (lost > 0) problems.push(of(3, 'records-lost', lostRecords(lost, input.kept)));
  if (unreadBytes > 0)
    problems.push(
      of(4, 'truncated', `its last ${counted(unreadBytes, 'byte is', 'bytes are')} no whole record`),
    );
  if (grownBytes > 0)
    problems.push(of(4, 'still-growing', `grew by ${counted(grownBytes, 'byte')} while it was read`));
  // A file has a hash exactly when it was read to its end; a folder of several files has none.
  const isFile = report.runs.some(({ paths }) => paths.includes(input.path));
  if (input.sha256 === null && input.kept !== undefined && isFile)
    problems.push(of(4, 'not-read', 'was not read to its end'));
  problems.push(...accountProblems(input, of), ...guessIn(input, config));
  if (input.kept === 0) problems.push(of(4, 'no-records', 'has no record'));
  return problems;
}

const lostRecords = (lost: number, kept: number | undefined): string =>
  kept === undefined
    ? `${counted(lost, 'step is', 'steps are')} lost`
    : `${lost} of ${counted(lost + kept, 'record')} lost`;

/** Bytes of an input that were neither read nor refused: the account does not add up, or is missing. */
function accountProblems(
  { account, errors = [], lost = 0, kept }: Input,
  of: (exitCode: 4, id: string, what: string) => GateProblem,
): GateProblem[] {
  if (account === undefined)
    return kept === undefined
      ? []
      : [of(4, 'account-missing', 'the report has no `account` of it: analyze it again')];
  const open = unaccounted(account);
  const problems =
    open === 0 ? [] : [of(4, 'account-open', `what became of ${open} of its bytes is not accounted for`)];
  // Where the input has an error of its own, that error says it.
  if (errors.length > 0 || lost > 0) return problems;
  for (const { reason, bytes, at } of account.lost)
    if (reason !== 'torn-record')
      problems.push(of(4, 'lost', `${bytes} bytes from byte ${at} on are lost (${reason})`));
  return problems;
}

/** Of the inputs as a whole. */
export function reportProblems(
  report: Report,
  config: Pick<GateConfig, 'path' | 'unread' | 'acceptGuess'> & {
    readonly expect: Pick<GateConfig['expect'], 'runs'>;
  },
): GateProblem[] {
  const problems = report.inputs.flatMap((input) => inputProblems(input, report, config));
  const add = (exitCode: 3 | 4, id: string, message: string): void => {
    problems.push({ exitCode, id, run: null, message });
  };
  for (const { id, message } of report.warnings) {
    const code = ERROR_TEXTS[id]?.exitCode;
    add(code === 4 || code === undefined ? 4 : 3, id, message);
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
