/**
 * The order in which an optimizer of Keras 3 was given the parameters of a `.keras` or `.weights.h5` file.
 *
 * An optimizer lists variables as layers were made: those of a layer itself, then those of each layer in it. The file
 * has the attributes of a layer by name (`alpha` before `zeta`, `backward_layer` before `forward_layer`) and only lists
 * such as `layers` as they were made.
 *
 * Source: keras/src/saving/saving_lib.py (`_walk_saveable`), keras/src/layers/layer.py (`trainable_variables`).
 */

/** A parameter by its path in the file: `layers/dense/vars/0`. */
export interface StoredVariable {
  readonly key: string;
  readonly shape: readonly number[];
}

interface Layer<T> {
  readonly own: T[];
  readonly inner: Map<string, Layer<T>>;
}

/** Lists: what is in them keeps its order. */
const LISTS = /^(?:layers|cells|_layer_checkpoint_dependencies)$/;
/** Layers within layers of Keras whose order is that of their making, not that of their names. */
const MADE = [
  ['forward_layer', 'backward_layer'],
  ['query_dense', 'key_dense', 'value_dense', 'output_dense'],
];
/** Looks at a variable after which an order counts as unknown: equal shapes allow too many. */
const MAX_LOOKS = 20_000;
/** Parameters beyond which an order counts as unknown, too: the search goes as deep. */
const MAX_PARAMETERS = 1_500;

/**
 * The one order of the parameters in which their shapes are those expected.
 *
 * @param stored in the order of the file
 * @param expected shape of each parameter in the order of the optimizer
 * @returns null where there are several, or too many to tell; undefined where there is none
 */
export function orderOfMaking<T extends StoredVariable>(
  stored: readonly T[],
  expected: readonly (readonly number[])[],
): T[] | null | undefined {
  if (stored.length > MAX_PARAMETERS) return null;
  const root: Layer<T> = { own: [], inner: new Map() };
  for (const variable of stored) {
    let layer = root;
    for (const name of variable.key.replace(/\/?vars\/\d+$/, '').split('/')) {
      if (name === '') continue;
      if (!layer.inner.has(name)) layer.inner.set(name, { own: [], inner: new Map() });
      layer = layer.inner.get(name)!;
    }
    layer.own.push(variable);
  }
  let looks = 0;
  const fits = ({ shape }: T, position: number): boolean => {
    looks++;
    return expected[position]?.join() === shape.join();
  };
  function* ordersOf(layer: Layer<T>, from: number): Generator<T[]> {
    if (!layer.own.every((variable, i) => fits(variable, from + i))) return;
    for (const rest of merged(chainsOf(layer), from + layer.own.length)) yield [...layer.own, ...rest];
  }
  function* merged(chains: readonly (readonly Layer<T>[])[], from: number): Generator<T[]> {
    if (chains.length === 0) yield [];
    for (const [i, [first, ...later]] of chains.entries()) {
      if (looks > MAX_LOOKS) return;
      const left = later.length === 0 ? chains.toSpliced(i, 1) : chains.with(i, later);
      for (const order of ordersOf(first!, from))
        for (const rest of merged(left, from + order.length)) yield [...order, ...rest];
    }
  }
  const found = ordersOf(root, 0);
  const first = found.next();
  const isUnique = first.done || found.next().done;
  if (!isUnique || looks > MAX_LOOKS) return null;
  return first.done ? undefined : first.value;
}

/** The layers in a layer: within a chain their order is known, how chains are merged is not. */
function chainsOf<T>({ inner }: Layer<T>): (readonly Layer<T>[])[] {
  const known = MADE.find((names) => [...inner.keys()].every((name) => names.includes(name)));
  if (known !== undefined && inner.size > 0) return [known.flatMap((name) => inner.get(name) ?? [])];
  return [...inner].flatMap(([name, layer]) =>
    LISTS.test(name) && layer.own.length === 0 ? [[...layer.inner.values()]] : [[layer]],
  );
}
