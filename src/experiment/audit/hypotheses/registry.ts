/** All hypotheses, the simplest first: of several that explain the record equally the first one leads. */
import { clipBeforeUnscale, clipInactive, clipNormFactor } from './clip.ts';
import { decayFactor, decayKind } from './decay.ts';
import { gradientTimes } from './gradient.ts';
import type { Hypothesis } from './hypothesis.ts';
import { rateFactor } from './rate.ts';
import { stateFresh, stateOfOther, stateStale } from './state.ts';
import { allScaled, rounded } from './weights.ts';

/** Changes that hold for all steps, or from one on. */
export const LASTING: readonly Hypothesis[] = [
  clipInactive,
  clipBeforeUnscale,
  clipNormFactor,
  rateFactor,
  gradientTimes,
  decayKind,
  decayFactor,
  rounded,
];

/** Something that happened at one step. */
const EVENTS: readonly Hypothesis[] = [stateFresh, stateStale, stateOfOther, allScaled];

export const HYPOTHESES: readonly Hypothesis[] = [...LASTING, ...EVENTS];
