import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { type Audit, brokenLinks } from '../../model/audit.ts';
import { EXIT, type ExitCode } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { auditHeadline, renderAudit } from '../../report/audit-text.ts';
import { command } from '../cli/command.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { auditCaptures } from '../engine/audit-captures.ts';

export default command({
  summary: 'Check that every recorded training step did what its code declares.',
  description:
    'Follows recorded gradients through clipping, optimizer and weight decay, entry by entry, and compares with the recorded weights. Where they differ it tries one change at a time and names the one that explains them, with its factor. Looks at modes, batches and gradients too.',
  examples: [
    '<%= config.bin %> <%= command.id %> capture',
    '<%= config.bin %> <%= command.id %> capture --json',
  ],
  args: {
    capture: Args.string({ required: true, description: 'a capture, a ledger, or a folder that holds some' }),
  },
  flags: {
    ...offlineFlag,
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const { audits, errors } = await withLocalPaths([args.capture], flags, io, async ({ paths, shown }) =>
      shown(await auditCaptures(paths[0]!)),
    );
    const [only] = audits;
    if (flags.json)
      await io.printJson(
        audits.length === 1
          ? { schemaVersion: SCHEMA_VERSION, audit: only!.audit }
          : { schemaVersion: SCHEMA_VERSION, audits },
      );
    else {
      const options = terminalOptions(io.stdout, io.env, flags.ascii);
      for (const { path, audit } of audits)
        await io.print(
          [`${inertName(path)}: ${auditHeadline(audit)}`, renderAudit(audit, options)].join('\n'),
        );
    }
    for (const error of errors) await io.remark(formatErrorRecord(error));
    return errors.length > 0 ? EXIT.input : codeOf(audits.map(({ audit }) => audit));
  },
});

/** 1 where a link is broken, 4 where nothing of the chain from gradient to weights could be checked. */
function codeOf(audits: readonly Audit[]): ExitCode {
  if (audits.some((audit) => brokenLinks(audit).length > 0)) return EXIT.gateFailed;
  const told = audits.some(({ links }) =>
    links.some(({ link, outcome }) => link === 'optimizer' && outcome === 'holds'),
  );
  return told ? EXIT.done : EXIT.inconclusive;
}
