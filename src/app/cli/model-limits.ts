/** What a user's module may take, from the flags of a command. */
import { Flags } from '@oclif/core';
import type { ModuleLimits } from '../../differentiate/autodiff/remote.ts';

export const limitsOf = (flags: {
  readonly 'model-seconds'?: number | undefined;
  readonly 'model-memory'?: number | undefined;
}): ModuleLimits => ({
  ...(flags['model-seconds'] === undefined ? {} : { seconds: flags['model-seconds'] }),
  ...(flags['model-memory'] === undefined ? {} : { memory: flags['model-memory'] }),
});

/** The flags that {@link limitsOf} reads, in a group of the help. */
export const modelLimitFlags = (helpGroup: string) => ({
  'model-seconds': Flags.integer({
    helpValue: 'SECONDS',
    helpGroup,
    description: 'time for one call of a module that is the model (default 60)',
    min: 1,
  }),
  'model-memory': Flags.integer({
    helpValue: 'MIB',
    helpGroup,
    description: 'MiB for a module that is the model (default 4096)',
    min: 64,
  }),
});
