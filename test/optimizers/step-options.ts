/** Any optimizer with any options of its table, for property tests. */
import fc from 'fast-check';
import type { OptionSpec, Options, OptionValue } from '../../src/model/options.ts';
import type { Optimizer } from '../../src/step/optimizers/optimizer.ts';
import { OPTIMIZERS } from '../../src/step/optimizers/registry.ts';

export const optimizers: readonly Optimizer[] = Object.values(OPTIMIZERS);

/** Coefficients stay below 0.99: at 1 a moving mean takes nothing in. */
function drawn(spec: OptionSpec): fc.Arbitrary<OptionValue> {
  if (spec.type === 'flag') return fc.boolean();
  if (spec.type === 'choice') return fc.constantFrom(...spec.choices);
  return spec.max === 1
    ? fc.oneof(fc.constant(0), fc.double({ min: 0.01, max: 0.99, noNaN: true }))
    : fc.oneof(fc.constant(0), fc.double({ min: 1e-10, max: 1, noNaN: true }));
}

/** Options drawn from the optimizer's table, all but those that are fixed. */
export const anyOptions = (optimizer: Optimizer, fixed: Options = {}): fc.Arbitrary<Options> =>
  fc.record(
    Object.fromEntries(
      optimizer.options.map((spec) => [
        spec.name,
        Object.hasOwn(fixed, spec.name) ? fc.constant(fixed[spec.name]!) : drawn(spec),
      ]),
    ),
  );
