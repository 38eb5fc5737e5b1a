import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BACKENDS } from '../../differentiate/autodiff/backend-names.ts';
import { preflightCapture } from '../../experiment/measure/preflight.ts';
import { diagError, EXIT, type ExitCode } from '../../model/errors.ts';
import type { Preflight } from '../../model/preflight.ts';
import { SCHEMA_VERSION } from '../../model/report.ts';
import { openCapture } from '../../read/captures/read.ts';
import { renderPreflight } from '../../report/preflight-text.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { DEFAULT_RULES } from '../../step/rules/registry.ts';
import { command } from '../cli/command.ts';
import { formatErrorRecord } from '../cli/error-text.ts';
import { limitsOf, modelLimitFlags } from '../cli/model-limits.ts';
import { offlineFlag, withLocalPaths } from '../cli/remote-paths.ts';
import { terminalOptions } from '../cli/terminal-options.ts';

export default command({
  summary: 'Find the largest learning rate at which the training of a capture is stable.',
  description:
    'From the first recorded state, on copies: quiet steps, then twelve steps at each of a row of doubling rates, on the recorded batches before an incident. Needs a capture with batches and a model that can be differentiated here. In Python clippy_diag.preflight does the same before a run, in your own model.',
  examples: [
    '<%= config.bin %> <%= command.id %> fixtures/incident/capture --rate 0.05',
    '<%= config.bin %> <%= command.id %> fixtures/incident/capture --rate 0.02 --json',
  ],
  args: {
    capture: Args.string({ required: true, description: 'folder of a capture' }),
  },
  flags: {
    ...offlineFlag,
    model: Flags.string({
      helpGroup: 'INPUT',
      description: 'model file, instead of the one that the capture names',
      helpValue: 'FILE',
    }),
    rate: Flags.string({
      helpGroup: 'QUESTION',
      description: 'learning rate that is asked about; default that of the first recorded step',
      helpValue: 'X',
    }),
    rule: Flags.string({
      helpGroup: 'QUESTION',
      description: `rule to try where the rate is not well within; may be repeated (default: ${DEFAULT_RULES.join(' ')})`,
      helpValue: 'RULE',
      multiple: true,
      multipleNonGreedy: true,
    }),
    seconds: Flags.string({
      helpGroup: 'QUESTION',
      description: 'time after which no further rate is tried',
      helpValue: 'SECONDS',
      default: '60',
    }),
    backend: Flags.option({
      helpGroup: 'SOLVER',
      options: BACKENDS,
      description: 'default: the fastest that loads',
    })(),
    ...modelLimitFlags('SOLVER'),
    ascii: Flags.boolean({ helpGroup: 'OUTPUT', description: 'draw with ASCII characters only' }),
  },

  async run({ args, flags }, io) {
    const rate = flags.rate === undefined ? undefined : positive('rate', flags.rate, '0.1');
    const seconds = positive('seconds', flags.seconds, '60');
    const rules = (flags.rule ?? DEFAULT_RULES).flatMap(parseRule).filter(({ label }) => label !== 'none');
    const options = {
      seconds,
      rules,
      clock: io.now,
      limits: limitsOf(flags),
      ...(rate === undefined ? {} : { rate }),
      ...(flags.model === undefined ? {} : { model: flags.model }),
      ...(flags.backend === undefined ? {} : { backend: flags.backend }),
    };
    const { preflight, errors } = await withLocalPaths(
      [args.capture],
      flags,
      io,
      async ({ paths: [path], shown }) => {
        const capture = await openCapture(path!);
        return shown({ preflight: await preflightCapture(capture, options), errors: capture.errors });
      },
    );
    if (flags.json) await io.printJson({ schemaVersion: SCHEMA_VERSION, preflight });
    else await io.print(renderPreflight(preflight, terminalOptions(io.stdout, io.env, flags.ascii)));
    for (const error of errors) await io.remark(formatErrorRecord(error));
    return errors.length > 0 ? EXIT.input : codeOf(preflight);
  },
});

/** @throws usage for what is no positive number */
function positive(flag: string, text: string, example: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw diagError('usage', { problem: `--${flag} ${text} is not above 0`, hint: `e.g. ${example}` });
}

/** 0 well within, 1 above, 4 where it is near or nothing can be said. */
function codeOf({ verdict }: Preflight): ExitCode {
  if (verdict === 'well-within') return EXIT.done;
  return verdict === 'above' ? EXIT.gateFailed : EXIT.inconclusive;
}
