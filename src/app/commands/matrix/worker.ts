import { availableParallelism } from 'node:os';
import * as Flags from '@oclif/core/flags';
import { EXIT, type ExitCode } from '../../../model/errors.ts';
import { countedPlain } from '../../../model/format-number.ts';
import { SCHEMA_VERSION } from '../../../model/report.ts';
import { command } from '../../cli/command.ts';
import { durationFlag } from '../../cli/duration.ts';
import { queueIo } from '../../cli/run-study.ts';
import { toolVersion } from '../../cli/tool-version.ts';

/** Milliseconds between two looks at whether to end. */
const LOOK_MS = 250;

export default command({
  summary: 'Train cells of studies for `matrix STUDY.yaml --queue`, on this machine.',
  description:
    'Takes cells from the queue, whichever study they are of, until it is interrupted; then it ends what it trains. A worker that dies loses nothing but time: its cells go to others after 20 seconds. It needs neither the study nor its data, which come through Redis, and has to be of the version of the coordinator.',
  examples: [
    '<%= config.bin %> <%= command.id %> --queue redis://redis.example:6379',
    '<%= config.bin %> <%= command.id %> --queue redis://redis.example:6379 --workers 8 --idle-exit 10m',
  ],
  args: {},
  flags: {
    queue: Flags.string({ description: 'the Redis', helpValue: 'URL', required: true }),
    workers: Flags.integer({
      helpValue: 'N',
      description: 'threads (default: one a processor)',
      min: 1,
      max: 1024,
    }),
    'idle-exit': durationFlag({ description: 'end once there was no cell for so long', min: 1 }),
  },

  async run({ flags }, io) {
    const { startWorker } = await import('../../../experiment/study/queue.ts');
    const worker = await startWorker({
      ...queueIo(io),
      url: flags.queue,
      version: toolVersion(),
      threads: flags.workers ?? availableParallelism(),
    });
    let ended: ExitCode | undefined;
    const stop = io.onEnd((code) => {
      ended = code;
    });
    let before = worker.counts();
    for (let busy = io.now(); ended === undefined; ) {
      await queueIo(io).sleep(LOOK_MS);
      const counts = worker.counts();
      if (counts.working > 0 || counts.trained > before.trained) busy = io.now();
      before = counts;
      const idle = flags['idle-exit'];
      if (idle !== undefined && io.now() - busy >= 1000 * idle) break;
    }
    await worker.stop();
    stop();
    const { trained } = worker.counts();
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, trained });
    else await io.print(`${countedPlain(trained, 'cell')} trained`);
    return ended ?? EXIT.done;
  },
});
