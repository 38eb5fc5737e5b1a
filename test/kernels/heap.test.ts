/** A step on a heap is the step on arrays of their own, bit for bit. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import { HEAP_START, type Heap, heapsOn } from '../../src/step/kernels/heap.ts';
import { newMemory } from '../../src/step/kernels/wasm-assembler.ts';
import { chooseOptimizer, OPTIMIZERS } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';

const newHeap = heapsOn(newMemory(65536), HEAP_START);
const odd = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-45, -1e-40, 3.4e38, 1];
const entry = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(...odd));
const entries = fc.array(fc.tuple(entry, entry, entry), { minLength: 1, maxLength: 11 });
const textOf = (values: ArrayLike<number>): string[] =>
  Array.from(values, (value) => (Object.is(value, -0) ? '-0' : String(value)));

/** What two steps leave of a tensor and its state, and what they say. */
function twoSteps(
  optimizer: ReturnType<typeof chooseOptimizer>,
  rule: string,
  rows: readonly (readonly [number, number, number])[],
  heap?: Heap,
) {
  const arrayOf = (k: 0 | 1 | 2) => {
    const array = heap?.allocate(rows.length) ?? new Float32Array(rows.length);
    array.set(rows.map((row) => row[k]));
    return array;
  };
  const stepper = createStepper({
    rule: parseRule(rule)[0]!,
    optimizers: [optimizer],
    precision: 'float32',
    heap,
  });
  const shape = [rows.length];
  const tensor = freshTensor(
    { name: 'w', shape, layout: 'none', embedding: false },
    arrayOf(0),
    stepper.optimizers[0]!,
    'float32',
    0,
    heap,
  );
  const said = ([1, 2] as const).map((k) => {
    const { factors, ...record } = stepper.step(
      [tensor],
      [{ values: arrayOf(k) }],
      [0.3],
      false,
      undefined,
      1,
    );
    return { ...record, factors: textOf(factors) };
  });
  return { said, arrays: [tensor.w, ...Object.values(tensor.slots)].map(textOf) };
}

const cases = Object.keys(OPTIMIZERS).flatMap((name) =>
  [{}, { weightDecay: 0.01 }].flatMap((options) =>
    Object.keys(RULES).map((rule) => ({ name, rule, optimizer: chooseOptimizer(name, options) })),
  ),
);
const defined = cases.filter(({ optimizer, rule }) => {
  try {
    createStepper({ rule: parseRule(rule)[0]!, optimizers: [optimizer], precision: 'float32' });
    return true;
  } catch {
    return false;
  }
});

it('gives the bits of arrays of their own, under every rule and optimizer', () => {
  expect(defined.length).toBeGreaterThan(100);
  fc.assert(
    fc.property(fc.constantFrom(...defined), entries, ({ optimizer, rule }, rows) => {
      expect(twoSteps(optimizer, rule, rows, newHeap())).toEqual(twoSteps(optimizer, rule, rows));
    }),
    { numRuns: 1000 },
  );
});

it('a new heap begins anew, and a full one says so', () => {
  const first = newHeap().allocate(5);
  expect(first.byteOffset).toBe(4 * HEAP_START);
  const heap = newHeap();
  expect(heap.allocate(5).byteOffset).toBe(first.byteOffset);
  expect(heap.allocate(1).byteOffset - first.byteOffset).toBe(4 * 8);
  expect(() => heap.allocate(65536)).toThrow('no room for 65536 entries');
});
