/** `--brief`: the short answer of a report, for the commands that have one. */
import * as Flags from '@oclif/core/flags';
import { type Report, SCHEMA_VERSION } from '../../model/report.ts';
import type { CommandIo } from './command.ts';

export const briefFlag = Flags.boolean({
  description: 'print the answer in at most 1 kB of plain text; with --json as a short document',
  helpGroup: 'PAGE',
});

/** Prints the short answer on standard output, as text or as JSON. */
export async function printBrief(report: Report, asJson: boolean, io: CommandIo): Promise<void> {
  // Loaded here: a gate does not wait for what writes pages.
  const { briefOf, briefText } = await import('../../report/kilobyte-brief.ts');
  const brief = briefOf(report);
  if (asJson) await io.printJson({ schemaVersion: SCHEMA_VERSION, brief });
  else await io.print(briefText(brief));
}
