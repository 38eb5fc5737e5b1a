import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { auditCapture } from '../../experiment/audit/audit.ts';
import { type Audit, brokenLinks } from '../../model/audit.ts';
import { diagError, type ErrorRecord, EXIT, type ExitCode } from '../../model/errors.ts';
import { counted } from '../../model/format-number.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { isCapture, openCapture } from '../../read/captures/read.ts';
import { auditSummary, renderAudit } from '../../report/audit-text.ts';
import { command } from '../cli/command.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { walk } from '../engine/walk.ts';

export default command({
  summary: 'Check that every recorded training step did what its code declares.',
  description:
    'Follows recorded gradients through clipping, optimizer and weight decay, entry by entry, and compares with the recorded weights. Where they differ it tries one change at a time and names the one that explains them, with its factor. Looks at modes, batches and gradients too.',
  examples: [
    '<%= config.bin %> <%= command.id %> capture',
    '<%= config.bin %> <%= command.id %> capture --json',
  ],
  args: {
    capture: Args.string({ required: true, description: 'a capture, or a folder that holds captures' }),
  },
  flags: {
    ...offlineFlag,
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const { audits, errors } = await withLocalPaths([args.capture], flags, io, async ({ paths, shown }) =>
      shown(await auditsIn(paths[0]!)),
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
        await io.print([`${inertName(path)}: ${headline(audit)}`, renderAudit(audit, options)].join('\n'));
    }
    for (const error of errors) await io.remark(formatErrorRecord(error));
    return errors.length > 0 ? EXIT.input : codeOf(audits.map(({ audit }) => audit));
  },
});

interface Audits {
  readonly audits: readonly { readonly path: string; readonly audit: Audit }[];
  readonly errors: readonly ErrorRecord[];
}

/** Audits every capture below a path. */
async function auditsIn(path: string): Promise<Audits> {
  const audits: { readonly path: string; readonly audit: Audit }[] = [];
  const errors: ErrorRecord[] = [];
  for (const folder of await capturesIn(path)) {
    const capture = await openCapture(folder);
    errors.push(...capture.errors);
    audits.push({ path: folder, audit: await auditCapture(capture) });
  }
  return { audits, errors };
}

function headline(audit: Audit): string {
  const { length } = brokenLinks(audit);
  return length === 0 ? auditSummary(audit) : `${counted(length, 'link')} broken`;
}

/** 1 where a link is broken, 4 where nothing of the chain from gradient to weights could be checked. */
function codeOf(audits: readonly Audit[]): ExitCode {
  if (audits.some((audit) => brokenLinks(audit).length > 0)) return EXIT.gateFailed;
  const told = audits.some(({ links }) =>
    links.some(({ link, outcome }) => link === 'optimizer' && outcome === 'holds'),
  );
  return told ? EXIT.done : EXIT.inconclusive;
}

/** The capture that is named, or those below a folder. @throws capture-manifest-missing for a folder without captures */
async function capturesIn(path: string): Promise<string[]> {
  if (path.endsWith('capture.json') || (await isCapture(path))) return [path];
  const found: string[] = [];
  for await (const met of walk(path)) if (met.kind === 'capture') found.push(met.path);
  if (found.length === 0) throw diagError('capture-manifest-missing', { path, nearest: '' }, { path });
  return found;
}
