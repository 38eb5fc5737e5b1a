import * as Args from '@oclif/core/args';
import { diagError, EXIT } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { command } from '../cli/command.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { batchAt } from '../engine/batch-at.ts';

export default command({
  summary: 'Say which rows and files a step was trained on, from the ledger of a run.',
  description:
    'Reads the batch ids that a recorder keeps with ledger=True and batch_id=, and names other steps with the same batch. After a resume it says how many batches had come before. Exit code 4: the ledger has no such step.',
  examples: [
    '<%= config.bin %> <%= command.id %> 5 run/',
    '<%= config.bin %> <%= command.id %> 5 run/ --json',
  ],
  args: {
    step: Args.string({ required: true, description: 'number of a step, as it was recorded' }),
    run: Args.string({ required: true, description: 'a ledger, or a folder that holds one' }),
  },
  flags: offlineFlag,

  async run({ args, flags }, io) {
    const step = stepOf(args.step!);
    const batch = await withLocalPaths([args.run!], flags, io, async ({ paths: [run], shown }) =>
      shown(await batchAt(run!, step)),
    );
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, batch });
    else await io.print(inertName(batch.statement));
    return batch.recorded ? EXIT.done : EXIT.inconclusive;
  },
});

/** @throws usage */
function stepOf(text: string): number {
  // Number('') is 0 and Number('0x10') is 16: only decimal numbers are meant.
  const step = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(step))
    throw diagError('usage', {
      problem: `"${text}" is not the number of a step`,
      hint: 'clippy-diag who 5 run/',
    });
  return step;
}
