import { join } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { writeFileAtomic } from '../bytes/atomic-write.ts';
import { makeFolder } from '../bytes/folder.ts';
import { kindOfPath } from '../bytes/source.ts';
import { command } from '../cli/command.ts';
import { type Framework, RECORDERS, recorderFiles, STARTER_CONFIG } from '../engine/starter-files.ts';
import { CONFIG_PLACES } from '../gate/config-file.ts';
import { diagError, EXIT } from '../model/errors.ts';
import { SCHEMA_VERSION } from '../model/report.ts';

export default command({
  summary: 'Write a commented config, or the recorder for your framework.',
  description: 'Files that are there already are kept; --force replaces them.',
  examples: [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --framework pytorch --dir train/',
  ],
  args: {},
  flags: {
    framework: Flags.option({
      description: 'write the recorder of this framework instead, and print how to use it',
      options: Object.keys(RECORDERS) as Framework[],
    })(),
    dir: Flags.string({ description: 'the folder to write into', default: '.', helpValue: 'FOLDER' }),
    force: Flags.boolean({ description: 'replace files that are there' }),
  },

  async run({ flags }, io) {
    const files =
      flags.framework === undefined
        ? [{ name: CONFIG_PLACES[0], text: STARTER_CONFIG }]
        : recorderFiles(flags.framework);
    const targets = files.map(({ name, text }) => ({ path: join(flags.dir, name), text }));
    // All or none: half a recorder imports what is not there.
    for (const { path } of targets)
      if (!flags.force && (await kindOfPath(path)) !== 'missing')
        throw diagError('file-exists', { path }, { path });
    await makeFolder(flags.dir);
    for (const { path, text } of targets) await writeFileAtomic(path, text);
    const paths = targets.map(({ path }) => path);
    if (flags.json) {
      await io.printJson({ schemaVersion: SCHEMA_VERSION, written: paths });
      return EXIT.done;
    }
    const next =
      flags.framework === undefined
        ? 'clippy-diag gate PATH judges logs by it.'
        : RECORDERS[flags.framework].instructions;
    await io.print(`wrote ${paths.join(', ')}\n\n${next}`);
    return EXIT.done;
  },
});
