import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { openCapture } from '../captures/read.ts';
import { command } from '../cli/command.ts';
import { terminalOptions } from '../cli/terminal-options.ts';
import { multipliersOf, ruleFlag, trainingFlags, trainingOptions } from '../cli/training-flags.ts';
import { EXIT } from '../model/errors.ts';
import { SCHEMA_VERSION } from '../model/report.ts';
import { renderMatrix } from '../reports/matrix-text.ts';
import { parseRule } from '../rules/parse.ts';
import { DEFAULT_RULES } from '../rules/registry.ts';

export default command({
  summary: 'Train learning rate × clipping rule × seed from a capture: which cells diverge.',
  description:
    'Each cell trains on from the initial state of the capture with gradients computed anew, which needs its model and its batches. Seed 0 takes the batches in the recorded order, every other in an order of its own. A cell diverges where the median of its last ten losses is out of the band of the losses before the incident: the recorded one, or its own where none was recorded.',
  examples: [
    '<%= config.bin %> <%= command.id %> capture',
    '<%= config.bin %> <%= command.id %> capture --rule none --rule clippy:paper --learning-rate-multiplier 0.5,1,2,4,8 --seeds 5',
  ],
  args: {
    capture: Args.string({ required: true, description: 'folder with capture.json' }),
  },
  flags: {
    rule: ruleFlag,
    'learning-rate-multiplier': Flags.string({
      description: 'the columns: so many times the recorded learning rate, with commas',
      helpValue: 'N,…',
      default: '0.25,0.5,1,2,4',
    }),
    seeds: Flags.integer({ description: 'orders of the batches in each cell', min: 1, default: 3 }),
    ascii: Flags.boolean({ description: 'draw with ASCII characters only' }),
    ...trainingFlags,
  },

  async run({ args, flags }, io) {
    const rules = (flags.rule ?? DEFAULT_RULES).flatMap(parseRule);
    const multipliers = multipliersOf(flags['learning-rate-multiplier']);
    const capture = await openCapture(args.capture);
    const { runMatrix } = await import('../measure/closed-loop.ts');
    const matrix = await runMatrix(capture, {
      ...trainingOptions(rules, multipliers, flags, io),
      seeds: Array.from({ length: flags.seeds }, (_, seed) => seed),
    });
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, matrix, errors: capture.errors });
    else await io.print(renderMatrix(matrix, terminalOptions(io.stdout, io.env, flags.ascii)));
    for (const error of capture.errors) await io.remark(`error[${error.id}]: ${error.message}`);
    if (capture.errors.length > 0) return EXIT.input;
    const known = matrix.baseline.follows && matrix.cells.every(({ diverged }) => diverged !== null);
    return known ? EXIT.done : EXIT.inconclusive;
  },
});
