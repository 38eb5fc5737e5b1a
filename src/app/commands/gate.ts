import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { EXIT } from '../../model/errors.ts';
import { isUrl } from '../../model/url.ts';
import { renderGate } from '../../report/gate-text.ts';
import { json } from '../../report/json.ts';
import { briefFlag, printBrief } from '../cli/brief-output.ts';
import { command, makingOf } from '../cli/command.ts';
import { configOf, gateFlags, readingByConfig, settleFlag, settleOf } from '../cli/gate-flags.ts';
import { statusOn } from '../cli/progress.ts';
import { nothingToTag, tagFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { reportFlag, reportTargets, writeReports } from '../cli/report-files.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { readGateEvidence } from '../gate/evidence.ts';
import { judgeGate } from '../gate/judge.ts';

const tagged = (written: number): unknown => (written === 0 ? nothingToTag() : undefined);

export default command({
  summary: 'Judge logs or saved reports by a policy; the exit code decides, for CI.',
  description:
    'Rules come from .clippy-diag.yaml (found upward), or from the recommended preset where there is none; --rule adds ' +
    'to either, --no-config leaves both out. Exits 0 only where every rule was judged on complete data and none of severity error failed; ' +
    '1: failed, 2: config or usage, 3: damaged or missing input, 4: could not be judged, 5: a report was not written.',
  examples: [
    '<%= config.bin %> <%= command.id %> runs/',
    "<%= config.bin %> <%= command.id %> train.jsonl --rule 'last(loss) <= 0.2' --rule loss-spike",
    '<%= config.bin %> <%= command.id %> runs/ --report junit:junit.xml --report sarif:out.sarif',
    '<%= config.bin %> <%= command.id %> report.json',
  ],
  takesMany: true,
  judges: true,
  args: {
    path: Args.string({
      required: true,
      description: 'logs, folders, saved reports, patterns of them, or URLs; - is standard input',
    }),
  },
  flags: {
    ...gateFlags,
    ...logFlags,
    ...settleFlag,
    report: reportFlag(
      'also write the report, as FORMAT:FILE; - as FILE is standard output (may be repeated)',
    ),
    'accept-guess': Flags.boolean({
      description: 'judge a text whose loss was found by its numbers alone',
      helpGroup: 'POLICY',
    }),
    brief: briefFlag,
    ...tagFlag,
    'exit-zero': Flags.boolean({
      description: 'exit 0 where the gate fails or is inconclusive; errors keep their code',
      helpGroup: 'POLICY',
    }),
  },

  async run({ argv, flags }, io) {
    if (flags.tag && !argv.some(isUrl)) throw nothingToTag();
    const found = await configOf(flags);
    const config = flags['accept-guess'] ? { ...found, acceptGuess: true } : found;
    const { targets } = await reportTargets(
      flags.report,
      [
        ...argv,
        ...(config.path === null ? [] : [config.path]),
        ...(config.baseline === null ? [] : [config.baseline.file]),
      ],
      io,
    );
    const status = statusOn(io.stderr);
    const options = {
      ...readOptionsOf(flags, io, await readingByConfig(flags)),
      ...settleOf(flags, io),
      ...makingOf(io),
      config,
    };
    const evidence = await withLocalPaths(argv, flags, io, async ({ paths, shown, changed, tag }) => {
      const read = await readGateEvidence(paths, { ...options, onProgress: (what) => status(shown(what)) });
      const { report, runs } = shown(read);
      // The verdict is printed whether or not the server takes it.
      const untagged = flags.tag ? await tag(read.report.runs).then(tagged, shown<unknown>) : undefined;
      const warnings = [...report.warnings, ...(await changed()).map((error) => error.toRecord())];
      const { comparisons } = read;
      const compared = comparisons === undefined ? {} : { comparisons };
      return { report: { ...report, warnings }, runs, untagged, ...compared };
    }).finally(() => status(''));
    const judgesBaseline = config.baseline !== null && config.baseline.severity !== 'off';
    // Its schema takes a library that no gate without a baseline is to wait for.
    const baseline = judgesBaseline
      ? await (await import('../gate/baseline-file.ts')).readBaseline(config.baseline.file)
      : null;
    const gate = judgeGate({ ...evidence, baseline }, config);
    const report = { ...evidence.report, gate };
    const forgiven = flags['exit-zero'] && (gate.exitCode === 1 || gate.exitCode === 4);
    // Annotations may be among other text, a document may not.
    const alone = targets.some(({ format, path }) => path === '-' && format !== 'github');
    if (!alone) {
      const options = terminalOptions(io.stdout, io.env, false);
      if (flags.brief) await printBrief(report, flags.json, io);
      else
        await io.print(flags.json ? json.render(report, options) : renderGate(gate, options, report.skipped));
    }
    await writeReports(report, targets, io);
    if (evidence.untagged !== undefined) throw evidence.untagged;
    return forgiven ? EXIT.done : gate.exitCode;
  },
});
