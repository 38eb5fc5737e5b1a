import { Args } from '@oclif/core';
import { DiagCommand } from '../cli/base-command.ts';
import { formatError, formatErrorRecord } from '../cli/error-text.ts';
import { inspectText } from '../cli/inspect-text.ts';
import { writeErr } from '../cli/output.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
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
  ];
  static override strict = false;
  static override args = {
    path: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'files or folders; `-` is standard input',
    }),
  };
  static override flags = { ...logFlags };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Inspect);
    const inspection = await inspectInputs(argv as string[], readOptionsOf(flags));
    const { inputs, skipped, errors } = inspection;
    const empty = inputs
      .filter((input) => input.errors.length === 0 && input.runs.every((run) => run.series.length === 0))
      .map((input) =>
        diagError('log-no-points', { path: input.path, kept: input.kept }, { path: input.path }),
      );
    const all = [...errors, ...empty];
    for (const error of all) this.exitWith(error.exitCode);
    for (const input of inputs) {
      if (input.lost > 0) this.exitWith(EXIT.input);
      for (const record of input.errors) this.exitWith(ERROR_TEXTS[record.id].exitCode);
    }
    if (flags.json)
      await this.printJson({
        schemaVersion: SCHEMA_VERSION,
        inputs,
        skipped,
        errors: all.map((error) => error.toRecord()),
      });
    else {
      const text = inspectText(inspection);
      if (text !== '') await this.print(text);
    }
    for (const input of inputs) for (const record of input.errors) await writeErr(formatErrorRecord(record));
    for (const error of all) await writeErr(formatError(error));
  }
}
