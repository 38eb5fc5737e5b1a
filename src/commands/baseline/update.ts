import { Args, Flags } from '@oclif/core';
import { checkWritable, writeFileAtomic } from '../../bytes/atomic-write.ts';
import { DiagCommand } from '../../cli/base-command.ts';
import { configOf, gateFlags } from '../../cli/gate-flags.ts';
import { logFlags, readOptionsOf } from '../../cli/shared-flags.ts';
import { type Baseline, formatBaseline, readBaseline, updateBaseline } from '../../gate/baseline.ts';
import { readGateEvidence } from '../../gate/evidence.ts';
import { DiagError } from '../../model/errors.ts';
import { inertName } from '../../model/inert-text.ts';

export const DEFAULT_BASELINE = '.clippy-diag-baseline.json';

export default class BaselineUpdate extends DiagCommand {
  static override summary = 'Write the values of these runs into the baseline that the gate compares with.';
  static override description =
    'The file is the one that the config names, else .clippy-diag-baseline.json; commit it. Values that are better ' +
    'than the new ones stay (the ratchet), unless --no-ratchet or `ratchet: false` lets them go.';
  static override strict = false;
  static override examples = ['<%= config.bin %> <%= command.id %> runs/'];
  static override args = {
    path: Args.string({ required: true, ignoreStdin: true, description: 'logs, folders or saved reports' }),
  };
  static override flags = {
    config: gateFlags.config,
    'no-config': gateFlags['no-config'],
    ...logFlags,
    file: Flags.string({ description: 'the baseline file', helpValue: 'FILE' }),
    ratchet: Flags.boolean({ description: 'keep values that are better than the new ones', allowNo: true }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(BaselineUpdate);
    const settings = flags['no-config'] ? null : (await configOf(flags)).baseline;
    const file = flags.file ?? settings?.file ?? DEFAULT_BASELINE;
    await checkWritable(file);
    const { report } = await readGateEvidence(argv as string[], {
      ...readOptionsOf(flags),
      toolVersion: this.config.version,
      now: () => new Date(),
    });
    const damaged = report.inputs.find((input) => (input.errors?.length ?? 0) > 0 || (input.lost ?? 0) > 0);
    // A baseline of half a log would let every later run pass.
    if (damaged !== undefined || report.warnings.length > 0) {
      this.exitWith(3);
      await this.remark(
        `the baseline was not written: ${inertName(damaged?.path ?? report.warnings[0]!.message)} is damaged`,
      );
      return;
    }
    const previous: Baseline | null = await readBaseline(file).catch((error: unknown) => {
      if (error instanceof DiagError && error.code === 'baseline-missing') return null;
      throw error;
    });
    const next = updateBaseline(report, previous, flags.ratchet ?? settings?.ratchet ?? true);
    await writeFileAtomic(file, formatBaseline(next));
    if (flags.json) await this.printJson({ file, baseline: next });
    else
      await this.print(`${inertName(file)}: ${next.runs.length} runs, ${report.runs.length} of them updated`);
  }
}
