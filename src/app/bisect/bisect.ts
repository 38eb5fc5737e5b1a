/** Finds the smallest set of changes that turns a good run into a bad one, by short runs of a command of the user's. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Chosen, smallestSet } from '../../experiment/compare/smallest-set.ts';
import type { Bisect, BisectChange, BisectTrial } from '../../model/bisect.ts';
import type { RunComparison } from '../../model/comparison.ts';
import { DiagError, diagError } from '../../model/errors.ts';
import { counted } from '../../model/format-number.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { comparePaths } from '../engine/compare-inputs.ts';
import type { Dimension } from './dimension.ts';
import { runTrial, type TrialIo, type TrialRun } from './run-trial.ts';

export interface BisectOptions {
  readonly dimensions: readonly Dimension[];
  /** Words of the command, with placeholders in braces. */
  readonly command: readonly string[];
  /** Steps of a trial, compared up to there. */
  readonly steps: number;
  readonly maxRuns: number;
  /** Seconds after which a trial is ended. */
  readonly seconds: number;
  /** Absolute path of the folder of ours; trials that it holds are not run again. */
  readonly folder: string;
  /** The good run itself, where it has a log: the first trial must repeat it. */
  readonly good: string;
  readonly io: TrialIo;
  readonly onTrial?: (trial: BisectTrial, runs: number) => void;
  /** Whether the program was asked to end. */
  readonly isEnding: () => boolean;
}

/** A trial with where its log lies. */
interface Done extends TrialRun {
  readonly key: string;
  readonly folder: string;
  readonly log: string;
}

/** Thrown where no further trial may be run. */
class NoMoreRuns extends Error {}

const PLACEHOLDER = /\{([a-z][\w-]{0,63})\}/gi;

/** Every placeholder of the command once, so that no value is read as another placeholder. */
export const filled = (words: readonly string[], values: ReadonlyMap<string, string>): string[] =>
  words.map((word) => word.replace(PLACEHOLDER, (braced, name: string) => values.get(name) ?? braced));

/** @throws usage; launcher-failed; what writing the trials throws */
export async function bisect(options: BisectOptions): Promise<Bisect> {
  const { dimensions, command } = options;
  const differing = dimensions.reduce((sum, { changes }) => sum + changes.length, 0);
  for (const { placeholder, changes } of dimensions)
    if (!command.some((word) => word.includes(`{${placeholder}}`)))
      throw diagError('usage', {
        problem: `the command does not contain {${placeholder}}, so ${counted(changes.length, 'change')} would have no effect`,
        hint: `write {${placeholder}} where the command takes it`,
      });
  if (differing === 0)
    throw diagError('usage', {
      problem: 'the good and the bad side do not differ in anything that can be varied',
      hint: 'name what differs: --good and --bad, --commits, --data or --vary',
    });
  await openFolder(options);
  return new Search(options, differing).run();
}

/** A folder that another question has filled is not used again. @throws usage */
async function openFolder({ folder, dimensions, command, steps }: BisectOptions): Promise<void> {
  const question = createHash('sha256')
    .update(
      JSON.stringify([command, steps, dimensions.map(({ placeholder, changes }) => [placeholder, changes])]),
    )
    .digest('hex');
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'question');
  const before = await readFile(path, 'utf8').catch(() => null);
  if (before === question) return;
  if (before !== null || (await readdir(folder)).length > 0)
    throw diagError('usage', {
      problem: `${folder} holds ${before === null ? 'other files' : 'the trials of another question'}`,
      hint: 'name an empty or new folder with --folder',
    });
  await writeFileAtomic(path, question);
}

class Search {
  readonly #options: BisectOptions;
  readonly #differing: number;
  readonly #trials: BisectTrial[] = [];
  readonly #notes: string[] = [];
  readonly #outcomes = new Map<string, BisectTrial['outcome']>();
  #runs = 0;
  /** The trials with none and with all of the changes. */
  #good: Done | undefined;
  #bad: Done | undefined;
  /** The smallest set so far that is bad. */
  #smallest: Chosen;

  constructor(options: BisectOptions, differing: number) {
    this.#options = options;
    this.#differing = differing;
    this.#smallest = options.dimensions.map(({ changes }) => changes.map((_, k) => k));
  }

