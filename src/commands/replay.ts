import { Args, Flags } from '@oclif/core';
import { openCapture } from '../captures/read.ts';
import { DiagCommand } from '../cli/base-command.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { diagError, EXIT } from '../model/errors.ts';
import { SCHEMA_VERSION } from '../model/report.ts';
import { recordedReplays } from '../replay/recorded.ts';
import { replayCapture } from '../replay/replay.ts';
import { renderReplay } from '../reports/replay-text.ts';
import { parseRule } from '../rules/parse.ts';
import { DEFAULT_RULES } from '../rules/registry.ts';

export default class Replay extends DiagCommand {
  static override summary = 'Replay recorded gradient steps under clipping rules, with a verdict for each.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> capture',
    '<%= config.bin %> <%= command.id %> capture --rule none --rule clippy:paper --rule agc:{0.1,0.01,0.001}',
    '<%= config.bin %> <%= command.id %> capture --mode open-loop --learning-rate-multiplier 0.5,1,2',
  ];
  static override args = {
    capture: Args.string({ required: true, ignoreStdin: true, description: 'folder with capture.json' }),
  };
  static override flags = {
    mode: Flags.option({
      options: ['as-recorded', 'open-loop'] as const,
      default: 'as-recorded' as const,
      description: 'factors at the recorded states, or own steps along the recorded gradients',
    })(),
    rule: Flags.string({
      description: `rule, with options or a grid; may be repeated (default: ${DEFAULT_RULES.join(' ')})`,
      helpValue: 'RULE',
      multiple: true,
      multipleNonGreedy: true,
    }),
    'learning-rate-multiplier': Flags.string({
      description: 'what if the learning rate had been so many times as large: one or several, with commas',
      helpValue: 'N,…',
    }),
    precision: Flags.option({
      options: ['float32', 'float64'] as const,
      default: 'float32' as const,
      description: 'arithmetic of the steps; sums are float64 in any case',
    })(),
    ascii: Flags.boolean({ description: 'draw with ASCII characters only' }),
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Replay);
    const rules = (flags.rule ?? DEFAULT_RULES).flatMap(parseRule);
    const capture = await openCapture(args.capture);
    const result = await replayCapture(capture, {
      mode: flags.mode,
      rules,
      precision: flags.precision,
      learningRateMultipliers: multipliersOf(flags['learning-rate-multiplier']),
    });
    const recorded = recordedReplays(capture.manifest);
    const replay = [...result.entries, ...recorded.entries];
    const notes = [...result.notes, ...recorded.notes];
    if (flags.json)
      await this.printJson({
        schemaVersion: SCHEMA_VERSION,
        replay,
        findings: result.findings,
        errors: capture.errors,
        notes,
      });
    else
      await this.print(
        renderReplay(
          replay,
          { findings: result.findings, notes },
          terminalOptions(process.stdout, process.env, flags.ascii),
        ),
      );
    for (const error of capture.errors) await this.remark(`error[${error.id}]: ${error.message}`);
    if (capture.errors.length > 0) this.exitWith(EXIT.input);
    else if (result.entries.every((entry) => entry.verdict === 'cannot-tell'))
      this.exitWith(EXIT.inconclusive);
  }
}

/** @throws usage for what is no positive number */
function multipliersOf(text: string | undefined): number[] {
  if (text === undefined) return [1];
  return text.split(',').map((part) => {
    const value = part.trim() === '' ? Number.NaN : Number(part);
    if (!(value > 0 && value < Number.POSITIVE_INFINITY))
      throw diagError('usage', {
        problem: `--learning-rate-multiplier ${text}: "${part}" is no positive number`,
        hint: 'write for example --learning-rate-multiplier 0.5,1,2',
      });
    return value;
  });
}
