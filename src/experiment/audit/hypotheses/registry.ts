/** All hypotheses, the simplest first: of several that explain the record equally the first one leads. */
import { clipBeforeUnscale, clipInactive, clipNormFactor } from './clip.ts';
import { decayFactor, decayKind } from './decay.ts';
import { gradientTimes } from './gradient.ts';
import type { Hypothesis } from './hypothesis.ts';
import { rateFactor } from './rate.ts';
import { stateFresh, stateOfOther, stateStale } from './state.ts';
import { allScaled, rounded } from './weights.ts';

export const HYPOTHESES: readonly Hypothesis[] = [
  clipInactive,
  clipBeforeUnscale,
  clipNormFactor,
  rateFactor,
  gradientTimes,
  decayKind,
  decayFactor,
  stateFresh,
  stateStale,
  stateOfOther,
  rounded,
  allScaled,
];
