import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { EXIT } from '../../../model/errors.ts';
import { STUDY_FORMATS, studyDocument } from '../../../report/study-formats.ts';
import { renderStudy } from '../../../report/study-text.ts';
import { command } from '../../cli/command.ts';
import { documentFlag, documentTargets, writeDocuments } from '../../cli/document-files.ts';
import { terminalOptions } from '../../cli/terminal-options.ts';

export default command({
  summary: 'Join what the shards of a study wrote.',
  description:
    'Each file is what `clippy-diag matrix STUDY.yaml --shard i/n` wrote. A cell in several files counts once; if cells are missing, the exit code is 4.',
  takesMany: true,
  examples: ['<%= config.bin %> <%= command.id %> shard-1.json shard-2.json --report html:study.html'],
  args: { file: Args.string({ required: true, description: 'what the shards wrote' }) },
  flags: {
    report: documentFlag(STUDY_FORMATS),
    ascii: Flags.boolean({ description: 'draw with ASCII characters only' }),
  },

  async run({ argv, flags }, io) {
    const { targets, refused } = await documentTargets(flags.report ?? [], STUDY_FORMATS, 'study', argv, io);
    const { mergeShards } = await import('../../../experiment/study/merge.ts');
    const result = await mergeShards(argv);
    if (refused !== null) throw refused;
    await writeDocuments(result, STUDY_FORMATS, targets, io);
    if (flags.json) await io.printJson(studyDocument(result));
    else await io.print(renderStudy(result, terminalOptions(io.stdout, io.env, flags.ascii)));
    return EXIT.done;
  },
});
