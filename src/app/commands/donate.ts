import { dirname, join } from 'node:path';
import * as Flags from '@oclif/core/flags';
import type { DonatedFile } from '../../model/donation.ts';
import { diagError, EXIT } from '../../model/errors.ts';
import { inert, inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { makeFolder } from '../../read/bytes/folder.ts';
import { kindOfPath } from '../../read/bytes/source.ts';
import { openCapture } from '../../read/captures/read.ts';
import { command } from '../cli/command.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { withLocalPaths } from '../cli/remote-paths.ts';
import { logFlags, pathArgs, readOptionsOf } from '../cli/shared-flags.ts';
import { collectInputs } from '../engine/collect.ts';
import { donationOf } from '../engine/donation.ts';
import { exitCodeOfErrors } from '../engine/exit-code.ts';

/** Writes the files of a donation into a folder that is not there yet. @throws file-exists, output-unwritable */
async function writeDonation(folder: string, files: readonly DonatedFile[]): Promise<void> {
  if ((await kindOfPath(folder)) !== 'missing')
    throw diagError('file-exists', { path: folder }, { path: folder });
  for (const { path, text } of files) {
    const to = join(folder, path);
    await makeFolder(dirname(to));
    await writeFileAtomic(to, text);
  }
}

export default command({
  summary: 'Make a case for the incident bench out of a run, without names, text, tensors and batches.',
  description:
    'Prints every file that it would write; --out writes them. Nothing is sent: giving the folder to somebody is up to you. Kept are the numbers of series whose meaning is known, under neutral names and with steps from 0 on, and the shapes, rates and losses of captures.',
  examples: [
    '<%= config.bin %> <%= command.id %> runs/a',
    '<%= config.bin %> <%= command.id %> runs/a --out donation',
  ],
  takesMany: true,
  args: pathArgs,
  flags: {
    ...logFlags,
    out: Flags.string({ description: 'write the files into this new folder', helpValue: 'FOLDER' }),
  },

  async run({ argv, flags }, io) {
    const { files, left, damage } = await withLocalPaths(argv, flags, io, async ({ paths, shown }) => {
      const { logs, captures, errors } = await collectInputs(paths, readOptionsOf(flags, io));
      const runs = logs.flatMap((log) => log.runs);
      const [unread] = errors;
      if (unread !== undefined && runs.length === 0) throw unread;
      const opened = await Promise.all(captures.map((path) => openCapture(path)));
      const manifests = opened.map(({ manifest }) => manifest);
      const lost = [...errors.map((error) => error.toRecord()), ...logs.flatMap((log) => log.errors)];
      return { ...donationOf(runs, manifests), damage: shown(lost) };
    });
    for (const error of damage) await io.remark(formatErrorRecord(error));
    const code = damage.length > 0 ? exitCodeOfErrors(damage) : EXIT.done;
    if (flags.out !== undefined) await writeDonation(flags.out, files);
    const written = flags.out ?? null;
    if (flags.json) {
      await io.printJson({ schemaVersion: SCHEMA_VERSION, files, left, written });
      return code;
    }
    const kept = `${left.series} series of unknown meaning, ${left.hyperparameters} settings and ${left.tensors} tensors stay out.`;
    const end =
      written === null
        ? `Nothing was written; --out FOLDER writes these files. Nothing is ever sent.`
        : `Written to ${inertName(written)}. Nothing was sent.`;
    await io.print(
      [...files.map(({ path, text }) => `== ${path}\n${inert(text.trimEnd())}`), `${kept}\n${end}`].join(
        '\n\n',
      ),
    );
    return code;
  },
});
