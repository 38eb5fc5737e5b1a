import { join } from 'node:path';
import * as Args from '@oclif/core/args';
import { diagError, EXIT } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { deleteFiles } from '../../read/bytes/delete-files.ts';
import { stripBatches } from '../../read/captures/strip.ts';
import { isLedger } from '../../read/ledger/read.ts';
import { command } from '../cli/command.ts';
import { refuseUrls } from '../cli/remote-paths.ts';

export default command({
  summary: 'Take the batches out of a capture, or their ids out of a ledger: they may be personal data.',
  description:
    'Gradients, parameters and losses stay as they are; closed loops need the batches and are no longer possible. Keep a copy if you may want one.',
  examples: ['<%= config.bin %> <%= command.id %> capture'],
  args: {
    capture: Args.string({
      required: true,
      description: 'folder of a capture, or its capture.json; folder of a ledger',
    }),
  },
  flags: {},

  async run({ args, flags }, io) {
    refuseUrls([args.capture], 'what lies behind a URL is not changed');
    if (await isLedger(args.capture!)) {
      const found = await deleteFiles(join(args.capture!, 'ids'), '.bin');
      if (found === null)
        throw diagError('ledger-malformed', { problem: '"ids" is a link' }, { path: args.capture! });
      const { files, bytes } = found;
      const document = { schemaVersion: SCHEMA_VERSION, capture: args.capture, files, tensors: 0, bytes };
      if (flags.json) await io.printJson(document);
      else
        await io.print(`${inertName(args.capture!)}: ${files} files of batch ids (${bytes} bytes) deleted`);
      return EXIT.done;
    }
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
