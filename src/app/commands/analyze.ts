import * as Flags from '@oclif/core/flags';
import { diagError } from '../../model/errors.ts';
import { PLAIN } from '../../report/format.ts';
import { json } from '../../report/json.ts';
import { printBrief } from '../cli/brief-output.ts';
import { command, makingOf } from '../cli/command.ts';
import { configFlags, configPathOf, readingByConfig, thresholdsByFlags } from '../cli/gate-flags.ts';
import { fillingScreen, page, pageFlags } from '../cli/page.ts';
import { statusOn } from '../cli/progress.ts';
import { withLocalPaths } from '../cli/remote-paths.ts';
import { reportFlag, reportTargets, writeReports } from '../cli/report-files.ts';
import { logFlags, pathArgs, readOptionsOf } from '../cli/shared-flags.ts';
import { analyze, DEFAULT_BUDGET } from '../engine/analyze.ts';
import { chosen } from '../engine/choose-runs.ts';
import { exitCodeOf } from '../engine/exit-code.ts';

export default command({
  summary: 'Say what happened to a training run: whether, when and where it diverged, and what to do.',
  description:
    'Finds logs, checkpoints and captures under the paths and runs every analysis the inputs allow. Exits 0 once ' +
    'the report is out, whatever the verdict; --fail-on changes that. 3: damaged input, 4: nothing could be judged.',
  examples: [
    '<%= config.bin %> <%= command.id %> runs/',
    '<%= config.bin %> <%= command.id %> train.jsonl --map loss=train/nll',
    '<%= config.bin %> <%= command.id %> runs/ --where class!=healthy --sort last',
    '<%= config.bin %> <%= command.id %> train.jsonl runs/a --compare',
    '<%= config.bin %> <%= command.id %> runs/ --report json:report.json --fail-on error',
  ],
  takesMany: true,
  judges: true,
  args: pathArgs,
  flags: {
    ...logFlags,
    ...configFlags,
    ...pageFlags,
    report: reportFlag('also write the report, as FORMAT:FILE (may be repeated)'),
    compare: Flags.boolean({
      description: 'say where two runs part and in which settings they differ',
    }),
    'fail-on': Flags.option({
      description: 'exit 1 when a finding is at least that severe',
      helpGroup: 'POLICY',
      options: ['warning', 'error'] as const,
    })(),
    budget: Flags.integer({
      description: 'seconds for what is expensive: checkpoints, replay, curvature',
      helpValue: 'SECONDS',
      helpGroup: 'EVIDENCE',
      default: DEFAULT_BUDGET,
      min: 0,
    }),
    'clip-limit': Flags.string({
      description: 'say how often the logged gradient norms exceed this clipping limit (may be repeated)',
      helpValue: 'N',
      helpGroup: 'EVIDENCE',
      multiple: true,
      multipleNonGreedy: true,
    }),
  },

  async run({ argv, flags }, io) {
    const thresholds = await thresholdsByFlags(flags);
    const { targets } = await reportTargets(flags.report, [...argv, ...(await configPathOf(flags))], io);
    const status = statusOn(io.stderr);
    const screen = fillingScreen(flags, io);
    const options = {
      ...readOptionsOf(flags, io, await readingByConfig(flags)),
      thresholds,
      clipLimits: (flags['clip-limit'] ?? []).map(limitOf),
      budget: flags.budget,
      compare: flags.compare,
      ...makingOf(io),
    };
    const report = await withLocalPaths(argv, flags, io, async ({ paths, shown }) =>
      shown(
        await analyze(paths, {
          ...options,
          onProgress: (what) => status(shown(what)),
          ...(flags.json || flags.verbose || flags.quiet || flags.brief
            ? {}
            : { onFirst: (first) => screen.first(shown(first)) }),
        }),
      ),
    ).finally(() => status(''));
    const shown = chosen(report, flags);
    if (flags.brief) await printBrief(shown, flags.json, io);
    else if (flags.json) await io.write(json.render(shown, PLAIN));
    else await screen.last(page(shown, flags, io));
    await writeReports(shown, targets, io);
    return exitCodeOf(report, flags['fail-on']);
  },
});

/** A clipping limit as it was given. @throws usage */
function limitOf(text: string): number {
  const limit = text.trim() === '' ? Number.NaN : Number(text);
  if (!(limit > 0 && limit < Number.POSITIVE_INFINITY))
    throw diagError('usage', {
      problem: `--clip-limit ${text} is no positive number`,
      hint: 'give the largest gradient norm that clipping would let through, e.g. --clip-limit 1',
    });
  return limit;
}
