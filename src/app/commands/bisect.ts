import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { diagError, EXIT } from '../../model/errors.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { bisectText } from '../../report/bisect-text.ts';
import { bisect } from '../bisect/bisect.ts';
import { choiceOf } from '../bisect/choices.ts';
import { commitsOf } from '../bisect/commits.ts';
import { configKeys } from '../bisect/config-keys.ts';
import { dataOf } from '../bisect/data-lines.ts';
import type { Dimension } from '../bisect/dimension.ts';
import { versionsOf } from '../bisect/versions.ts';
import { command } from '../cli/command.ts';
import { progressOn } from '../cli/progress.ts';
import { refuseUrls } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';

/** Which of the trials there will be is known only at the end. */
const MOST_RUNS = 100;

export default command({
  summary: 'Find the change that turns a good run into a bad one, by short runs of a command.',
  description:
    'Varies keys of a configuration, commits, lines or files of data, versions of packages, and choices between two values, and judges each trial as compare does. In the command, {config}, {commit}, {data}, {versions} and {NAME} are replaced by what is varied, {out} by a folder of the trial, {steps} for --steps. Nothing but the command is run, without a shell, and nothing is written outside of --folder. Exit code 0: found; 4: not found.',
  examples: [
    '<%= config.bin %> <%= command.id %> --good good/ --bad bad/ -- python3 train.py {config}',
    '<%= config.bin %> <%= command.id %> --good good/ --data good.csv,bad.csv --steps 40 --folder trials -- python3 train.py good/config.json {data}',
  ],
  takesMany: true,
  args: { command: Args.string({ description: 'after --, the command that trains' }) },
  flags: {
    good: Flags.string({
      required: true,
      helpGroup: 'RUNS',
      helpValue: 'PATH',
      description: 'the good run: its folder, log or configuration',
    }),
    bad: Flags.string({
      helpGroup: 'RUNS',
      helpValue: 'PATH',
      description: 'the bad run, or its configuration; keys that differ are varied by {config}',
    }),
    commits: Flags.string({
      helpGroup: 'RUNS',
      helpValue: 'GOOD..BAD',
      description: 'commits to vary by {commit}, a folder with the files of one',
    }),
    repository: Flags.string({
      helpGroup: 'RUNS',
      helpValue: 'FOLDER',
      default: '.',
      description: 'the Git repository of --commits',
    }),
    data: Flags.string({
      helpGroup: 'RUNS',
      helpValue: 'GOOD,BAD',
      description: 'two files of lines or two folders, to mix in {data}',
    }),
    versions: Flags.string({
      helpGroup: 'RUNS',
      helpValue: 'GOOD,BAD',
      description: 'two lists of requirements, as pip freeze prints them, to mix in {versions}',
    }),
    vary: Flags.string({
      helpGroup: 'RUNS',
      helpValue: 'NAME=GOOD,BAD',
      description: 'two values of {NAME}, such as interpreters of two environments; may be repeated',
      multiple: true,
      multipleNonGreedy: true,
      default: [],
    }),
    steps: Flags.integer({
      helpGroup: 'TRIALS',
      min: 1,
      default: 50,
      helpValue: 'N',
      description: 'last step that is compared, and {steps} in the command',
    }),
    'max-runs': Flags.integer({
      helpGroup: 'TRIALS',
      min: 2,
      default: MOST_RUNS,
      helpValue: 'N',
      description: 'runs of the command in this process at most',
    }),
    seconds: Flags.integer({
      helpGroup: 'TRIALS',
      min: 1,
      default: 3600,
      helpValue: 'N',
      description: 'seconds after which a trial is ended',
    }),
    folder: Flags.string({
      helpGroup: 'TRIALS',
      helpValue: 'FOLDER',
      default: 'clippy-diag-bisect',
      description: 'folder of the trials; the same one goes on where an earlier process ended',
    }),
    ascii: Flags.boolean({ description: 'ASCII characters only', helpGroup: 'OUTPUT' }),
  },

  async run({ argv, flags }, io) {
    if (argv.length === 0)
      throw diagError('usage', {
        problem: 'bisect needs the command that trains, after --',
        hint: 'clippy-diag bisect --good runs/a --bad runs/b -- python train.py {config}',
      });
    refuseUrls(
      [flags.good, flags.bad, flags.data, flags.versions],
      'the trials run on files of this machine',
    );
    const folder = resolve(flags.folder);
    const dimensions = await dimensionsOf(flags, folder);
    let ending = false;
    const forget = io.onEnd(() => {
      ending = true;
    });
    const progress = progressOn(io.stderr, io.now, 'trial');
    try {
      const found = await bisect({
        dimensions,
        command: argv,
        steps: flags.steps,
        maxRuns: flags['max-runs'],
        seconds: flags.seconds,
        folder,
        good: flags.good,
        io,
        onTrial: (_, runs) => progress(runs, flags['max-runs']),
        isEnding: () => ending,
      });
      if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, bisect: found });
      else await io.print(bisectText(found, terminalOptions(io.stdout, io.env, flags.ascii)).join('\n'));
      return found.found ? EXIT.done : EXIT.inconclusive;
    } finally {
      forget();
    }
  },
});

interface Sides {
  readonly good: string;
  readonly bad?: string | undefined;
  readonly commits?: string | undefined;
  readonly repository: string;
  readonly data?: string | undefined;
  readonly versions?: string | undefined;
  readonly vary: readonly string[];
}

/** What is varied; the order is that in which a dimension is tried to be left out. @throws usage */
async function dimensionsOf(
  { good, bad, commits, repository, data, versions, vary }: Sides,
  folder: string,
): Promise<Dimension[]> {
  const found: Dimension[] = [];
  if (commits !== undefined) found.push(await commitsOf(repository, commits, resolve(folder, 'commits')));
  if (bad !== undefined) found.push(await configKeys(good, bad));
  if (data !== undefined) found.push(await dataOf(...twoPaths('data', data, 'good.csv,bad.csv')));
  if (versions !== undefined)
    found.push(await versionsOf(...twoPaths('versions', versions, 'good.txt,bad.txt')));
  found.push(...vary.map(choiceOf));
  const names = found.map(({ placeholder }) => placeholder);
  const twice = names.find((name, k) => names.indexOf(name) !== k);
  if (twice !== undefined)
    throw diagError('usage', {
      problem: `{${twice}} is varied twice`,
      hint: 'give each --vary its own name',
    });
  return found.filter(({ changes }) => changes.length > 0);
}

/** @throws usage */
function twoPaths(flag: string, text: string, example: string): [good: string, bad: string] {
  const [good, bad, ...more] = text.split(',');
  if (good !== undefined && bad !== undefined && more.length === 0) return [good, bad];
  throw diagError('usage', { problem: `--${flag} ${text} is not two paths`, hint: `--${flag} ${example}` });
}
