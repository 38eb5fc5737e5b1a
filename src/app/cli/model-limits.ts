/** What a user's module may take, from the flags of a command. */
import type { ModuleLimits } from '../../differentiate/autodiff/remote.ts';

export const limitsOf = (flags: {
  readonly 'model-seconds'?: number | undefined;
  readonly 'model-memory'?: number | undefined;
}): ModuleLimits => ({
  ...(flags['model-seconds'] === undefined ? {} : { seconds: flags['model-seconds'] }),
  ...(flags['model-memory'] === undefined ? {} : { memory: flags['model-memory'] }),
});
