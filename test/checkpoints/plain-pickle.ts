import { isNode, type PickleValue } from '../../src/read/checkpoints/pytorch/pickle.ts';

/** What Python's repr-like JSON of the same value is; pickle.long.test.ts has the program. */
export const toPlain = (value: PickleValue): unknown => {
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (typeof value === 'bigint') return { int: value.toString() };
  if (typeof value === 'number' && !Number.isFinite(value)) return { float: String(value) };
  if (typeof value !== 'object' || value === null) return value;
  if (isNode(value, 'dict')) return { dict: value.entries.map((entry) => entry.map(toPlain)) };
  if (isNode(value, 'global')) return { global: value.name };
  if (isNode(value, 'call')) return { call: value.callee, args: value.args.map(toPlain) };
  if (isNode(value, 'persistent')) return { persistent: toPlain(value.id) };
  return 'items' in value ? { [value.kind]: value.items.map(toPlain) } : undefined;
};
