/** Roles, slots and layouts in the naming of Keras and TensorFlow. */
import type { Dtype, Layout } from '../../../model/checkpoint.ts';
import { optimizerOf } from '../../../step/optimizers/registry.ts';
import { isFloating } from '../dtypes.ts';
import { layoutOfKeras } from '../layouts.ts';
import type { RoleOfTensor } from '../roles.ts';

export interface KerasTensor {
  /** The stored name; what {@link RoleOfTensor.parameter} refers to. */
  readonly key: string;
  /** The variable's own name, where it differs: `sequential/dense/kernel`. */
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Classes of the layers that it lies in, where a config says so: a layer may have any name. */
  readonly layers?: string;
}

/**
 * Words for slots in the words of captures. `momentum` is Adam's first moment in Keras 3 but the only state of SGD, and
 * `m` the reverse in Keras 2.11 and later, so the optimizer decides; other slots keep their name.
 */
function slotWord(optimizer: string, slot: string): string {
  const word = slot.toLowerCase();
  if (/^(?:vhat|velocity_hat|v_hat)$/.test(word)) return 'v_max';
  // Keras names RMSprop's variables `rm_sprop/…`.
  if (/sgd|gradient_?descent|^momentum$|rm_?s/i.test(optimizer)) {
    if (word === 'm') return 'momentum';
    if (word === 'average_gradient' || word === 'mg') return 'm';
    if (/^(?:velocity|rms|v)$/.test(word)) return 'v';
    return word;
  }
  if (word === 'momentum' && optimizer !== '') return 'm';
  if (word === 'velocity' || word === 'rms') return 'v';
  return word;
}

/** Slots of TensorFlow 1 optimizers: the variable's name, then the optimizer's with a running number. */
const TF1_SLOTS = new Map([
  ['Adagrad', 'accumulator'],
  ['Adam', 'm'],
  ['Adam_1', 'v'],
  ['AdamAsync', 'm'],
  ['AdamAsync_1', 'v'],
  ['Momentum', 'momentum'],
  ['RMSProp', 'v'],
  ['RMSProp_1', 'momentum'],
  ['Ftrl', 'accumulator'],
  ['Ftrl_1', 'linear'],
]);

const SLOT_NAMES = '(m|v|vhat|accumulator|momentum|velocity|velocity_hat|rms|mg|linear|average|u|norm)';
const BARE_SLOT = new RegExp(`^${SLOT_NAMES}$`);
const OPTIMIZER_FIRST = new RegExp(`^(?:training/)?([^/]+)/${SLOT_NAMES}/(.+)$`, 's');
const SLOT_LAST = new RegExp(`^(?:training/)?([^/]+)/(.+)/${SLOT_NAMES}$`, 's');
const FLAT_SLOT_LAST =
  /^([^/]+)\/(.+)_(velocity_hat|momentum|velocity|accumulator|average|average_gradient|accumulated_delta_var|accumulated_grad|linear|norm)$/s;

const STEP = /(?:^|\/)_?(?:iterations?|iter|global_step|count)$/;
const OPTIMIZER_KEY = /(?:^|\/)(?:optimizer|optimizer_weights|_?optimizer\d*)\//;
const TF1_SCALARS = /(?:^|\/)(?:beta[12]_power|global_step)(?:_\d+)?$/;
const BUFFERS =
  /(?:^|\/)(?:moving_mean|moving_variance|moving_var|seed_generator_state|save_counter|total|true_positives|true_negatives|false_positives|false_negatives|ExponentialMovingAverage)$|(?:^|\/)(?:keras_api\/metrics|seed_generator|_?metrics)\//;

const withoutOutput = (name: string): string => name.replace(/:0$/, '');
/** Keras 3 names the state of `a/kernel` `a_kernel_momentum`. */
const flat = (name: string): string => name.replaceAll('/', '_');

/**
 * Role, slot and layout of every tensor, by stored name.
 *
 * Six namings are known: `adam/dense_kernel_momentum` (Keras 3), `Adam/m/dense/kernel` (Keras 2.11 to 2.15),
 * `training/Adam/dense/kernel/m` (before), `dense/kernel/Adam_1` (TensorFlow 1), `dense/kernel/m` (TensorFlow.js), and
 * slots that the file itself ties to a parameter.
 *
 * @param known roles that the file states, by stored name
 */
