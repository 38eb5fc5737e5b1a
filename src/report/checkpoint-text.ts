/** How `inspect` shows checkpoints on a terminal: tensors in a table, what moved between two, norms over many. */
import type { InspectedCheckpoint, InspectedTensor } from '../model/checkpoint.ts';
import { counted, formatCount } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { CheckpointDiff, NormSeries, Trajectory } from '../model/inspection.ts';
import { accountLines } from './account-text.ts';
import { drawChart, lineOfValues } from './charts.ts';
import type { RenderOptions } from './format.ts';
import { nonFiniteText, numberText } from './measured-text.ts';
import { textTable } from './text-table.ts';

const roleText = ({ role, slot, parameter }: InspectedTensor, names: ReadonlyMap<string, string>): string =>
  role !== 'optimizer_state'
    ? role
    : inertName(
        `${slot ?? 'state'}${parameter === undefined ? '' : ` of ${names.get(parameter) ?? parameter}`}`,
      );

/** What TensorFlow writes behind the path of every variable. */
const ATTRIBUTE = /\/\.ATTRIBUTES\/VARIABLE_VALUE$/;

/** What each tensor is called: its label where it has one, with its name where another has the same; else its name. */
function shownNames(tensors: readonly InspectedTensor[]): ReadonlyMap<string, string> {
  const uses = new Map<string, number>();
  for (const { label, name } of tensors) uses.set(label ?? name, (uses.get(label ?? name) ?? 0) + 1);
  return new Map(
    tensors.map(({ label, name }) => [
      name,
      label === undefined
        ? name
        : uses.get(label) === 1
          ? label
          : `${label} (${name.replace(ATTRIBUTE, '')})`,
    ]),
  );
}

const shapeText = (shape: readonly number[]): string => (shape.length === 0 ? 'scalar' : shape.join('×'));

/** A checkpoint: a heading and its tensors. */
export function checkpointText(checkpoint: InspectedCheckpoint, all: boolean): string[] {
  const { tensors, step, framework, withoutWeights } = checkpoint;
  const elements = tensors.reduce((sum, tensor) => sum + tensor.elements, 0);
  // The count of steps needs no owner.
  const unnamed = tensors.filter(
    ({ role, slot, parameter }) => role === 'optimizer_state' && slot !== 'step' && parameter === undefined,
  ).length;
  const lines = [
    `${inertName(checkpoint.path)}: ${checkpoint.format}${framework === null ? '' : ` (${framework})`}` +
      `${step === null ? '' : `, step ${formatCount(step)}`}, ${counted(tensors.length, 'tensor')}, ${counted(elements, 'element')}` +
      (withoutWeights === undefined ? '' : `; no weights: ${withoutWeights}`) +
      (framework !== 'pytorch' || unnamed === 0
        ? ''
        : `; for ${formatCount(unnamed)} optimizer tensors, order and shapes do not give the parameter`),
  ];
  lines.push(...accountLines(checkpoint.account, all).map((line) => `  ${line}`));
  // Code that came with the weights is named, so that nobody loads it elsewhere unawares.
  const lambdas = checkpoint.metadata.get('lambda_layers');
  if (lambdas !== undefined) lines.push(`  Lambda layers: ${inertName(String(lambdas))}`);
  if (tensors.length === 0) return lines;
  const known = tensors.some((tensor) => tensor.norm !== undefined);
  const names = shownNames(tensors);
  const rows = tensors.map((tensor) => {
    const { sum, min, max, norm, nan, posInf, negInf } = tensor;
    const shown = [
      inertName(names.get(tensor.name)!),
      roleText(tensor, names),
      tensor.dtype,
      shapeText(tensor.shape),
    ];
    if (!known) return shown;
    if (norm === undefined) return [...shown, '', '', '', '', 'unreadable', ''];
    const odd = nonFiniteText({ nan: nan!, posInf: posInf!, negInf: negInf! });
    return [
      ...shown,
      numberText(sum!),
      numberText(min!),
      numberText(max!),
      numberText(norm),
      odd,
      tensor.flags.join(', '),
    ];
  });
  const heads = ['tensor', 'role', 'type', 'shape', 'sum', 'min', 'max', 'norm', 'non-finite', 'flags'];
  return [...lines, ...indented(textTable({ head: known ? heads : heads.slice(0, 4), rows, left: 3 }))];
}

