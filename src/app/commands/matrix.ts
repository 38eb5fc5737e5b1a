import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { diagError, EXIT } from '../../model/errors.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { kindOfPath } from '../../read/bytes/source.ts';
import { openCapture } from '../../read/captures/read.ts';
import { renderMatrix } from '../../report/matrix-text.ts';
import { STUDY_FORMATS } from '../../report/study-formats.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { DEFAULT_RULES } from '../../step/rules/registry.ts';
import { command } from '../cli/command.ts';
import { documentFlag } from '../cli/document-files.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { offlineFlag, refuseUrls, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { multipliersOf, ruleFlag, trainingFlags, trainingOptions } from '../cli/training-flags.ts';

const MULTIPLIERS = '0.25,0.5,1,2,4';
const SEEDS = 3;

const OF_CAPTURES = [
  'rule',
  'learning-rate-multiplier',
  'seeds',
  'steps',
  'model',
  'backend',
  'model-seconds',
  'model-memory',
  'verbose',
] as const;
const OF_STUDIES = ['workers', 'shard', 'queue', 'max-time', 'yes', 'report'] as const;

/** @throws usage for a flag that means nothing here */
function refuse(flags: Readonly<Record<string, unknown>>, names: readonly string[], why: string): void {
  const given = names.find((name) => flags[name] !== undefined && flags[name] !== false);
  if (given !== undefined) throw diagError('usage', { problem: `--${given} has no use here`, hint: why });
}

export default command({
  summary: 'Train learning rate × clipping rule × seed: which cells diverge, from a capture or from scratch.',
  description:
    'A study (a YAML file, docs/matrix.md) trains models from scratch, in time order, and says how good each cell is on rows that it was not trained on. From a capture, each cell trains on from the initial state of the capture with gradients computed anew, which needs its model and its batches. Seed 0 takes the batches in the recorded order, every other in an order of its own within the stretches before, in and after the incident. A cell diverges where the median of its last ten losses is out of the band of the losses before the incident: the recorded one, or its own where none was recorded; in the band, but above what such medians reach by chance, it is hurt.',
  examples: [
    '<%= config.bin %> <%= command.id %> capture',
    '<%= config.bin %> <%= command.id %> capture --rule none --rule clippy:paper --learning-rate-multiplier 0.5,1,2,4,8 --seeds 5',
    '<%= config.bin %> <%= command.id %> study.yaml --resume study.jsonl --report html:study.html',
    '<%= config.bin %> <%= command.id %> study.yaml --resume study.jsonl --queue redis://redis.example:6379',
  ],
  args: {
    input: Args.string({ required: true, description: 'a study, or a folder with capture.json' }),
  },
  flags: {
    rule: ruleFlag,
    'learning-rate-multiplier': Flags.string({
      helpGroup: 'GRID',
      description: `the columns: so many times the recorded learning rate, with commas (default: ${MULTIPLIERS})`,
      helpValue: 'N,…',
    }),
    seeds: Flags.integer({
      helpValue: 'N',
      helpGroup: 'GRID',
      description: `orders of the batches in each cell (default: ${SEEDS})`,
      min: 1,
    }),
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
    verbose: Flags.boolean({
      helpGroup: 'OUTPUT',
      description: 'say too how well the training here follows the recorded one',
    }),
    ...trainingFlags,
    ...offlineFlag,
    workers: Flags.integer({
      helpValue: 'N',
      description: 'threads (default: one a processor, where the cells are enough)',
      min: 1,
      max: 1024,
      helpGroup: 'STUDY',
    }),
    shard: Flags.string({
      description: 'train the i-th of n parts, for `matrix merge`',
      helpValue: 'i/n',
      helpGroup: 'STUDY',
    }),
    queue: Flags.string({
      description: 'have the cells trained by `matrix worker` on other machines, through this Redis',
      helpValue: 'URL',
      helpGroup: 'STUDY',
    }),
    'max-time': Flags.integer({
      description: 'minutes after which no cell begins',
      helpValue: 'MINUTES',
      min: 1,
      helpGroup: 'STUDY',
    }),
    yes: Flags.boolean({ description: 'train more than 100,000 cells', helpGroup: 'STUDY' }),
    report: documentFlag(STUDY_FORMATS, 'STUDY'),
  },

  async run({ args, flags }, io) {
    if (/\.(ya?ml|json)$/i.test(args.input) && (await kindOfPath(args.input)) !== 'folder') {
      refuse(flags, OF_CAPTURES, 'the study says that itself');
      refuseUrls([args.input], 'a study names its data by paths relative to its file');
      const { runStudyCommand } = await import('../cli/run-study.ts');
      return runStudyCommand(args.input, flags, io);
    }
    refuse(flags, OF_STUDIES, 'it is for a study, and this is a capture');
    const rules = (flags.rule ?? DEFAULT_RULES).flatMap(parseRule);
    const multipliers = multipliersOf(flags['learning-rate-multiplier'] ?? MULTIPLIERS);
    const { matrix, errors } = await withLocalPaths([args.input], flags, io, async ({ paths, shown }) => {
      const capture = await openCapture(paths[0]!);
      const { runMatrix } = await import('../../experiment/measure/closed-loop.ts');
      const { onKernels } = await import('../../experiment/study/kernel-objective.ts');
      const trained = await runMatrix(capture, {
        ...trainingOptions(rules, multipliers, flags, io),
        seeds: Array.from({ length: flags.seeds ?? SEEDS }, (_, seed) => seed),
        faster: onKernels,
      });
      return shown({ matrix: trained, errors: capture.errors });
    });
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, matrix, errors });
    else {
      const options = terminalOptions(io.stdout, io.env, flags.ascii);
      await io.print(renderMatrix(matrix, { ...options, verbose: flags.verbose }));
    }
    for (const error of errors) await io.remark(formatErrorRecord(error));
    if (errors.length > 0) return EXIT.input;
    const known = matrix.baseline.follows && matrix.cells.every(({ diverged }) => diverged !== null);
    return known ? EXIT.done : EXIT.inconclusive;
  },
});