export function kerasRoles(
  tensors: readonly KerasTensor[],
  known: ReadonlyMap<string, RoleOfTensor> = new Map(),
): ReadonlyMap<string, RoleOfTensor & { readonly layout: Layout }> {
  const names = tensors.map((tensor) => ({ ...tensor, name: withoutOutput(tensor.name) }));
  const byName = new Map(names.map(({ name, key }) => [name, key]));
  const byFlatName = new Map(names.map(({ name, key }) => [flat(name), key]));
  const owners = ownersByPath(names);
  const slot = (slotName: string, parameter: string | undefined): RoleOfTensor =>
    parameter === undefined
      ? { role: 'optimizer_state', slot: slotName }
      : { role: 'optimizer_state', slot: slotName, parameter };

  const roleOf = ({ key, name, dtype, shape }: KerasTensor): RoleOfTensor => {
    const stated = known.get(key);
    if (stated !== undefined) return stated;
    // Keras 3 stores parameters under the optimizer that lists them.
    const inOptimizer = OPTIMIZER_KEY.test(key) && !/\/_trainable_variables\/\d+/.test(key);
    const found = (pattern: RegExp, lookUp: ReadonlyMap<string, string>, order: readonly number[]) => {
      const match = pattern.exec(name);
      if (match === null) return undefined;
      const [optimizer, parameter, slotName] = order.map((i) => match[i]!) as [string, string, string];
      const parameterKey = lookUp.get(parameter) ?? (inOptimizer ? owners(parameter, shape) : undefined);
      return parameterKey !== undefined || inOptimizer
        ? slot(slotWord(optimizer, slotName), parameterKey)
        : undefined;
    };
    const named =
      found(OPTIMIZER_FIRST, byName, [1, 3, 2]) ??
      found(SLOT_LAST, byName, [1, 2, 3]) ??
      found(FLAT_SLOT_LAST, byFlatName, [1, 2, 3]);
    if (named !== undefined) return named;
    const end = name.lastIndexOf('/');
    const last = name.slice(end + 1);
    const parameter = byName.get(name.slice(0, end));
    const word = TF1_SLOTS.get(last) ?? (BARE_SLOT.test(last) ? slotWord('', last) : undefined);
    if (word !== undefined && parameter !== undefined) return slot(word, parameter);
    if (inOptimizer || TF1_SCALARS.test(name) || /^training\//.test(name))
      return slot(STEP.test(name) ? 'step' : last, undefined);
    return { role: BUFFERS.test(name) || BUFFERS.test(key) || !isFloating(dtype) ? 'buffer' : 'parameter' };
  };

  const roles = new Map(names.map((tensor) => [tensor.key, roleOf(tensor)]));
  const layoutNames = new Map(names.map(({ name, key, layers }) => [key, `${layers ?? ''}/${name}`]));
  return new Map(
    names.map(({ key, shape }) => {
      const role = roles.get(key)!;
      // State has the axes of its parameter.
      const layoutName = layoutNames.get(role.parameter ?? key) ?? '';
      const layout =
        role.role === 'buffer' || (role.role === 'optimizer_state' && role.parameter === undefined)
          ? 'none'
          : layoutOfKeras(layoutName, shape);
      return [key, { ...role, layout }];
    }),
  );
}

/**
 * Parameters by what a slot calls them where no variable has that name: the layers of a subclassed model are attributes, so
 * that `sub_tower_like_kernel` is the state of `model/tower_like/_kernel`.
 *
 * @returns the one parameter of that shape whose path, or else whose last name, is the end of the slot's; undefined for several
 */
function ownersByPath(
  tensors: readonly KerasTensor[],
): (parameter: string, shape: readonly number[]) => string | undefined {
  const stored = tensors
    .filter(({ key, dtype }) => !OPTIMIZER_KEY.test(key) && isFloating(dtype) && VARIABLE_VALUE.test(key))
    .map(({ key, shape }) => {
      const parts = key
        .replace(VARIABLE_VALUE, '')
        .split('/')
        .map((part) => part.replace(/^_/, ''));
      return { key, shape: shape.join(), path: parts.slice(1).join('_'), last: parts.at(-1)! };
    });
  const endsWith = (parameter: string, end: string): boolean =>
    parameter === end || parameter.endsWith(`_${end}`);
  return (parameter, shape) => {
    const alike = stored.filter((one) => one.shape === shape.join() && endsWith(parameter, one.last));
    const byPath = alike.filter(({ path }) => endsWith(parameter, path));
    const longest = Math.max(...byPath.map(({ path }) => path.length));
    const best = byPath.length > 0 ? byPath.filter(({ path }) => path.length === longest) : alike;
    return best.length === 1 ? best[0]!.key : undefined;
  };
}
const VARIABLE_VALUE = /\/\.ATTRIBUTES\/VARIABLE_VALUE$/;

interface KerasSlots {
  /** In the order of the variables, after the step and the learning rate. */
  readonly slots: readonly string[];
  /** How many of a parameter are side by side. */
  readonly inTurn: number;
}

/** Optimizers of Keras whose steps are not replayed. */
const OTHERS: Readonly<Record<string, KerasSlots>> = {
  nadam: { slots: ['m', 'v'], inTurn: 2 },
  ftrl: { slots: ['accumulator', 'linear'], inTurn: 2 },
  lion: { slots: ['m'], inTurn: 1 },
};

/** What a row of optimizer variables is called when only its order shows it, by lower-case class name. */
const orderedSlots = (optimizer: string): KerasSlots | undefined =>
  optimizerOf(optimizer)?.keras ?? (Object.hasOwn(OTHERS, optimizer) ? OTHERS[optimizer] : undefined);

/** How many slots of a parameter are side by side, of an optimizer by lower-case class name; the likelier first. */
export const turnsOf = (optimizer: string): readonly number[] => {
  const { inTurn = 1 } = orderedSlots(optimizer) ?? {};
  return inTurn === 1 ? [1] : [inTurn, 1];
};

/**
 * Slots of optimizer variables that have no names, only an order.
 *
 * Keras 3 writes Adam's moments in turn (m₀ v₀ m₁ v₁ … then v_max), other optimizers and Keras 2 a slot after the
 * other. The order of the parameters is that of the first list in `orders` whose shapes agree everywhere; where none
 * agrees the slots are named without their parameters, or nothing is.
 *
 * @param optimizer lower-case class name
 * @param variables without the step and the learning rate
 * @param centered whether RMSprop is known to be centered: its last slot is the mean gradient then
 */
export function slotsByOrder(
  optimizer: string,
  variables: readonly Pick<KerasTensor, 'key' | 'shape'>[],
  orders: readonly (readonly Pick<KerasTensor, 'key' | 'shape'>[])[],
  centered = false,
): ReadonlyMap<string, RoleOfTensor> {
  const roles = new Map<string, RoleOfTensor>();
  const known = orderedSlots(optimizer)?.slots;
  if (known === undefined) return roles;
  const same = (a: readonly number[], b: readonly number[]): boolean =>
    a.length === b.length && a.every((n, i) => n === b[i]);
  const total = variables.length;
  for (const turns of turnsOf(optimizer))
    for (const parameters of orders) {
      const n = parameters.length;
      const slots = total / n;
      const words = wordsFor(optimizer, known, slots, centered);
      if (!(Number.isInteger(slots) && slots >= turns && slots <= words.length)) continue;
      const placed = variables.map(({ key, shape }, i) => {
        const inTurn = i < turns * n;
        const parameter = parameters[inTurn ? Math.floor(i / turns) : i % n]!;
        const word = words[inTurn && turns > 1 ? i % turns : Math.floor(i / n)]!;
        // Keras 2.1 to 2.3 keep v_max of Adam without amsgrad as one zero each.
        const agrees = same(shape, parameter.shape) || (word === 'v_max' && same(shape, [1]));
        return { key, word, parameter: parameter.key, agrees };
      });
      if (!placed.every(({ agrees }) => agrees)) continue;
      for (const { key, word, parameter } of placed)
        roles.set(key, { role: 'optimizer_state', slot: word, parameter });
      return roles;
    }
  if (known.length === 1)
    for (const { key } of variables) roles.set(key, { role: 'optimizer_state', slot: known[0]! });
  return roles;
}

/** What slots are called where there are so many of each parameter: of RMSprop v, momentum, mean gradient, the last two where it has them. */
function wordsFor(
  optimizer: string,
  known: readonly string[],
  slots: number,
  centered: boolean,
): readonly string[] {
  if (!/^rms/.test(optimizer)) return known;
  return slots === 3 ? ['v', 'momentum', 'm'] : slots === 2 && centered ? ['v', 'm'] : known;
}