  async run(): Promise<Bisect> {
    const { dimensions } = this.#options;
    const none = dimensions.map(() => []);
    try {
      this.#good = await this.#trial(none);
      this.#bad = await this.#trial(this.#smallest);
      await this.#checkGood();
      const refusal = await this.#checkEnds(none);
      if (refusal !== null) return this.#answer(false, [], refusal);
      const sizes = dimensions.map(({ changes, ordered }) => ({ size: changes.length, ordered }));
      const { needed } = await smallestSet(sizes, (chosen) => this.#test(chosen));
      return this.#found(needed);
    } catch (error) {
      if (!(error instanceof NoMoreRuns)) throw error;
      const kept = this.#changesOf(this.#smallest);
      const why = `after ${counted(this.#runs, 'run')} (${this.#options.isEnding() ? 'interrupted' : '--max-runs'})`;
      return this.#answer(
        false,
        kept,
        `Not finished ${why}: so far ${counted(kept.length, 'change')} of ${this.#differing} are left that make the difference. The same command with the same --folder goes on.`,
      );
    }
  }

  #found(needed: Chosen): Bisect {
    const changes = this.#changesOf(needed);
    const names = changes.slice(0, 5).map(wordsOf);
    const more = changes.length > names.length ? ` and ${changes.length - names.length} more` : '';
    const what = `${names.join('; ')}${more}`;
    const commits = changes.filter(({ kind }) => kind === 'commit').length;
    const range = commits > 1 ? ` Of the ${commits} commits one does: those between cannot be judged.` : '';
    return this.#answer(
      true,
      changes,
      `${changes.length === 1 ? 'One change' : `${changes.length} changes together`} of ${this.#differing} turn${changes.length === 1 ? 's' : ''} the good run into the bad one: ${what}.${range}`,
    );
  }

  #answer(found: boolean, changes: readonly BisectChange[], statement: string): Bisect {
    return {
      found,
      changes,
      differing: this.#differing,
      trials: this.#trials,
      notes: this.#notes,
      statement,
    };
  }

  #changesOf(chosen: Chosen): BisectChange[] {
    return this.#options.dimensions.flatMap(({ changes }, d) => chosen[d]!.map((k) => changes[k]!));
  }

  /** Whether the command repeats the good run itself. */
  async #checkGood(): Promise<void> {
    const { good, steps } = this.#options;
    const found = await compared(good, this.#good!.log, steps);
    if (found?.verdict === 'apart')
      this.#notes.push(`The trial of the good side does not repeat ${good}: ${found.statement}`);
  }

  /** Why a search would be about nothing; null where the two ends differ. */
  async #checkEnds(none: Chosen): Promise<string | null> {
    const [good, bad] = [this.#good!, this.#bad!];
    const crashes = good.exitCode !== 0;
    if (crashes)
      return `The command fails on the good side too (exit code ${good.exitCode}; see ${good.folder}).`;
    const found = await compared(good.log, bad.log, this.#options.steps);
    const differs =
      bad.exitCode !== 0 ||
      found?.verdict === 'apart' ||
      (found?.verdict === 'cannot-tell' && (await this.#repeatsItself(none)));
    this.#record(none, good, 'good');
    this.#record(this.#smallest, bad, differs ? 'bad' : 'good');
    if (differs) return null;
    if (found === undefined) return `The trials print no loss that can be compared (see ${good.folder}).`;
    return `With all ${counted(this.#differing, 'change')} the command does not differ from the good side within ${this.#options.steps} steps: ${found.statement}`;
  }

  /** Whether the good side runs the same once more: then not rounding, but the changes make what differs. */
  async #repeatsItself(none: Chosen): Promise<boolean> {
    const again = await this.#trial(none, 'again');
    const found = await compared(this.#good!.log, again.log, this.#options.steps);
    return again.exitCode === 0 && found?.differsAt === null;
  }

  async #test(chosen: Chosen): Promise<BisectTrial['outcome']> {
    const known = this.#outcomes.get(keyOf(chosen));
    if (known !== undefined) return known;
    const done = await this.#trial(chosen);
    const outcome = await this.#judge(done);
    this.#record(chosen, done, outcome);
    if (outcome === 'bad') this.#smallest = chosen;
    return outcome;
  }

  /** By whether it fails, else by which of the two ends it is the same as, or at least twice as near to. */
  async #judge(done: Done): Promise<BisectTrial['outcome']> {
    const badFails = this.#bad!.exitCode !== 0;
    if (done.exitCode !== 0) return badFails ? 'bad' : 'unclear';
    if (badFails) return 'good';
    const { steps } = this.#options;
    const [toGood, toBad] = [
      await compared(this.#good!.log, done.log, steps),
      await compared(this.#bad!.log, done.log, steps),
    ];
    if (toGood === undefined || toBad === undefined) return 'unclear';
    if ((toGood.verdict === 'same') !== (toBad.verdict === 'same'))
      return toGood.verdict === 'same' ? 'good' : 'bad';
    const [g, b] = [distanceOf(toGood), distanceOf(toBad)];
    if (2 * g < b) return 'good';
    return 2 * b < g ? 'bad' : 'unclear';
  }

  #record(chosen: Chosen, done: Done, outcome: BisectTrial['outcome']): void {
    this.#outcomes.set(keyOf(chosen), outcome);
    const trial = {
      changes: this.#shortly(chosen),
      outcome,
      exitCode: done.exitCode,
      loss: this.#losses.get(done.key) ?? null,
      seconds: done.seconds,
      folder: done.folder,
    };
    this.#trials.push(trial);
    this.#options.onTrial?.(trial, this.#runs);
  }

  readonly #losses = new Map<string, number | null>();

  #shortly(chosen: Chosen): string {
    const { dimensions } = this.#options;
    const count = chosen.reduce((sum, own) => sum + own.length, 0);
    if (count === 0) return 'none';
    if (count === this.#differing) return 'all';
    return dimensions
      .flatMap(({ placeholder, changes }, d) => {
        const own = chosen[d]!;
        if (own.length === 0) return [];
        if (own.length === changes.length && own.length > 1) return [`${placeholder}: all`];
        const names = own.map((k) => changes[k]!.name);
        return [
          `${placeholder}: ${names.length > 3 ? `${names[0]} … ${names.at(-1)} (${names.length})` : names.join(', ')}`,
        ];
      })
      .join('; ');
  }

  /** Runs the command with these changes, or takes what an earlier process ran. @throws NoMoreRuns */
  async #trial(chosen: Chosen, suffix = ''): Promise<Done> {
    const { dimensions, command, folder, steps, seconds, io, maxRuns, isEnding } = this.#options;
    const key = `${keyOf(chosen)}${suffix}`;
    const own = join(folder, key);
    const result = join(own, 'result.json');
    const before = await readFile(result, 'utf8').catch(() => null);
    let run: TrialRun;
    if (before === null) {
      if (this.#runs >= maxRuns || isEnding()) throw new NoMoreRuns();
      this.#runs++;
      await rm(own, { recursive: true, force: true });
      await mkdir(join(own, 'out'), { recursive: true });
      const values = new Map([
        ['out', join(own, 'out')],
        ['steps', String(steps)],
      ]);
      for (const [d, dimension] of dimensions.entries())
        values.set(dimension.placeholder, await dimension.write(chosen[d]!, own));
      run = await runTrial(filled(command, values), own, seconds, io);
      if (isEnding()) throw new NoMoreRuns();
      await writeFileAtomic(result, `${JSON.stringify(run)}\n`);
    } else run = JSON.parse(before) as TrialRun;
    const isEmpty = (await readdir(join(own, 'out'))).length === 0;
    const log = isEmpty ? join(own, 'stdout.log') : join(own, 'out');
    const alone = await compared(log, log, steps);
    this.#losses.set(key, alone?.end?.a ?? null);
    return { ...run, key, folder: own, log };
  }
}

const keyOf = (chosen: Chosen): string =>
  createHash('sha256').update(JSON.stringify(chosen)).digest('hex').slice(0, 16);

/** "lr 0.001 → 0.1"; a commit by its hash and subject. */
export const wordsOf = ({ kind, name, good, bad }: BisectChange): string =>
  kind === 'commit'
    ? `commit ${name}`
    : `${name} ${good === null ? '(absent)' : String(good)} → ${bad === null ? '(absent)' : String(bad)}`;

/** Undefined where one of them cannot be read or has no losses. */
async function compared(a: string, b: string, steps: number): Promise<RunComparison | undefined> {
  try {
    const found = await comparePaths({ a: [a], b: [b], until: steps, picture: true }, {});
    return found.end === null ? undefined : found;
  } catch (error) {
    // A trial that printed nothing is judged by its exit code; a fault of ours is not hidden.
    if (error instanceof DiagError) return undefined;
    throw error;
  }
}

/** Beyond a factor of 20,000 losses are not finite for what follows. */
const FURTHEST = 10;

/** Mean of |ln b/a| over the steps. */
function distanceOf({ picture }: RunComparison): number {
  const sizes = picture!.losses.difference.map((size) => Math.min(FURTHEST, Math.log1p(size)));
  return sizes.reduce((sum, size) => sum + size, 0) / Math.max(1, sizes.length);
}
