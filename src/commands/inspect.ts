import { Args, Flags } from '@oclif/core';
import { DiagCommand } from '../cli/base-command.ts';
import { diffText } from '../cli/checkpoint-text.ts';
import { formatError, formatErrorRecord } from '../cli/error-text.ts';
import { inspectText } from '../cli/inspect-text.ts';
import { writeErr } from '../cli/output.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { diffCheckpoints } from '../engine/checkpoint-diff.ts';
import { inspectInputs } from '../engine/inspect.ts';
import { diagError, ERROR_TEXTS, EXIT } from '../model/errors.ts';
import { SCHEMA_VERSION } from '../model/report.ts';

export default class Inspect extends DiagCommand {
  static override summary = 'Show what is in a log, checkpoint or capture.';
  static override description =
    'Series with their roles, points, steps and non-finite values; tensors with their shapes and statistics. Whatever can be read of a damaged file is shown, and what was lost.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/a/events.out.tfevents.1719849387.host',
    '<%= config.bin %> <%= command.id %> runs --json',
    '<%= config.bin %> <%= command.id %> - < train.jsonl',
    '<%= config.bin %> <%= command.id %> step-900.safetensors step-1000.safetensors --diff',
  ];
  static override strict = false;
  static override args = {
    path: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'files or folders; `-` is standard input',
    }),
  };
  static override flags = {
    ...logFlags,
    diff: Flags.boolean({
      description: 'compare two checkpoints: what moved most, relative to its norm, in which layer',
      exclusive: ['list'],
      helpGroup: 'CHECKPOINTS',
    }),
    list: Flags.boolean({
      description: 'read only the headers of checkpoints: names, types and shapes, no statistics',
      helpGroup: 'CHECKPOINTS',
    }),
    ascii: Flags.boolean({ description: 'charts in ASCII', helpGroup: 'OUTPUT' }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Inspect);
    if (flags.diff) {
      await this.compare(argv as string[], flags.json);
      return;
    }
    const inspection = await inspectInputs(argv as string[], {
      ...readOptionsOf(flags),
      listOnly: flags.list,
    });
    const { inputs, trajectories, skipped, errors } = inspection;
    const empty = inputs
      .filter((input) => input.kind === 'log')
      .filter((input) => input.errors.length === 0 && input.runs.every((run) => run.series.length === 0))
      .map((input) =>
        diagError('log-no-points', { path: input.path, kept: input.kept }, { path: input.path }),
      );
    const all = [...errors, ...empty];
    for (const error of all) this.exitWith(error.exitCode);
    for (const input of inputs) {
      if (input.kind === 'log' && input.lost > 0) this.exitWith(EXIT.input);
      for (const record of input.errors) this.exitWith(ERROR_TEXTS[record.id].exitCode);
    }
    if (flags.json)
      await this.printJson({
        schemaVersion: SCHEMA_VERSION,
        inputs,
        trajectories,
        skipped,
        errors: all.map((error) => error.toRecord()),
      });
    else {
      const text = inspectText(inspection, terminalOptions(process.stdout, process.env, flags.ascii));
      if (text !== '') await this.print(text);
    }
    for (const input of inputs) for (const record of input.errors) await writeErr(formatErrorRecord(record));
    for (const error of all) await writeErr(formatError(error));
  }

  private async compare(paths: readonly string[], json: boolean): Promise<void> {
    const [before, after] = paths;
    if (before === undefined || after === undefined || paths.length > 2)
      throw diagError('usage', {
        problem: `--diff compares two checkpoints, ${paths.length} were named`,
        hint: 'clippy-diag inspect BEFORE AFTER --diff',
      });
    const diff = await diffCheckpoints(before, after);
    if (json) await this.printJson({ schemaVersion: SCHEMA_VERSION, diff });
    else await this.print(diffText(diff).join('\n'));
  }
}
