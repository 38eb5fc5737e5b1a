/** All detectors. A new one is one file beside this and one line here; flags, pages and schemas derive from it. */
import { deadRun } from './dead-run.ts';
import type { Detector } from './detector.ts';
import { drift } from './drift.ts';
import { fullDivergence } from './full-divergence.ts';
import { gradientNormSpike } from './gradient-norm-spike.ts';
import { lossColumnStops } from './loss-column-stops.ts';
import { lossSpike } from './loss-spike.ts';
import { microDivergence } from './micro-divergence.ts';
import { nonFiniteGradientNorm } from './non-finite-gradient-norm.ts';
import { nonFiniteLoss } from './non-finite-loss.ts';
import { tooFewPoints } from './too-few-points.ts';

export const DETECTORS = {
  'non-finite-loss': nonFiniteLoss,
  'dead-run': deadRun,
  'full-divergence': fullDivergence,
  drift,
  'micro-divergence': microDivergence,
  'loss-column-stops': lossColumnStops,
  'non-finite-gradient-norm': nonFiniteGradientNorm,
  'loss-spike': lossSpike,
  'gradient-norm-spike': gradientNormSpike,
  'too-few-points': tooFewPoints,
} as const satisfies Record<string, Detector>;

export type DetectorId = keyof typeof DETECTORS;
