import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { diagError, ERROR_TEXTS, EXIT, type ExitCode, worstExitCode } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { diffText } from '../../report/checkpoint-text.ts';
import { inspectText } from '../../report/inspect-text.ts';
import { type CommandIo, command } from '../cli/command.ts';
import { formatError, formatErrorRecord } from '../cli/error-text.ts';
import { configFlags, readingByConfig } from '../cli/gate-flags.ts';
import { shareOn } from '../cli/progress.ts';
import { type LocalPaths, withLocalPaths } from '../cli/remote-paths.ts';
import { logFlags, readOptionsOf } from '../cli/shared-flags.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { inspectInputs } from '../engine/inspect.ts';

export default command({
  summary: 'Show what is in a log, checkpoint or capture.',
  description:
    'Series with their roles, points, steps and non-finite values; tensors with their shapes and statistics. Whatever can be read of a damaged file is shown, and what was lost.',
  examples: [
    '<%= config.bin %> <%= command.id %> runs/a/events.out.tfevents.1719849387.host',
    '<%= config.bin %> <%= command.id %> runs --json',
    '<%= config.bin %> <%= command.id %> - < train.jsonl',
    '<%= config.bin %> <%= command.id %> step-900.safetensors step-1000.safetensors --diff',
    '<%= config.bin %> <%= command.id %> capture --check',
  ],
  takesMany: true,
  args: {
    path: Args.string({
      description: 'files, folders or URLs; `-` is standard input',
    }),
  },
  flags: {
    ...logFlags,
    config: configFlags.config,
    'no-config': configFlags['no-config'],
    diff: Flags.boolean({
      description: 'compare two checkpoints: what moved most, relative to its norm, in which layer',
      exclusive: ['list'],
      helpGroup: 'CHECKPOINTS',
    }),
    check: Flags.boolean({
      description: 'check captures: whether they are whole, follow the recorded run, and what they allow',
      exclusive: ['diff', 'list'],
      helpGroup: 'CAPTURES',
    }),
    tokens: Flags.string({
      description: 'show how one line of text is seen: its numbers, their names and what they are for',
      helpValue: 'LINE',
      helpGroup: 'INPUT',
    }),
    list: Flags.boolean({
      description: 'read only the headers of checkpoints: names, types and shapes, no statistics',
      helpGroup: 'CHECKPOINTS',
    }),
    ascii: Flags.boolean({ description: 'charts in ASCII', helpGroup: 'OUTPUT' }),
    verbose: Flags.boolean({ description: 'say what became of every byte', helpGroup: 'OUTPUT' }),
  },

  async run({ argv, flags }, io) {
    if (flags.tokens !== undefined) return showTokens(flags.tokens, flags.json, io);
    if (argv.length === 0)
      throw diagError('usage', { problem: 'no input was named', hint: 'clippy-diag inspect PATH' });
    if (flags.diff) return withLocalPaths(argv, flags, io, (local) => compare(local, flags.json, io));
    if (flags.check) return withLocalPaths(argv, flags, io, (local) => check(local, flags.json, io));
    const progress = shareOn(io.stderr, io.now);
    const options = readOptionsOf(flags, io, await readingByConfig(flags));
    const inspection = await withLocalPaths(argv, flags, io, async ({ paths, shown }) =>
      shown(await inspectInputs(paths, { ...options, listOnly: flags.list, onEntries: progress.tell })),
    );
    progress.end();
    const { inputs, hyperparameterFiles, trajectories, skipped, errors } = inspection;
    const empty = inputs
      .filter((input) => input.kind === 'log')
      .filter((input) => input.errors.length === 0 && input.runs.every((run) => run.series.length === 0))
      .map((input) =>
        diagError('log-no-points', { path: input.path, kept: input.kept }, { path: input.path }),
      );
    const all = [...errors, ...empty];
    if (flags.json)
      await io.printJson({
        schemaVersion: SCHEMA_VERSION,
        inputs,
        hyperparameterFiles,
        trajectories,
        skipped,
        errors: all.map((error) => error.toRecord()),
      });
    else {
      const options = terminalOptions(io.stdout, io.env, flags.ascii);
      const text = inspectText(inspection, { ...options, verbose: flags.verbose });
      if (text !== '') await io.print(text);
    }
    for (const input of inputs) for (const record of input.errors) await io.remark(formatErrorRecord(record));
    for (const error of all) await io.remark(formatError(error));
    return [
      ...all.map((error) => error.exitCode),
      ...inputs.flatMap((input) => input.errors.map((record) => ERROR_TEXTS[record.id].exitCode)),
      ...inputs.map((input) => (input.kind !== 'checkpoint' && input.lost > 0 ? EXIT.input : EXIT.done)),
    ].reduce(worstExitCode, EXIT.done);
  },
});

async function compare({ paths, shown }: LocalPaths, json: boolean, io: CommandIo): Promise<ExitCode> {
  const [before, after] = paths;
  if (before === undefined || after === undefined || paths.length > 2)
    throw diagError('usage', {
      problem: `--diff compares two checkpoints, ${paths.length} were named`,
      hint: 'clippy-diag inspect BEFORE AFTER --diff',
    });
  const { diffCheckpoints } = await import('../engine/checkpoint-diff.ts');
  const diff = shown(await diffCheckpoints(before, after));
  if (json) await io.printJson({ schemaVersion: SCHEMA_VERSION, diff });
  else await io.print(diffText(diff).join('\n'));
  return EXIT.done;
}

/** Says what each capture allows; 1 where something is not as it should be. */
async function check({ paths, shown }: LocalPaths, json: boolean, io: CommandIo): Promise<ExitCode> {
  const { checkCapture } = await import('../engine/check-capture.ts');
  const captures = [];
  for (const path of paths) captures.push(shown({ path, checks: await checkCapture(path) }));
  if (json) await io.printJson({ schemaVersion: SCHEMA_VERSION, captures });
  else
    for (const { path, checks } of captures) {
      const rows = checks.map(({ ok, id, message }) => [ok === null ? '·' : ok ? '✓' : '✗', id, message]);
      await io.print(
        [inertName(path), ...rows.map((row) => `  ${row.map(inertName).join('  ')}`)].join('\n'),
      );
    }
  return captures.some(({ checks }) => checks.some(({ ok }) => ok === false)) ? EXIT.gateFailed : EXIT.done;
}

/** How a line of text is seen, one piece a row. */
async function showTokens(line: string, json: boolean, io: CommandIo): Promise<ExitCode> {
  const { tokensOf } = await import('../engine/teach.ts');
  const tokens = tokensOf(line);
  if (json) await io.printJson({ schemaVersion: SCHEMA_VERSION, tokens });
  else
    await io.print(
      tokens
        .map(({ kind, text, at, name, use }) =>
          [
            kind.padEnd(8),
            at === undefined ? '   ' : `#${at}`.padEnd(3),
            inertName(text),
            name === undefined || name === '' ? '' : `"${inertName(name)}"`,
            use ?? '',
          ]
            .join('  ')
            .trimEnd(),
        )
        .join('\n'),
    );
  return tokens.some(({ at }) => at !== undefined) ? EXIT.done : EXIT.inconclusive;
}
