/**
 * What every command shares: `--json`, exit codes, the printing of errors, checked output. Commands stay thin: they
 * parse flags, call the library and print.
 */
import { Command, Errors, Flags } from '@oclif/core';
import { DiagError, diagError, EXIT, type ExitCode, worstExitCode } from '../model/errors.ts';
import { toJson } from '../model/json.ts';
import { SCHEMA_VERSION } from '../model/report.ts';
import { formatBug, formatError } from './error-text.ts';
import { ownOutputErrors, writeErr, writeOut } from './output.ts';

ownOutputErrors();

export abstract class DiagCommand extends Command {
  static override baseFlags = {
    json: Flags.boolean({
      description: 'print one JSON document to standard output instead of text',
      helpGroup: 'GLOBAL',
    }),
  };

  /** Prints text to standard output; the promise settles when the bytes are written. */
  protected print(text: string): Promise<void> {
    return writeOut(text.endsWith('\n') ? text : `${text}\n`);
  }

  /** Prints the one JSON document of `--json`. */
  protected printJson(document: unknown): Promise<void> {
    return writeOut(`${toJson(document)}\n`);
  }

  /** A quiet remark beside the report, on standard error. */
  protected remark(text: string): Promise<void> {
    return writeErr(`${text}\n`);
  }

  /** Sets the exit code; the worst of several calls wins, errors outrank verdicts. */
  protected exitWith(code: ExitCode): void {
    process.exitCode = worstExitCode((process.exitCode as ExitCode | undefined) ?? EXIT.done, code);
  }

  /** Turns whatever a command throws into a message, one JSON document where asked for, and the exit code. */
  override async catch(error: unknown): Promise<void> {
    const wanted = this.argv.includes('--json');
    const known = error instanceof DiagError ? error : usageError(error);
    if (known === undefined) {
      this.exitWith(EXIT.bug);
      if (wanted)
        await this.printJson({ schemaVersion: SCHEMA_VERSION, error: { id: 'bug', message: String(error) } });
      await writeErr(formatBug(error));
      return;
    }
    this.exitWith(known.exitCode);
    // Where standard output is what failed, there is no second document and no second error.
    if (wanted && known.code !== 'output-unwritable')
      await this.printJson({ schemaVersion: SCHEMA_VERSION, error: known.toRecord() });
    await writeErr(formatError(known));
  }
}

/** oclif's own complaints about flags and arguments, as one of ours. */
function usageError(error: unknown): DiagError | undefined {
  if (error instanceof Errors.CLIError || (error as { parse?: unknown } | null)?.parse !== undefined) {
    const message = (error as Error).message;
    // oclif's note on flags that swallow arguments does not hold here: they take one value each.
    const [problem = message] = message.split(/\n+(?:See more help|Note: )/);
    return diagError(
      'usage',
      { problem: problem.trim(), hint: 'see `clippy-diag --help`, or --help of the command' },
      undefined,
      error,
    );
  }
  return undefined;
}
