/** Flags of the commands that judge by a config. */
import * as Flags from '@oclif/core/flags';
import { type GateConfig, loadGateConfig } from '../gate/config.ts';

export const gateFlags = {
  config: Flags.string({
    description: 'use this config instead of the first .clippy-diag.yaml found upward',
    helpValue: 'FILE',
    helpGroup: 'POLICY',
    exclusive: ['no-config'],
  }),
  'no-config': Flags.boolean({ description: 'look for no config', helpGroup: 'POLICY' }),
  rule: Flags.string({
    description:
      'a rule of severity error: a kind of finding, a class of verdict, or a threshold like "last(loss) <= 0.2" (may be repeated)',
    helpValue: 'RULE',
    helpGroup: 'POLICY',
    multiple: true,
    multipleNonGreedy: true,
  }),
};

/** The config that the flags ask for. */
export const configOf = (flags: {
  readonly config?: string | undefined;
  readonly 'no-config': boolean;
  readonly rule?: readonly string[] | undefined;
}): Promise<GateConfig> =>
  loadGateConfig({
    cwd: process.cwd(),
    ...(flags.config === undefined ? {} : { file: flags.config }),
    search: !flags['no-config'],
    rules: flags.rule ?? [],
  });
