/** What the hyperparameters of a run say of its optimizer and its clipping. Keys and values are untrusted text. */
import type { Run } from './run.ts';

type Hyperparameters = Run['hyperparameters'];

/** What is clipped by the names under which trainers keep the limit. */
const LIMIT_NAMES: Readonly<Record<ClippingInForce['of'], readonly string[]>> = {
  all: [
    'max_grad_norm',
    'grad_clip',
    'gradient_clip_val',
    'gradient_clipping',
    'clip_grad',
    'clip_grad_norm',
    'clip_norm',
    'global_clipnorm',
    'max_norm',
  ],
  // Keras's `clipnorm` clips each variable by itself.
  each: ['clipnorm'],
  entries: ['clipvalue', 'clip_value', 'grad_clip_value', 'clip_grad_value', 'gradient_clip_value'],
};

/** Clipping that was on in a run: of the norm of all gradients, of that of each variable, or of entries. */
export interface ClippingInForce {
  readonly of: 'all' | 'each' | 'entries';
  /** Above 0, finite. */
  readonly limit: number;
}

/** Names under which trainers keep the optimizer. */
const OPTIMIZER_NAMES = ['optim', 'optimizer', 'optimizer_name', 'optimizer_type', 'opt', 'optim_type'];

const lastPart = (name: string): string => name.split(/[./]/).at(-1)!.toLowerCase();

/** The clipping that was on. Where several limits of one kind are named, none is known. */
export function clippingOf(hyperparameters: Hyperparameters): ClippingInForce[] {
  const found = new Map<ClippingInForce['of'], Set<number>>();
  const byValue = [...hyperparameters].some(
    // Lightning's `gradient_clip_val` is a limit of entries then.
    ([name, value]) => lastPart(name) === 'gradient_clip_algorithm' && value === 'value',
  );
  for (const [name, value] of hyperparameters) {
    // An infinite limit clips nothing.
    if (typeof value !== 'number' || !(value > 0 && value < Number.POSITIVE_INFINITY)) continue;
    const last = lastPart(name);
    for (const [kind, names] of Object.entries(LIMIT_NAMES) as [ClippingInForce['of'], string[]][]) {
      if (!names.includes(last)) continue;
      const own = byValue && last === 'gradient_clip_val' ? 'entries' : kind;
      found.set(own, (found.get(own) ?? new Set()).add(value));
    }
  }
  return [...found].flatMap(([of, limits]) => (limits.size === 1 ? [{ of, limit: [...limits][0]! }] : []));
}

/** The limit of the global gradient norm, above 0; undefined where none is named, or several. */
export const clipLimitOf = (hyperparameters: Hyperparameters): number | undefined =>
  clippingOf(hyperparameters).find(({ of }) => of === 'all')?.limit;

/** Every optimizer that is named, in lower case, as it was logged. `optimizer.name` counts too. */
function optimizerNames(hyperparameters: Hyperparameters): string[] {
  const names = new Set<string>();
  for (const [name, value] of hyperparameters) {
    const own = OPTIMIZER_NAMES.includes(lastPart(name));
    const nested = /(?:^|[./])optim(?:izer)?[./](?:name|type|class_name|_target_)$/i.test(name);
    if ((own || nested) && typeof value === 'string' && value !== '') names.add(value.toLowerCase());
  }
  return [...names];
}

/** Kinds of optimizers; the longest first where one name holds another. */
const KINDS =
  /adamw|adagrad|adafactor|adamax|adadelta|nadam|radam|adam|rmsprop|lamb|lars|lion|ftrl|muon|shampoo|sophia|sgd/g;

/** What a name may be of; empty where it says nothing (`adam or adamw`: two). */
const kindsOf = (name: string): ReadonlySet<string> => new Set(name.match(KINDS) ?? []);

/** Whether two names of optimizers cannot be of one. */
export function isOtherOptimizer(a: string, b: string): boolean {
  const [first, second] = [kindsOf(a.toLowerCase()), kindsOf(b.toLowerCase())];
  return first.size > 0 && second.size > 0 && ![...first].some((kind) => second.has(kind));
}

/**
 * The optimizer in lower case as it was logged (`adamw_torch`, `adagrad`); undefined where none is named, or where the names
 * contradict each other.
 */
export function optimizerNameOf(hyperparameters: Hyperparameters): string | undefined {
  const names = optimizerNames(hyperparameters);
  return names.some((name) => isOtherOptimizer(names[0]!, name)) ? undefined : names[0];
}

/** What the names of optimizers and the limits of clipping contradict each other in, a sentence each without its end. */
export function settingsApart(hyperparameters: Hyperparameters): string[] {
  const names = optimizerNames(hyperparameters);
  const limits = [...hyperparameters].filter(
    ([name, value]) => LIMIT_NAMES.all.includes(lastPart(name)) && typeof value === 'number' && value > 0,
  );
  return [
    ...(names.some((name) => isOtherOptimizer(names[0]!, name))
      ? [`the optimizer is named ${names.join(' and ')}: what depends on it is left out`]
      : []),
    ...(new Set(limits.map(([, value]) => value)).size > 1
      ? [
          `the limit of the gradient norm is named ${limits.map(([name, value]) => `${value} (${name})`).join(' and ')}: none is read as the run's`,
        ]
      : []),
  ];
}
