/** Hyperparameters as one level of names: nested ones are joined with `.`, short lists become text. */
export type Scalar = string | number | boolean | null;

const MAX_ENTRIES = 2_000;
const MAX_DEPTH = 20;
const MAX_LIST = 16;

/** @param name what `value` is called; its members are called `name.key` */
export function flatten(value: unknown, name: string, into: Map<string, Scalar>, depth = 0): void {
  if (into.size >= MAX_ENTRIES || depth > MAX_DEPTH) return;
  if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) {
    if (name !== '') into.set(name, value as Scalar);
  } else if (Array.isArray(value)) {
    if (value.length <= MAX_LIST && value.every((one) => typeof one !== 'object'))
      into.set(name, JSON.stringify(value));
  } else if (typeof value === 'object')
    for (const [key, member] of value instanceof Map ? value : Object.entries(value as object))
      flatten(member, name === '' ? String(key) : `${name}.${String(key)}`, into, depth + 1);
}
