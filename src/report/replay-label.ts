import type { ReplayEntry } from '../model/replay.ts';

/** Distinguishes a replayed rule from the others of its report: the rule as it was requested. Untrusted text. */
export const replayLabel = (entry: ReplayEntry): string =>
  (entry.label ?? entry.rule) +
  (entry.learningRateMultiplier === undefined || entry.learningRateMultiplier === 1
    ? ''
    : ` lr x${entry.learningRateMultiplier}`) +
  (entry.source === 'recorded' ? ' (recorded)' : '');

/** Where the smallest factor is: `entry 3 of w`, `unit 2 of w`, or the tensor alone. Untrusted text. */
export const placeText = ({ tensor, index, place }: NonNullable<ReplayEntry['bottleneck']>): string =>
  place === undefined || place === 'tensor' ? tensor : `${place} ${index} of ${tensor}`;
