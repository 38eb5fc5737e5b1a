/** From the paths of two runs to their comparison. */
import { compareSides } from '../../experiment/compare/compare.ts';
import { type Side, sideOf } from '../../experiment/compare/side.ts';
import type { RunComparison } from '../../model/comparison.ts';
import { diagError, type ErrorRecord } from '../../model/errors.ts';
import type { Run } from '../../model/run.ts';
import { openCapture } from '../../read/captures/read.ts';
import { openLedger } from '../../read/ledger/read.ts';
import { type CollectOptions, type Inputs, withInputs } from './collect.ts';
import type { RunEvidence } from './evidence.ts';

export interface ComparePaths {
  readonly a: readonly string[];
  readonly b: readonly string[];
  /** Repeats of the first run. */
  readonly floor?: readonly string[];
  readonly until?: number;
  /** With what a page draws. */
  readonly picture?: boolean;
  /** Given what is damaged of the inputs of a side, and how many records were lost. */
  readonly onDamage?: (records: readonly ErrorRecord[], lost: number) => void;
}

/** @throws usage where a path holds several runs; what opening its files throws */
export async function comparePaths(
  { a, b, floor = [], until, picture = false, onDamage = () => {} }: ComparePaths,
  options: CollectOptions,
): Promise<RunComparison> {
  const all = [...a, ...b, ...floor];
  return withSides(all, { ...options, onDamage }, [], (sides) =>
    compareSides(sides.slice(0, a.length), sides.slice(a.length, a.length + b.length), {
      repeats: sides.slice(a.length + b.length),
      picture,
      ...(until === undefined ? {} : { until }),
    }),
  );
}

/** Compares a run of which the evidence was gathered with the one under a path. @throws as {@link comparePaths} */
export const compareWithPath = (
  path: string,
  other: RunEvidence,
  options: CollectOptions,
): Promise<RunComparison> =>
  withSides([path], { ...options, onDamage: () => {} }, [], (sides) =>
    compareSides(sides, [sideOfEvidence(other)]),
  );

/** Compares two runs of which the evidence was gathered: their logs, ledgers and captures. */
export const compareEvidence = (one: RunEvidence, other: RunEvidence): Promise<RunComparison> =>
  compareSides([sideOfEvidence(one)], [sideOfEvidence(other)], { picture: true });

const sideOfEvidence = ({ run, captures, ledger }: RunEvidence): Side =>
  sideOf({ name: run.paths[0] ?? run.id, run, captures, ...(ledger === undefined ? {} : { ledger }) });

/** Opens one path after another; all are open while `use` works. */
async function withSides<T>(
  [path, ...rest]: readonly string[],
  options: CollectOptions & Required<Pick<ComparePaths, 'onDamage'>>,
  opened: readonly Side[],
  use: (sides: readonly Side[]) => Promise<T>,
): Promise<T> {
  if (path === undefined) return use(opened);
  return withInputs([path], options, async (found) => {
    options.onDamage(
      [...found.errors.map((error) => error.toRecord()), ...found.logs.flatMap(({ errors }) => errors)],
      found.logs.reduce((sum, { lost }) => sum + lost, 0),
    );
    return withSides(rest, options, [...opened, await openSide(path, found)], use);
  });
}

async function openSide(path: string, found: Inputs): Promise<Side> {
  const runs = found.logs.flatMap((log) => log.runs);
  const [unread] = found.errors;
  if (runs.length + found.captures.length + found.ledgers.length + found.checkpoints.length === 0)
    throw unread ?? diagError('folder-without-inputs', { path, files: 0 }, { path });
  const [ledgerPath] = ledgersOf(found, path);
  const ledger = ledgerPath === undefined ? undefined : await openLedger(ledgerPath);
  const captures = [];
  for (const folder of found.captures) captures.push(await openCapture(folder));
  const checkpoints = [];
  for (const file of found.checkpoints) checkpoints.push(await file.open());
  const run = chosenRun(runs, path);
  return sideOf({
    name: path,
    captures,
    checkpoints,
    ...(run === undefined ? {} : { run }),
    ...(ledger === undefined ? {} : { ledger }),
  });
}

function ledgersOf({ ledgers }: Inputs, path: string): readonly string[] {
  if (ledgers.length > 1) throw severalRuns(path, ledgers);
  return ledgers;
}

/** The one run with a loss; a folder of several has to be named more closely. */
function chosenRun(runs: readonly Run[], path: string): Run | undefined {
  const withLoss = runs.filter(({ series }) => series.some(({ role }) => role === 'loss'));
  if (withLoss.length > 1)
    throw severalRuns(
      path,
      withLoss.map(({ id }) => id),
    );
  return withLoss[0] ?? runs[0];
}

const severalRuns = (path: string, names: readonly string[]): Error =>
  diagError('usage', {
    problem: `${path} holds ${names.length} runs (${names.slice(0, 3).join(', ')}${names.length > 3 ? ', …' : ''}), and a side is one`,
    hint: 'name the log or folder of one run; several runs a side: compare --a A1,A2 --b B1,B2',
  });
