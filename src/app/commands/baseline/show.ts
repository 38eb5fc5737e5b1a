import * as Flags from '@oclif/core/flags';
import { EXIT } from '../../../model/errors.ts';
import { inertName } from '../../../model/inert-text.ts';
import { SCHEMA_VERSION } from '../../../model/report.ts';
import { command } from '../../cli/command.ts';
import { configFlags, configOf } from '../../cli/gate-flags.ts';
import { readBaseline } from '../../gate/baseline-file.ts';
import { DEFAULT_BASELINE } from './update.ts';

export default command({
  summary: 'Show the values that the gate compares with.',
  examples: ['<%= config.bin %> <%= command.id %>'],
  args: {},
  flags: {
    config: configFlags.config,
    'no-config': configFlags['no-config'],
    file: Flags.string({ description: 'the baseline file', helpValue: 'FILE' }),
  },

  async run({ flags }, io) {
    const settings = flags['no-config'] ? null : (await configOf(flags)).baseline;
    const file = flags.file ?? settings?.file ?? DEFAULT_BASELINE;
    const baseline = await readBaseline(file);
    if (flags.json) {
      await io.printJson({ schemaVersion: SCHEMA_VERSION, file, baseline });
      return EXIT.done;
    }
    const lines = baseline.runs.flatMap((run) => [
      `${inertName(run.id)}: ${run.class}`,
      ...run.values.map(
        ({ statistic, series, value, step, better }) =>
          `  ${statistic}(${inertName(series)}) = ${value}${step === null ? '' : ` at step ${step}`}, ${better} is better`,
      ),
    ]);
    await io.print(lines.length === 0 ? 'the baseline has no runs' : lines.join('\n'));
    return EXIT.done;
  },
});
