import type { ReplayEntry } from '../model/replay.ts';

/** What tells one replayed rule from the others of its report: the rule as it was asked for. Untrusted text. */
export const replayLabel = (entry: ReplayEntry): string =>
  (entry.label ?? entry.rule) +
  (entry.learningRateMultiplier === undefined || entry.learningRateMultiplier === 1
    ? ''
    : ` lr x${entry.learningRateMultiplier}`) +
  (entry.source === 'recorded' ? ' (recorded)' : '');
