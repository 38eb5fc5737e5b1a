import type { Finding } from '../../model/finding.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import {
  between,
  growthBetween,
  isTrained,
  isWhole,
  namesOf,
  nonFiniteOf,
  placesOf,
  stepsBetween,
} from './checkpoint-run.ts';

export const nonFiniteTensor = {
  id: 'non-finite-tensor',
  title: 'Parameters or optimizer state are NaN or infinite',
  severity: 'error',
  thresholds: [],
  docs: {
    summary:
      'A checkpoint holds a parameter or an optimizer state with NaN or ±Infinity that was finite in the one before.',
    details: `Counts the entries of every parameter and optimizer state that are not finite, and names the two checkpoints between which a tensor broke.
Training cannot go on from such a checkpoint, whatever the loss says: NaN spreads at the next step. Buffers and stored gradients are not judged.
The finding advises the last checkpoint before it that is whole and whose parameters had not just grown (\`parameter-norm-jump\`).`,
    advice:
      'Go back to a checkpoint before the first broken one. If the optimizer state broke first, look for an overflow in the gradients (mixed precision, log of 0); if the parameters did, for a step that was too long.',
    references: [],
  },
  least: 1,
  find: (run, thresholds) =>
    run.flatMap((now, index): readonly Finding[] => {
      const before = run[index - 1];
      const old = new Map(before?.tensors.map((tensor) => [tensor.name, tensor]));
      const broke = now.tensors.filter((tensor) => {
        const was = old.get(tensor.name);
        const known = was !== undefined && (nonFiniteOf(was) ?? 0) > 0;
        return isTrained(tensor) && (nonFiniteOf(tensor) ?? 0) > 0 && !known;
      });
      if (broke.length === 0) return [];
      const limit = thresholds('parameter-norm-jump', 'growth');
      // Weights that had just exploded are finite, but no place to go back to.
      const sound = run.slice(0, index).findLast((one, i) => {
        const growth = i === 0 ? null : growthBetween(run[i - 1]!, one);
        return isWhole(one) && !(growth !== null && growth.ratio > limit);
      });
      const became = before === undefined ? (broke.length === 1 ? 'is' : 'are') : 'became';
      return [
        {
          id: 'non-finite-tensor',
          severity: 'error',
          message: `${namesOf(broke)} ${became} non-finite ${between(before, now)}`,
          steps: stepsBetween(before, now),
          series: null,
          measured: {
            name: 'non-finite entries',
            value: broke.reduce((sum, tensor) => sum + nonFiniteOf(tensor)!, 0),
            unit: 'entries',
          },
          threshold: { name: 'non-finite entries', value: 0, unit: 'entries' },
          locations: placesOf(now.path, broke),
          advice: sound === undefined ? null : `go back to ${sound.path} or before`,
        },
      ];
    }),
} as const satisfies CheckpointFinding;
