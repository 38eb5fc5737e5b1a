import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { diagError, type ErrorRecord, EXIT, type ExitCode, worstExitCode } from '../../model/errors.ts';
import { COMPARISON_FORMATS, comparisonDocument } from '../../report/comparison-formats.ts';
import { comparisonText } from '../../report/comparison-text.ts';
import { command } from '../cli/command.ts';
import { documentFlag, documentTargets, writeDocuments } from '../cli/document-files.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { withLocalPaths } from '../cli/remote-paths.ts';
import { refuseReadFolders } from '../cli/report-files.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { comparePaths } from '../engine/compare-inputs.ts';
import { exitCodeOfErrors } from '../engine/exit-code.ts';

const CODES: Record<'same' | 'apart' | 'cannot-tell', ExitCode> = {
  same: EXIT.done,
  apart: EXIT.gateFailed,
  'cannot-tell': EXIT.inconclusive,
};

const paths = (text: string | undefined): string[] => text?.split(',').filter((path) => path !== '') ?? [];

export default command({
  summary: 'Compare two runs: whether they are the same training, and where they first differ.',
  description:
    'Settings that differ, the first step, link (batch, rng, options, weights, loss, gradient, clip, state, update) and tensor that differ, and whether that is more than noise. Reads logs, checkpoints, captures and ledgers. Exit code 0: the same; 1: apart; 4: cannot tell.',
  examples: [
    '<%= config.bin %> <%= command.id %> before.jsonl after.jsonl',
    '<%= config.bin %> <%= command.id %> before.jsonl after.jsonl --floor again1.jsonl,again2.jsonl,again3.jsonl',
    '<%= config.bin %> <%= command.id %> --a a1.jsonl,a2.jsonl,a3.jsonl --b b1.jsonl,b2.jsonl,b3.jsonl',
    '<%= config.bin %> <%= command.id %> before.jsonl after.jsonl --report html:compare.html',
  ],
  takesMany: true,
  args: {
    path: Args.string({ description: 'two runs: a log, checkpoint, capture, ledger, folder or URL each' }),
  },
  flags: {
    ...logFlags,
    a: Flags.string({
      helpValue: 'A1,A2',
      helpGroup: 'RUNS',
      description: 'runs of the first side, one a seed',
    }),
    b: Flags.string({
      helpValue: 'B1,B2',
      helpGroup: 'RUNS',
      description: 'runs of the second side, in the same order',
    }),
    floor: Flags.string({
      helpValue: 'A2,A3,A4',
      helpGroup: 'RUNS',
      description: 'repeats of the first run, by which is measured how far identical code drifts apart',
    }),
    until: Flags.integer({ helpValue: 'STEP', helpGroup: 'RUNS', description: 'last step that is compared' }),
    report: documentFlag(COMPARISON_FORMATS, 'OUTPUT'),
    ascii: Flags.boolean({ description: 'ASCII characters only', helpGroup: 'OUTPUT' }),
  },

  async run({ argv, flags }, io) {
    const [a, b] = sidesOf(argv, paths(flags.a), paths(flags.b));
    const floor = paths(flags.floor);
    const inputs = [...a, ...b, ...floor];
    const { targets, refused } = await documentTargets(
      flags.report ?? [],
      COMPARISON_FORMATS,
      'comparison',
      inputs,
      io,
    );
    if (refused !== null) throw refused;
    for (const { path } of targets) if (path !== '-') await refuseReadFolders(path, inputs);
    const damage: ErrorRecord[] = [];
    let lostRecords = 0;
    const onDamage = (records: readonly ErrorRecord[], lost: number): void => {
      damage.push(...records);
      lostRecords += lost;
    };
    const until = flags.until === undefined ? {} : { until: flags.until };
    const comparison = await withLocalPaths(inputs, flags, io, async (local) => {
      const side = (from: number, length: number) => local.paths.slice(from, from + length);
      const compared = await comparePaths(
        {
          a: side(0, a.length),
          b: side(a.length, b.length),
          floor: side(a.length + b.length, floor.length),
          onDamage: (records, lost) => onDamage(local.shown(records), lost),
          ...until,
          picture: targets.length > 0,
        },
        readOptionsOf(flags, io),
      );
      return local.shown(compared);
    });
    await writeDocuments(comparison, COMPARISON_FORMATS, targets, io);
    if (flags.json) await io.printJson(comparisonDocument(comparison));
    else if (!targets.some(({ path }) => path === '-'))
      await io.print(comparisonText(comparison, terminalOptions(io.stdout, io.env, flags.ascii)).join('\n'));
    for (const record of damage) await io.remark(formatErrorRecord(record));
    const code = worstExitCode(exitCodeOfErrors(damage), lostRecords > 0 ? EXIT.input : EXIT.done);
    return code === EXIT.done ? CODES[comparison.verdict] : code;
  },
});

function sidesOf(named: readonly string[], a: string[], b: string[]): [string[], string[]] {
  if (named.length === 2 && a.length + b.length === 0) return [[named[0]!], [named[1]!]];
  if (named.length === 0 && a.length > 0 && b.length > 0) return [a, b];
  throw diagError('usage', {
    problem: `compare takes two runs, or --a and --b; ${named.length} ${named.length === 1 ? 'path was' : 'paths were'} named`,
    hint: 'clippy-diag compare runs/before runs/after',
  });
}
