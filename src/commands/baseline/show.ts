import { Flags } from '@oclif/core';
import { DiagCommand } from '../../cli/base-command.ts';
import { configOf, gateFlags } from '../../cli/gate-flags.ts';
import { readBaseline } from '../../gate/baseline.ts';
import { inertName } from '../../model/inert-text.ts';
import { DEFAULT_BASELINE } from './update.ts';

export default class BaselineShow extends DiagCommand {
  static override summary = 'Show the values that the gate compares with.';
  static override examples = ['<%= config.bin %> <%= command.id %>'];
  static override flags = {
    config: gateFlags.config,
    'no-config': gateFlags['no-config'],
    file: Flags.string({ description: 'the baseline file', helpValue: 'FILE' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(BaselineShow);
    const settings = flags['no-config'] ? null : (await configOf(flags)).baseline;
    const file = flags.file ?? settings?.file ?? DEFAULT_BASELINE;
    const baseline = await readBaseline(file);
    if (flags.json) {
      await this.printJson({ file, baseline });
      return;
    }
    const lines = baseline.runs.flatMap((run) => [
      `${inertName(run.id)}: ${run.class}`,
      ...run.values.map(
        ({ statistic, series, value, step, better }) =>
          `  ${statistic}(${inertName(series)}) = ${value}${step === null ? '' : ` at step ${step}`}, ${better} is better`,
      ),
    ]);
    await this.print(lines.length === 0 ? 'the baseline has no runs' : lines.join('\n'));
  }
}
