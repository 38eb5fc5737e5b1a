/**
 * The folder of a W&B run: `wandb/run-20240102_030405-ID` with the run's `.wandb`, and in `files` (older versions:
 * next to it) the printed output, the last values and the configuration. It is one run, read from the fullest of
 * these.
 */
import { basename, dirname } from 'node:path';
import type { Column } from '../../model/column.ts';
import type { LogInput } from '../../model/log.ts';
import { isLossLike } from '../../model/run.ts';

const RUN_FOLDER = /^((offline-|dry)?run-\d{8}_\d{6}-.+|latest-run)$/;

/** The folder of the W&B run that a file is in; undefined where it is in none. */
export function wandbRun(path: string): string | undefined {
  const folder = dirname(path);
  const run = ['files', 'logs'].includes(basename(folder)) ? dirname(folder) : folder;
  return RUN_FOLDER.test(basename(run)) ? run : undefined;
}

/** The folder that holds the folders of runs. */
const RUNS_FOLDER = /^wandb$/;
const OWN_LOG = /^debug(-internal|-core|-cli(\..+)?)?\.log$/;
const OWN_FILE =
  /^(wandb-metadata\.json|wandb-events\.jsonl|requirements\.txt|conda-environment\.yaml|diff(_.+)?\.patch)$/;

/** Why a file of W&B is not a log of a run; undefined where it may be one. */
export function wandbOwnFile(path: string): string | undefined {
  const name = basename(path);
  const run = wandbRun(path);
  const isOwnLog = OWN_LOG.test(name) && (run !== undefined || RUNS_FOLDER.test(basename(dirname(path))));
  if (isOwnLog) return 'what W&B logs of itself';
  return run !== undefined && OWN_FILE.test(name)
    ? 'what W&B says about the machine and the code'
    : undefined;
}

/** What a file records of its run, fullest first. */
const TELLERS: readonly { readonly file: RegExp; readonly what: string }[] = [
  { file: /(\.wandb|^wandb-history\.jsonl)$/, what: 'the history' },
  { file: /^output\.log$/, what: 'what was printed' },
  { file: /^wandb-summary\.json$/, what: 'the last values' },
];
const rankOf = (path: string): number => TELLERS.findIndex(({ file }) => file.test(basename(path)));

const losses = ({ runs }: LogInput): readonly Column[] =>
  runs.flatMap(({ series }) => series.filter(({ role }) => isLossLike(role)).map(({ value }) => value));
const hasLoss = (log: LogInput): boolean => losses(log).some(({ length }) => length > 0);
const hasBroken = (log: LogInput): boolean => losses(log).some((value) => !value.every(Number.isFinite));
const hasMeasures = ({ runs }: Pick<LogInput, 'runs'>): boolean =>
  runs.some(({ series }) => series.some(({ role }) => role !== 'other'));

/** Whether a log is the last values of a W&B run: one point a series, used where there is nothing else. */
export const isLastValues = (log: Pick<LogInput, 'path' | 'runs'>): boolean =>
  wandbRun(log.path) !== undefined && rankOf(log.path) === TELLERS.length - 1 && hasMeasures(log);

/** Whether a file is the printed output of a W&B run whose history has a loss: it need not hold a record. */
export const isPrintedBeside = (path: string, logs: readonly LogInput[]): boolean =>
  rankOf(path) === 1 &&
  wandbRun(path) !== undefined &&
  logs.some((log) => rankOf(log.path) === 0 && wandbRun(log.path) === wandbRun(path) && hasLoss(log));

/**
 * Why a file of a W&B run is skipped: another file records more of the run. A file stays if it is damaged, or if it
 * shows a loss that is not finite and the other does not.
 */
export function toldByWandb(log: LogInput, others: readonly LogInput[]): string | undefined {
  const run = wandbRun(log.path);
  const rank = rankOf(log.path);
  if (run === undefined || rank < 0 || log.errors.length > 0) return undefined;
  for (const other of others) {
    const its = rankOf(other.path);
    if (other === log || its < 0 || its === rank || wandbRun(other.path) !== run) continue;
    if (hasBroken(log) && !hasBroken(other)) continue;
    // A history of nothing but the machine's clock is less full than a printed loss.
    const isFuller = its < rank ? hasLoss(other) || !hasLoss(log) : hasLoss(other) && !hasMeasures(log);
    if (isFuller) return `${TELLERS[rank]!.what} of a W&B run that ${other.path} holds more of`;
  }
  return undefined;
}
