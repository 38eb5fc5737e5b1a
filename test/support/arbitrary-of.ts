/** Values of a zod schema for property tests: every member that it has, optional ones there or not. */
import fc from 'fast-check';
import type { z } from 'zod';
import { numberFromJson } from '../../src/model/json.ts';

/** What replaces the values of a schema that has this id. */
type Overrides = Readonly<Record<string, fc.Arbitrary<unknown>>>;

interface Def {
  readonly type: string;
  readonly shape: Record<string, z.ZodType>;
  readonly element: z.ZodType;
  readonly items: readonly z.ZodType[];
  readonly options: readonly z.ZodType[];
  readonly entries: Record<string, string>;
  readonly values: readonly unknown[];
  readonly valueType: z.ZodType;
  readonly innerType: z.ZodType;
  readonly format?: string;
}

/** Any number, those that stop a formatter or an axis more often than chance has them. */
export const anyNumber = fc.oneof(
  fc.double(),
  fc.constantFrom(0, -0, 1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e300, 1e-320),
  fc.integer({ min: -10, max: 1000 }),
);
const anyFinite = fc.oneof(
  fc.integer({ min: 0, max: 1000 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom('loss', 'NaN', '__proto__', '', '损失', 'a/b.csv', '\u001b[31m', '<b>|&"\\', '\ud800'),
);

export function arbitraryOf<T>(schema: z.ZodType<T>, overrides: Overrides = {}): fc.Arbitrary<T> {
  const of = (one: z.ZodType): fc.Arbitrary<unknown> => {
    const override = overrides[(one.meta() as { id?: string } | undefined)?.id ?? ''];
    if (override !== undefined) return override;
    const def = (one as unknown as { def: Def }).def;
    switch (def.type) {
      case 'object': {
        const members = Object.entries(def.shape);
        return fc.record(Object.fromEntries(members.map(([key, member]) => [key, of(unwrapped(member))])), {
          requiredKeys: members.filter(([, member]) => !isOptional(member)).map(([key]) => key),
        });
      }
      case 'array':
        return fc.array(of(def.element), { maxLength: 4 });
      case 'tuple':
        return fc.tuple(...def.items.map(of));
      case 'union': {
        const any = fc.oneof(...def.options.map(of));
        // Where a number may stand too, a text that JSON writes for one is that number.
        const mayBeNumber = def.options.some((each) => (each as unknown as { def: Def }).def.type === 'pipe');
        return mayBeNumber ? any.map((value) => numberFromJson(value) ?? value) : any;
      }
      case 'enum':
        return fc.constantFrom(...Object.values(def.entries));
      case 'literal':
        return fc.constantFrom(...def.values);
      case 'record':
        return fc.dictionary(anyText, of(def.valueType), { maxKeys: 3, noNullPrototype: true });
      case 'nullable':
        return fc.option(of(def.innerType));
      case 'string':
        return anyText;
      case 'boolean':
        return fc.boolean();
      case 'number':
        return def.format === 'safeint' ? fc.nat(1e6) : anyFinite;
      // The one transformation there is: words to numbers.
      case 'pipe':
        return anyNumber;
      default:
        throw new Error(`values of ${def.type} are not made here`);
    }
  };
  return of(schema) as fc.Arbitrary<T>;
}

const isOptional = (schema: z.ZodType): boolean =>
  (schema as unknown as { def: Def }).def.type === 'optional';
const unwrapped = (schema: z.ZodType): z.ZodType =>
  isOptional(schema) ? (schema as unknown as { def: Def }).def.innerType : schema;
