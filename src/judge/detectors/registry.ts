/** All detectors. A new one is one file in this folder and one line here; flags, pages and schemas derive from it. */

import { clippingSaturation } from './clipping-saturation.ts';
import { coSpike } from './co-spike.ts';
import { deadRun } from './dead-run.ts';
import type { Detector } from './detector.ts';
import { drift } from './drift.ts';
import { evalOnlySpike } from './eval-only-spike.ts';
import { fullDivergence } from './full-divergence.ts';
import { gradientNormSpike } from './gradient-norm-spike.ts';
import { guardAlarm } from './guard-alarm.ts';
import { jobCrashed } from './job-crashed.ts';
import { learningRateAnomaly } from './learning-rate-anomaly.ts';
import { lossColumnStops } from './loss-column-stops.ts';
import { lossScaleFalls } from './loss-scale-falls.ts';
import { lossSpike } from './loss-spike.ts';
import { metricCollapse } from './metric-collapse.ts';
import { microDivergence } from './micro-divergence.ts';
import { missingLoss } from './missing-loss.ts';
import { neverLearnedDetector } from './never-learned.ts';
import { nonFiniteGradientNorm } from './non-finite-gradient-norm.ts';
import { nonFiniteLoss } from './non-finite-loss.ts';
import { nothingLearnt } from './nothing-learnt.ts';
import { overfit } from './overfit.ts';
import { plateauAfterJump } from './plateau-after-jump.ts';
import { repeatedOrLostSteps } from './repeated-or-lost-steps.ts';
import { rewardCollapse } from './reward-collapse.ts';
import { throughputDrop } from './throughput-drop.ts';
import { tooFewPoints } from './too-few-points.ts';
import { updateNormSpike } from './update-norm-spike.ts';

/** In the order in which a report shows what they find at one severity. */
export const DETECTORS = {
  'job-crashed': jobCrashed,
  'non-finite-loss': nonFiniteLoss,
  'missing-loss': missingLoss,
  'dead-run': deadRun,
  'loss-scale-falls': lossScaleFalls,
  'full-divergence': fullDivergence,
  'never-learned': neverLearnedDetector,
  'metric-collapse': metricCollapse,
  'reward-collapse': rewardCollapse,
  drift,
  'micro-divergence': microDivergence,
  'loss-column-stops': lossColumnStops,
  'non-finite-gradient-norm': nonFiniteGradientNorm,
  'repeated-or-lost-steps': repeatedOrLostSteps,
  'guard-alarm': guardAlarm,
  'loss-spike': lossSpike,
  'gradient-norm-spike': gradientNormSpike,
  'co-spike': coSpike,
  'update-norm-spike': updateNormSpike,
  'plateau-after-jump': plateauAfterJump,
  'nothing-learnt': nothingLearnt,
  'eval-only-spike': evalOnlySpike,
  overfit,
  'learning-rate-anomaly': learningRateAnomaly,
  'clipping-saturation': clippingSaturation,
  'throughput-drop': throughputDrop,
  'too-few-points': tooFewPoints,
} as const satisfies Record<string, Detector>;

export type DetectorId = keyof typeof DETECTORS;
