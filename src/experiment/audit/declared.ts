/** What a capture declares of a step: clipping, optimizer options, rates. The chain is checked against it. */
import type { CaptureManifest, ManifestStep } from '../../read/captures/manifest.ts';
import type { OptimizerChoice } from '../../step/optimizers/registry.ts';
import type { RuleChoice, RulePart } from '../../step/rules/choice.ts';
import type { ModelRule, SeenTensor, TensorRule } from '../../step/rules/rule.ts';

/** A clip whose factor follows from a norm, or which bounds entries. */
export interface DeclaredClip {
  /** As a user writes it, for sentences. */
  readonly label: string;
  /** Whose norm it looks at: of all gradients together, of each tensor; `entry` bounds each entry. */
  readonly scope: 'model' | 'tensor' | 'entry';
  /** Largest norm or entry. */
  readonly limit: number;
  readonly part: RulePart;
}

/** The declared clipping; null without clipping, and its label where this audit cannot compute it. */
export function declaredClip({ parts, label }: RuleChoice): DeclaredClip | null | string {
  const active = parts.filter(({ rule }) => !rule.identity);
  const [part] = active;
  if (part === undefined) return null;
  const { rule, options } = part;
  if (active.length > 1 || options.embeddings === false || rule.stage !== 'gradient') return label;
  const limit = Number(rule.mainOption === null ? Number.NaN : options[rule.mainOption]);
  if (rule.scope === 'entry')
    return rule.bound === undefined ? label : { label, scope: 'entry', limit, part };
  // The limit of an adaptive rule is another in each step, and follows from more than a norm.
  const ofNorm =
    rule.mainOption === 'maxNorm' &&
    (rule.scope !== 'model' || (rule.seesLargest?.(options) !== true && isStateless(rule)));
  return ofNorm ? { label, scope: rule.scope === 'model' ? 'model' : 'tensor', limit, part } : label;
}

const isStateless = ({ initialState }: ModelRule): boolean => Object.keys(initialState(1)).length === 0;

/**
 * The factor that clipping has at a norm.
 *
 * @param times what multiplies the norm that the clip call sees: 1 as declared
 */
export function clipFactor({ scope, part }: DeclaredClip, norm: number, times = 1): number {
  if (scope === 'entry') return 1;
  const factors = Float64Array.of(1);
  const squares = (norm * times) ** 2;
  if (scope === 'model') {
    const seen = {
      name: '',
      shape: [],
      layout: 'none',
      embedding: false,
      position: 0,
      sumOfSquares: squares,
    } as const;
    (part.rule as ModelRule).measure({}, [seen], part.options, factors, null);
  } else {
    const seen = { ...NO_TENSOR, squares };
    (part.rule as TensorRule).measure(seen, part.options, factors, { count: 1, stride: 1 });
  }
  return factors[0]!;
}

/** A tensor of which a rule needs to know the norm alone. */
const NO_TENSOR: SeenTensor = {
  name: '',
  shape: [],
  layout: 'none',
  embedding: false,
  w: new Float64Array(0),
  x: new Float64Array(0),
  weightDecay: 0,
  epsilonInRoot: 0,
  secondMomentCorrection: 1,
  epsilon: 0,
  stepsTaken: 0,
};

/**
 * Options of an optimizer at each step, as recorded: schedules change momentum and betas too. A step names what changed.
 *
 * @returns by step; of a group whose options never change the same object throughout
 */
export function optionsOfSteps(
  choice: OptimizerChoice,
  steps: readonly Pick<ManifestStep, 'record'>[],
  group: number,
): readonly OptimizerChoice['options'][] {
  const names = choice.optimizer.options.flatMap(({ name, type }) => (type === 'number' ? [name] : []));
  let { options } = choice;
  return steps.map(({ record }) => {
    const now = record.options?.get(group);
    const changed = names.filter((name) => typeof now?.[name] === 'number' && now[name] !== options[name]);
    if (changed.length > 0)
      options = { ...options, ...Object.fromEntries(changed.map((name) => [name, now![name] as number])) };
    return options;
  });
}

/** Weight decay of a group at a step: as recorded last up to it (a step names what changed), else that of the manifest. */
export function decayAt(
  manifest: CaptureManifest,
  steps: readonly Pick<ManifestStep, 'record'>[],
  at: number,
  group: number,
): number {
  let own: unknown;
  for (let i = at; i >= 0 && own === undefined; i--) own = steps[i]!.record.options?.get(group)?.weightDecay;
  const general = manifest.optimizers[group]!.options.weightDecay;
  return typeof own === 'number' ? own : typeof general === 'number' ? general : 0;
}
