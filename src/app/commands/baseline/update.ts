import { dirname } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { DiagError, diagError, EXIT } from '../../../model/errors.ts';
import { countedPlain } from '../../../model/format-number.ts';
import { inertName } from '../../../model/inert-text.ts';
import { type Report, SCHEMA_VERSION } from '../../../model/report.ts';
import { checkWritable, targetOf, writeFileAtomic } from '../../../read/bytes/atomic-write.ts';
import { repositoryOf } from '../../../read/bytes/folder.ts';
import { liesIn } from '../../../read/bytes/source.ts';
import { command, makingOf } from '../../cli/command.ts';
import {
  configFlags,
  configOf,
  readingByConfig,
  settleFlag,
  settleOf,
  thresholdsByFlags,
} from '../../cli/gate-flags.ts';
import { withLocalPaths } from '../../cli/remote-paths.ts';
import { refusalOf } from '../../cli/report-files.ts';
import { logFlags, readOptionsOf } from '../../cli/shared-flags.ts';
import { updateBaseline } from '../../gate/baseline.ts';
import { type Baseline, formatBaseline, readBaseline } from '../../gate/baseline-file.ts';
import { readGateEvidence } from '../../gate/evidence.ts';
import { reportProblems } from '../../gate/problems.ts';

export const DEFAULT_BASELINE = '.clippy-diag-baseline.json';

export default command({
  summary: 'Write the values of these runs into the baseline that the gate compares with.',
  description:
    'The file is the one that the config names, else .clippy-diag-baseline.json; commit it. Values that are better ' +
    'than the new ones stay (the ratchet), unless --no-ratchet or `ratchet: false` lets them go.',
  takesMany: true,
  examples: ['<%= config.bin %> <%= command.id %> runs/'],
  args: {
    path: Args.string({ required: true, description: 'logs, folders or saved reports' }),
  },
  flags: {
    ...configFlags,
    ...logFlags,
    ...settleFlag,
    file: Flags.string({ description: 'the baseline file', helpValue: 'FILE' }),
    ratchet: Flags.boolean({ description: 'keep values that are better than the new ones', allowNo: true }),
    'allow-outside': Flags.boolean({
      description: 'write the baseline although it lies outside of the working tree (the Git repository)',
    }),
  },

  async run({ argv, flags }, io) {
    const config = flags['no-config'] ? null : await configOf(flags);
    const settings = config?.baseline;
    const file = flags.file ?? settings?.file ?? DEFAULT_BASELINE;
    const refused = await refusalOf(async () => {
      if (!flags['allow-outside']) await refuseOutside(file, config?.path ?? null);
      await checkWritable(file);
    }, io);
    const options = {
      ...readOptionsOf(flags, io, await readingByConfig(flags)),
      ...settleOf(flags, io),
      ...makingOf(io),
      thresholds: await thresholdsByFlags(flags),
      // A baseline holds values of logs.
      asked: new Set<never>(),
    };
    const report = await withLocalPaths(argv, flags, io, async ({ paths, shown, changed }) => {
      const read = shown((await readGateEvidence(paths, options)).report);
      const grown = (await changed()).map((error) => error.toRecord());
      return { ...read, warnings: [...read.warnings, ...grown] };
    });
    // A baseline of half a log would let every later run pass.
    const problems = reportProblems(report, {
      path: config?.path ?? null,
      unread: config?.unread ?? [],
      acceptGuess: config?.acceptGuess ?? false,
      expect: { runs: 1 },
    });
    const [worst] = [...problems].sort((a, b) => a.exitCode - b.exitCode);
    if (refused !== null && worst?.exitCode !== EXIT.input) throw refused;
    if (worst !== undefined) {
      if (flags.json)
        await io.printJson({
          schemaVersion: SCHEMA_VERSION,
          error: { id: worst.id, message: `the baseline was not written: ${worst.message}` },
        });
      await io.remark(`the baseline was not written: ${inertName(worst.message)}`);
      return worst.exitCode;
    }
    const previous: Baseline | null = await readBaseline(file).catch((error: unknown) => {
      if (error instanceof DiagError && error.code === 'baseline-missing') return null;
      throw error;
    });
    const next = updateBaseline(report, previous, flags.ratchet ?? settings?.ratchet ?? true);
    await writeFileAtomic(file, formatBaseline(next));
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, file, baseline: next });
    else
      await io.print(
        `${inertName(file)}: ${countedPlain(next.runs.length, 'run')}; ${changesBy(report, previous, next)}`,
      );
    return EXIT.done;
  },
});

/**
 * A config comes with the repository, often from a stranger, and names the file: it stays in there. Where there is no
 * repository, the working tree is the folder of the config that was found above, or this one.
 *
 * @throws output-outside
 */
async function refuseOutside(file: string, config: string | null): Promise<void> {
  const here = await targetOf('.');
  const above = config === null ? here : dirname(await targetOf(config));
  const root = (await repositoryOf('.')) ?? (liesIn(above, here) ? above : here);
  if (!liesIn(root, await targetOf(file)))
    throw diagError('output-outside', { path: file, root }, { path: file });
}

/** What became of the runs that were named: a run that was no better in anything changes nothing in a ratchet. */
function changesBy({ runs }: Report, previous: Baseline | null, next: Baseline): string {
  const of = (baseline: Baseline | null, id: string): string =>
    JSON.stringify(baseline?.runs.find((run) => run.id === id) ?? null);
  const added = runs.filter(({ id }) => of(previous, id) === 'null').length;
  const same = runs.filter(({ id }) => of(previous, id) === of(next, id)).length;
  return [
    [added, 'added'],
    [runs.length - added - same, 'changed'],
    [same, 'kept as they were: nothing was better'],
  ]
    .filter(([count]) => count !== 0)
    .map(([count, what]) => `${count} ${what}`)
    .join(', ');
}
