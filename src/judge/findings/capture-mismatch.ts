import type { Finding, FindingType } from '../../model/finding.ts';
import { SHARE } from '../../model/options.ts';

const advice =
  'Look at what ran between these steps: a callback that writes to weights, a second optimizer, a state that was loaded. If nothing did, the recording is off: correct "optimizer" or "clipping" in capture.json, and see that its steps are all of this run. Factors after this step are those at the recorded parameters with a rebuilt optimizer state that may be off.';

export const captureMismatch = {
  id: 'capture-mismatch',
  title: 'The run that is rebuilt from a capture misses a recorded snapshot',
  severity: 'warning',
  thresholds: [
    {
      name: 'ofMovement',
      value: 1e-3,
      unit: 'share of the movement since the start',
      range: SHARE,
      origin:
        'a learning rate that is off by one per cent misses by ten times as much; recorded runs meet their snapshots without it',
    },
    {
      name: 'ofSize',
      value: 3e-6,
      unit: 'share of the norm of the tensor',
      range: SHARE,
      origin:
        'fifty roundings of float32: rebuilt runs of the fixtures meet their snapshots within this alone',
    },
  ],
  docs: {
    summary:
      'The recorded gradients, stepped by the optimizer that capture.json names, do not lead to the recorded parameters.',
    details: `The run is walked step by step as it was recorded. Wherever the recorder kept a snapshot of the parameters, each tensor of the rebuilt run must be
within \`ofMovement\` of its movement since the start plus \`ofSize\` of its norm. The first tensor that is further off is reported, with the last snapshot that agreed and
with what the difference looks like: other clipping, another learning rate, weight decay, another momentum. After a miss the walk goes on from the snapshot.`,
    advice,
    references: [],
  },
} as const satisfies FindingType;

/** What the walk through a capture met at the first snapshot that it missed. */
export interface MissedSnapshot {
  readonly path: string;
  readonly tensor: string;
  /** Euclidean distance of the rebuilt tensor from the snapshot, and what would have been allowed. */
  readonly difference: number;
  readonly allowed: number;
  /** Step of the snapshot, and of the last one that agreed. */
  readonly step: number;
  readonly lastAgreed: number;
  /** What the difference looks like. */
  readonly cause: string;
}

/** The finding about a snapshot that was missed. */
export const mismatchFinding = (missed: MissedSnapshot): Finding => ({
  id: captureMismatch.id,
  severity: captureMismatch.severity,
  message: `the rebuilt parameters do not follow the recorded run: "${missed.tensor}" differs from the snapshot before step ${missed.step} (the last that agreed is before step ${missed.lastAgreed}); ${missed.cause}`,
  steps: [missed.lastAgreed, missed.step],
  series: null,
  measured: { name: 'difference', value: missed.difference, unit: '1' },
  threshold: { name: 'difference', value: missed.allowed, unit: '1' },
  locations: [{ path: missed.path, tensor: missed.tensor }],
  advice,
});
