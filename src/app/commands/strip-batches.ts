import * as Args from '@oclif/core/args';
import { EXIT } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { stripBatches } from '../../read/captures/strip.ts';
import { command } from '../cli/command.ts';

export default command({
  summary: 'Take the batches out of a capture, which may hold personal data.',
  description:
    'Gradients, parameters and losses stay as they are; closed loops need the batches and are no longer possible. Keep a copy if you may want one.',
  examples: ['<%= config.bin %> <%= command.id %> capture'],
  args: { capture: Args.string({ required: true, description: 'folder of a capture, or its capture.json' }) },
  flags: {},

  async run({ args, flags }, io) {
    const { path, files, tensors, bytes } = await stripBatches(args.capture!);
    if (flags.json)
      await io.printJson({ schemaVersion: SCHEMA_VERSION, capture: path, files, tensors, bytes });
    else
      await io.print(
        files === 0
          ? `${inertName(path)} holds no batches`
          : `${inertName(path)}: ${tensors} batch tensors (${bytes} bytes) taken out of ${files} step files`,
      );
    return EXIT.done;
  },
});
