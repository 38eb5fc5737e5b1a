import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { EXIT } from '../../model/errors.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { renderResume } from '../../report/resume-text.ts';
import { command } from '../cli/command.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { toolVersion } from '../cli/tool-version.ts';
import { resumeOf } from '../engine/resume.ts';

export default command({
  summary: 'Say whether a training may be resumed from a checkpoint.',
  description:
    'Looks at the files of a checkpoint: whole, of one step, finite, with the state of this model’s optimizer, scheduler, loss scaler, random state and position in the data. What another checkpoint or the log of the run shows and this one lacks is a fault. Names the newest checkpoint that passes. Exit code 1: do not resume.',
  examples: [
    '<%= config.bin %> <%= command.id %> checkpoint.pt',
    '<%= config.bin %> <%= command.id %> checkpoint.pt --json',
  ],
  args: {
    checkpoint: Args.string({
      required: true,
      description: 'a checkpoint (a file or a folder), or a folder of several: the newest is judged',
    }),
  },
  flags: {
    ...offlineFlag,
    log: Flags.string({ helpGroup: 'INPUT', helpValue: 'LOG', description: 'the log of the run' }),
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const named = [args.checkpoint!, ...(flags.log === undefined ? [] : [flags.log])];
    const making = { toolVersion: toolVersion(), now: () => new Date() };
    const resume = await withLocalPaths(named, flags, io, async ({ paths: [checkpoint, log], shown }) =>
      shown(await resumeOf(checkpoint!, { log, ...making })),
    );
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, resume });
    else await io.print(renderResume(resume, terminalOptions(io.stdout, io.env, flags.ascii)));
    return resume.ok === null ? EXIT.inconclusive : resume.ok ? EXIT.done : EXIT.gateFailed;
  },
});
