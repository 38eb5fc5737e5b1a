import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import type { ClosedLoopRun } from '../../experiment/measure/closed-loop.ts';
import { recordedReplays } from '../../experiment/replay/recorded.ts';
import { type ReplayResult, replayCapture } from '../../experiment/replay/replay.ts';
import { diagError, EXIT } from '../../model/errors.ts';
import { REPLAY_MODES } from '../../model/replay.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { type Capture, openCapture } from '../../read/captures/read.ts';
import { briefReplay } from '../../report/brief-steps.ts';
import { renderReplay } from '../../report/replay-text.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { DEFAULT_RULES } from '../../step/rules/registry.ts';
import { command } from '../cli/command.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { multipliersOf, ruleFlag, trainingFlags, trainingOptions } from '../cli/training-flags.ts';

export default command({
  summary: 'Replay recorded gradient steps under clipping rules, with a verdict for each.',
  examples: [
    '<%= config.bin %> <%= command.id %> capture',
    "<%= config.bin %> <%= command.id %> capture --rule none --rule clippy:paper --rule 'agc:{0.1,0.01,0.001}'",
    '<%= config.bin %> <%= command.id %> capture --rule global-norm:1+rms:1',
    '<%= config.bin %> <%= command.id %> capture --mode open-loop --learning-rate-multiplier 0.5,1,2',
  ],
  args: {
    capture: Args.string({ required: true, description: 'folder with capture.json' }),
  },
  flags: {
    mode: Flags.option({
      helpGroup: 'REPLAY',
      options: REPLAY_MODES,
      default: 'as-recorded' as const,
      description:
        'factors at the recorded states, own steps along the recorded gradients, or own steps with gradients computed anew (needs a model and batches)',
    })(),
    rule: ruleFlag,
    'learning-rate-multiplier': Flags.string({
      helpGroup: 'REPLAY',
      description: 'what if the learning rate had been so many times as large: one or several, with commas',
      helpValue: 'N,…',
      default: '1',
    }),
    precision: Flags.option({
      helpGroup: 'REPLAY',
      options: ['float32', 'float64'] as const,
      default: 'float32' as const,
      description: 'arithmetic of the steps; sums are float64 in any case',
    })(),
    verbose: Flags.boolean({
      description: 'show everything: options, charts of every rule, factors of every tensor',
      helpGroup: 'OUTPUT',
    }),
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
    ...trainingFlags,
    ...offlineFlag,
  },

  async run({ args, flags }, io) {
    const alone = CLOSED_LOOP_ALONE.filter((name) => flags[name] !== undefined);
    if (flags.mode !== 'closed-loop' && alone.length > 0)
      throw diagError('usage', {
        problem: `--${alone.join(', --')} belong${alone.length === 1 ? 's' : ''} to the closed loop`,
        hint: 'add --mode closed-loop',
      });
    if (flags.mode === 'closed-loop' && flags.precision === 'float64')
      throw diagError('usage', {
        problem: 'the closed loop takes its steps in float32, as its gradients are',
        hint: 'leave --precision out',
      });
    const rules = (flags.rule ?? DEFAULT_RULES).flatMap(parseRule);
    const learningRateMultipliers = multipliersOf(flags['learning-rate-multiplier']);
    const { mode, precision } = flags;
    const { result, recorded, errors, trains } = await withLocalPaths(
      [args.capture],
      flags,
      io,
      async ({ paths, shown }) => {
        const capture = await openCapture(paths[0]!);
        const made =
          mode === 'closed-loop'
            ? await closedLoop(capture, trainingOptions(rules, learningRateMultipliers, flags, io))
            : await replayCapture(capture, { mode, rules, precision, learningRateMultipliers });
        return shown({
          result: made,
          recorded: recordedReplays(capture),
          errors: capture.errors,
          trains: capture.manifest.model !== null,
        });
      },
    );
    const replay = [...result.entries, ...recorded.entries];
    const notes = [...result.notes, ...recorded.notes];
    if (flags.json)
      await io.printJson({
        schemaVersion: SCHEMA_VERSION,
        replay,
        findings: result.findings,
        errors,
        notes,
      });
    else
      await io.print(
        (flags.verbose ? renderReplay : briefReplay)(
          replay,
          { findings: result.findings, notes, trains },
          terminalOptions(io.stdout, io.env, flags.ascii),
        ),
      );
    for (const error of errors) await io.remark(formatErrorRecord(error));
    if (errors.length > 0) return EXIT.input;
    const told = result.entries.some((entry) => entry.verdict !== 'cannot-tell');
    return told ? EXIT.done : EXIT.inconclusive;
  },
});

/** Flags that the other modes would ignore. */
const CLOSED_LOOP_ALONE = Object.keys(trainingFlags) as (keyof typeof trainingFlags)[];

/** tfjs is loaded by this mode alone. */
async function closedLoop(
  capture: Capture,
  options: ClosedLoopRun,
): Promise<Pick<ReplayResult, 'entries' | 'findings' | 'notes'>> {
  const { runClosedLoop } = await import('../../experiment/measure/closed-loop.ts');
  const { entries, baseline, notes } = await runClosedLoop(capture, options);
  return { entries, findings: [], notes: [baseline.why, ...notes] };
}