/** Rows of a comparison that are shown; `--json` has all. */
const SHOWN = 30;

/** What moved most, by tensor and by layer. */
export function diffText(diff: CheckpointDiff): string[] {
  const name = ({ path, step }: CheckpointDiff['before']): string =>
    inertName(path) + (step === null ? '' : ` (step ${formatCount(step)})`);
  const lines = [
    `${name(diff.before)} → ${name(diff.after)}: ${counted(diff.tensors.length, 'tensor')} in both`,
  ];
  if (diff.layers.length > 0) {
    const rows = diff.layers
      .slice(0, SHOWN)
      .map((layer) => [
        inertName(layer.layer),
        String(layer.tensors),
        numberText(layer.change),
        numberText(layer.relative),
      ]);
    const head = ['layer', 'tensors', 'moved', 'moved/norm'];
    lines.push('', ...indented(textTable({ head, rows, left: 1 })));
  }
  if (diff.tensors.length > 0) {
    const rows = diff.tensors
      .slice(0, SHOWN)
      .map((tensor) => [
        inertName(tensor.name),
        numberText(tensor.normBefore),
        numberText(tensor.normAfter),
        numberText(tensor.change),
        numberText(tensor.relative),
        numberText(tensor.largestChange),
        numberText(tensor.effectiveLearningRate),
      ]);
    const head = ['tensor', 'norm before', 'after', 'moved', 'moved/norm', 'largest', 'effective lr'];
    lines.push('', ...indented(textTable({ head, rows, left: 1 })));
    if (diff.tensors.length > SHOWN)
      lines.push(`  and ${formatCount(diff.tensors.length - SHOWN)} more (--json has all)`);
  }
  for (const [label, names] of [
    ['only in the first', diff.onlyBefore],
    ['only in the second', diff.onlyAfter],
    ['of another shape', diff.reshaped],
  ] as const)
    if (names.length > 0)
      lines.push(
        '',
        `  ${label}: ${names.slice(0, 10).map(inertName).join(', ')}${names.length > 10 ? ` and ${formatCount(names.length - 10)} more` : ''}`,
      );
  return lines;
}

const indented = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

/** Layers that are charted: those whose norm changed by the largest factor. */
const CHARTED_LAYERS = 5;

/** Charts of the norms over the checkpoints of a run. */
export function trajectoryText(trajectory: Trajectory, options: RenderOptions): string[] {
  const { checkpoints, bySteps, totals, layers } = trajectory;
  const steps = checkpoints.map(({ step }, index) => (bySteps ? step! : index + 1));
  const chart = (title: string, series: readonly NormSeries[]): string =>
    drawChart(
      title,
      series.map(({ name, norm, nonFinite }) =>
        lineOfValues(
          name,
          steps,
          // A gap, and a mark below the chart, where entries were not finite.
          norm.map((value, k) => (value === null || nonFinite[k]! > 0 ? Number.NaN : value)),
        ),
      ),
      { ...options, height: 8, stepName: bySteps ? 'step' : 'checkpoint' },
    );
  const spread = ({ norm }: NormSeries): number => {
    const known = norm.filter((value): value is number => value !== null && value > 0);
    return known.length === 0
      ? 1
      : known.reduce((a, b) => Math.max(a, b)) / known.reduce((a, b) => Math.min(a, b));
  };
  const moving = [...layers].sort((a, b) => spread(b) - spread(a)).slice(0, CHARTED_LAYERS);
  const ends = [checkpoints[0]!, checkpoints.at(-1)!].map(({ path }) => inertName(path)).join(' … ');
  return [
    `${formatCount(checkpoints.length)} checkpoints in the order of their ${bySteps ? 'steps' : 'names'}: ${ends}`,
    ...totals.flatMap((one) => ['', chart(`norm of ${one.name}`, [one])]),
    ...(layers.length > 1 ? ['', chart('norms of the layers that changed most', moving)] : []),
  ];
}
