import { join } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { diagError, EXIT } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { makeFolder } from '../../read/bytes/folder.ts';
import { kindOfPath } from '../../read/bytes/source.ts';
import { command } from '../cli/command.ts';
import { FRAMEWORK_NAMES, STARTER_CONFIG, snippetOf } from '../engine/starter-files.ts';
import { CONFIG_PLACES } from '../gate/config-file.ts';

export default command({
  summary: 'Write a commented config, or print a program that records with your framework.',
  description:
    'A config that is there already is kept; --force replaces it. With --framework a program that trains something small with the recorder is printed, and nothing written: it runs as printed, and what is yours to put in is marked.',
  examples: [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --framework torch > try.py && python try.py',
  ],
  args: {},
  flags: {
    framework: Flags.option({
      description: 'print a program that records with this framework instead',
      options: FRAMEWORK_NAMES,
    })(),
    dir: Flags.string({ description: 'the folder to write into', default: '.', helpValue: 'FOLDER' }),
    force: Flags.boolean({ description: 'replace files that are there' }),
  },

  async run({ flags }, io) {
    if (flags.framework !== undefined) {
      const snippet = snippetOf(flags.framework);
      if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, written: [], snippet });
      else await io.print(snippet.trimEnd());
      return EXIT.done;
    }
    const path = join(flags.dir, CONFIG_PLACES[0]);
    if (!flags.force && (await kindOfPath(path)) !== 'missing')
      throw diagError('file-exists', { path }, { path });
    await makeFolder(flags.dir);
    await writeFileAtomic(path, STARTER_CONFIG);
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, written: [path] });
    else await io.print(`wrote ${inertName(path)}\n\nclippy-diag gate PATH judges logs by it.`);
    return EXIT.done;
  },
});
