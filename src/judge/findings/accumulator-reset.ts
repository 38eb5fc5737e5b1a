import type { Finding } from '../../model/finding.ts';
import { SHARE } from '../../model/options.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import { between, betweenEach, namesOf, nonFiniteOf, placesOf, stepsBetween } from './checkpoint-run.ts';

const advice =
  'The optimizer state was not restored at the resume: load it with the weights, or warm the learning rate up again.';

export const accumulatorReset = {
  id: 'accumulator-reset',
  title: "Adagrad's accumulators or the step count went down",
  severity: 'warning',
  thresholds: [
    {
      name: 'tolerance',
      value: 1e-6,
      unit: 'share of the sum before',
      range: SHARE,
      origin: 'rounding of a sum that was kept in float32; neither ever falls by itself',
    },
  ],
  docs: {
    summary:
      'An accumulator of Adagrad, or a step count of the optimizer, is lower than in the checkpoint before.',
    details: `Adagrad's accumulators are sums of squares and step counts only count: neither falls while one optimizer lives. Where the sum of one falls
by more than \`tolerance\`, its state was lost, most often at a resume that loaded the weights alone. With a fresh accumulator the first steps are as long as
those of a new training: the usual cause of a jump right after a resume. Tensors with entries that are not finite are left to \`non-finite-tensor\`.`,
    advice,
    references: [],
  },
  least: 2,
  find: (run, thresholds) =>
    betweenEach(run, (before, now): readonly Finding[] => {
      const tolerance = thresholds('accumulator-reset', 'tolerance');
      const old = new Map(before.tensors.map((tensor) => [tensor.name, tensor]));
      const reset = now.tensors.filter((tensor) => {
        const was = old.get(tensor.name)?.sum;
        const onlyGrows = tensor.slot === 'accumulator' || tensor.slot === 'step';
        // Sums are over finite entries: one that lost some to NaN went down without a reset.
        if (!onlyGrows || was === undefined || tensor.sum === undefined || nonFiniteOf(tensor) !== 0)
          return false;
        return tensor.sum < was - tolerance * Math.abs(was);
      });
      const [first] = reset;
      if (first === undefined) return [];
      return [
        {
          id: 'accumulator-reset',
          severity: 'warning',
          message: `${namesOf(reset)} went down ${between(before, now)}`,
          steps: stepsBetween(before, now),
          series: null,
          measured: { name: 'sum', value: first.sum!, unit: '1' },
          threshold: { name: 'sum before', value: old.get(first.name)!.sum!, unit: '1' },
          locations: placesOf(now.path, reset),
          advice,
        },
      ];
    }),
} as const satisfies CheckpointFinding;
