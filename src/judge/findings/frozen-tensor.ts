import type { InspectedTensor } from '../../model/checkpoint.ts';
import { COUNT } from '../../model/options.ts';
import type { CheckpointFinding } from './checkpoint-finding.ts';
import { namesOf, placesOf } from './checkpoint-run.ts';

const advice =
  'If they are to be trained: check requires_grad, and whether clipping leaves them a step of 0.';

export const frozenTensor = {
  id: 'frozen-tensor',
  title: 'Parameters do not move while others do',
  severity: 'note',
  thresholds: [
    {
      name: 'checkpoints',
      value: 2,
      unit: 'checkpoints',
      range: { ...COUNT, min: 2 },
      origin: 'two that agree to the last bit are enough to ask; more rule out a pause of the training',
    },
  ],
  docs: {
    summary: 'A parameter is the same in all checkpoints of a run while other parameters change.',
    details: `Sum, norm, minimum and maximum of a parameter are equal to the last bit in all checkpoints of the run, of which there are at least
\`checkpoints\`, and at least one other parameter changes. A frozen layer is often meant so, which is why this is a note; a forgotten \`requires_grad\` and a clipping
rule that leaves a tensor no step look alike.`,
    advice,
    references: [],
  },
  least: 2,
  find(run, thresholds) {
    const [first, last] = [run[0], run.at(-1)];
    if (first === undefined || last === undefined || run.length < thresholds('frozen-tensor', 'checkpoints'))
      return [];
    const seen = new Map<string, InspectedTensor[]>();
    for (const { tensors } of run)
      for (const tensor of tensors)
        if (tensor.role === 'parameter' && tensor.norm !== undefined)
          seen.set(tensor.name, [...(seen.get(tensor.name) ?? []), tensor]);
    const still = [...seen.values()].filter(
      (found) =>
        found.length === run.length &&
        found.every(({ sum, norm, min, max }) => {
          const [one] = found;
          return sum === one!.sum && norm === one!.norm && min === one!.min && max === one!.max;
        }),
    );
    if (still.length === 0 || still.length === seen.size) return [];
    const tensors = still.map(([one]) => one!);
    return [
      {
        id: 'frozen-tensor',
        severity: 'note',
        message: `${namesOf(tensors, 'parameter')} ${tensors.length === 1 ? 'is' : 'are'} the same in all ${run.length} checkpoints while others move`,
        steps: first.step !== null && last.step !== null ? [first.step, last.step] : null,
        series: null,
        measured: { name: 'frozen parameters', value: tensors.length, unit: 'tensors' },
        threshold: null,
        locations: placesOf(last.path, tensors),
        advice,
      },
    ];
  },
} as const satisfies CheckpointFinding;
