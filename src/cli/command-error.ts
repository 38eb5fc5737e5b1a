/** Turns whatever a command throws into a message, one JSON document where asked for, and the exit code. */
import { CLIError } from '@oclif/core/errors';
import { DiagError, diagError, EXIT, type ExitCode, tooManyOpenFiles } from '../model/errors.ts';
import { didYouMean } from '../model/nearest.ts';
import { SCHEMA_VERSION } from '../model/report.ts';
import type { ErrorDocument } from './documents.ts';
import { formatBug, formatError } from './error-text.ts';
import type { Output } from './output.ts';

export async function tellError(error: unknown, argv: readonly string[], output: Output): Promise<ExitCode> {
  const print = async (document: ErrorDocument): Promise<void> => {
    if (argv.includes('--json')) await output.printJson(document);
  };
  const known = error instanceof DiagError ? error : (tooManyOpenFiles(error) ?? usageError(error));
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
function usageError(error: unknown): DiagError | undefined {
  if (error instanceof CLIError || (error as { parse?: unknown } | null)?.parse !== undefined) {
    const message = (error as Error).message;
    // oclif's note on flags that swallow arguments does not hold here: they take one value each.
    const [problem = message] = message.split(/\n(?:See more help|Note: )/);
    return diagError(
      'usage',
      {
        problem: problem.trim(),
        hint: `${meantBy(error as ParseError)}see \`clippy-diag --help\`, or --help of the command`,
      },
      undefined,
      error,
    );
  }
  return undefined;
}

/** What oclif's errors of parsing have beside their message. */
interface ParseError {
  readonly message: string;
  /** Flags that the command does not have. */
  readonly flags?: readonly string[];
  readonly parse?: { readonly input?: { readonly flags?: Readonly<Record<string, unknown>> } };
}

/** The flag or the value that was probably meant. */
function meantBy({ message, flags, parse }: ParseError): string {
  const [unknown] = flags ?? [];
  if (unknown !== undefined)
    return didYouMean(
      unknown,
      Object.keys(parse?.input?.flags ?? {}).map((name) => `--${name}`),
    );
  const [, value, options] = /^Expected (?:--[\w-]+=)?(.*) to be one of: (.*)$/m.exec(message) ?? [];
  return value === undefined || options === undefined ? '' : didYouMean(value, options.split(', '));
}
