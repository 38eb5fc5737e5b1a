/** Turns whatever a command throws into a message, one JSON document where asked for, and the exit code. */
import { CLIError } from '@oclif/core/errors';
import { DiagError, diagError, EXIT, type ExitCode, tooManyOpenFiles } from '../../model/errors.ts';
import { didYouMean, nearest } from '../../model/nearest.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import type { Commands } from './command.ts';
import type { ErrorDocument } from './documents.ts';
import { formatBug, formatError } from './error-text.ts';
import type { Output } from './output.ts';
import { REPORT_FLAG, reportFormats } from './report-files.ts';

export async function tellError(
  error: unknown,
  argv: readonly string[],
  output: Output,
  commands: Commands,
): Promise<ExitCode> {
  const print = async (document: ErrorDocument): Promise<void> => {
    if (argv.includes('--json')) await output.printJson(document);
  };
  const known =
    error instanceof DiagError ? error : (tooManyOpenFiles(error) ?? (await usageError(error, commands)));
  if (known === undefined) {
    await print({ schemaVersion: SCHEMA_VERSION, error: { id: 'bug', message: String(error) } });
    await output.remark(formatBug(error));
    return EXIT.bug;
  }
  await print({ schemaVersion: SCHEMA_VERSION, error: known.toRecord() });
  if (known.exitCode === EXIT.output) await output.unwritten(known);
  else await output.remark(formatError(known));
  return known.exitCode;
}

/** oclif's own complaints about flags and arguments, as one of ours. */
async function usageError(error: unknown, commands: Commands): Promise<DiagError | undefined> {
  if (error instanceof CLIError || (error as { parse?: unknown } | null)?.parse !== undefined) {
    const message = (error as Error).message;
    // oclif's note on flags that swallow arguments does not hold here: they take one value each.
    const [problem = message] = message.split(/\n(?:See more help|Note: )/);
    return diagError(
      'usage',
      {
        problem: problem.trim(),
        hint: `${await meantBy(error as ParseError, commands)}see \`clippy-diag --help\`, or --help of the command`,
      },
      undefined,
      error,
    );
  }
  return undefined;
}

/** What oclif's errors of parsing have besides their message. */
interface ParseError {
  readonly message: string;
  /** Flags that the command does not have. */
  readonly flags?: readonly string[];
  readonly parse?: { readonly input?: { readonly flags?: Readonly<Record<string, unknown>> } };
}

/** The flag or the value that was probably meant. */
async function meantBy({ message, flags, parse }: ParseError, commands: Commands): Promise<string> {
  const [unknown] = flags ?? [];
  if (unknown !== undefined) return flagMeant(unknown, Object.keys(parse?.input?.flags ?? {}), commands);
  const [, value, options] = /^Expected (?:--[\w-]+=)?(.*) to be one of: (.*)$/m.exec(message) ?? [];
  return value === undefined || options === undefined ? '' : didYouMean(value, options.split(', '));
}

/** Flags of other programs that write a file. */
const OUTPUT_FLAGS = ['output', 'out', 'o'];

/** A report, another flag of the command, or a flag of other commands. */
async function flagMeant(typed: string, known: readonly string[], commands: Commands): Promise<string> {
  const name = typed.replace(/^-+/, '').replace(/=.*$/s, '');
  if (known.includes(REPORT_FLAG)) {
    const isFormat = Object.hasOwn(await reportFormats(), name);
    if (isFormat || OUTPUT_FLAGS.includes(name))
      return `--${REPORT_FLAG} ${isFormat ? name : 'FORMAT'}:FILE writes a report; `;
  }
  const slip = nearest(name, known);
  if (slip !== '') return `did you mean --${slip}? `;
  const owners = await Promise.all(
    Object.entries(commands).map(async ([id, load]) =>
      Object.hasOwn((await load()).default.flags, name) ? [id.replace(':', ' ')] : [],
    ),
  );
  return owners.flat().length === 0 ? '' : `--${name} is a flag of ${owners.flat().join(', ')}; `;
}
