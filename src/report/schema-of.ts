/**
 * Schemas that are the types of the model, checked by the compiler: a member that one has and the other lacks, or has with
 * another type, does not compile. The model stays free of zod; its schema says what a member means to a reader of the JSON.
 */
import * as z from 'zod';
import { numberFromJson } from '../model/json.ts';

/** True for types that are the same, which is more than each being assignable to the other. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

type Shape = Readonly<Record<string, z.ZodType>>;

/** The further condition on a shape: each member has the type of T's member of that name, and none is missing. */
type Matching<T, S extends Shape> = {
  readonly [K in keyof S]: K extends keyof T
    ? Same<z.output<S[K]>, T[K]> extends true
      ? S[K]
      : { readonly 'the type has': T[K]; readonly 'the schema has': z.output<S[K]> }
    : { readonly 'the type has no such member': K };
} & { readonly [K in Exclude<keyof T, keyof S>]-?: z.ZodType<T[K]> };

/**
 * The schema of an object type of the model: `objectOf<Finding>('finding', 'What …')({ id: text('…'), … })`.
 *
 * @param id its name in the published schema, unique in the program; null for one that is written where it is used
 * @param description what it is, for a reader of the JSON
 */
export const objectOf =
  <T extends object>(id: string | null, description: string) =>
  <S extends Shape>(shape: S & Matching<T, S>): z.ZodType<T> => {
    const schema: z.ZodType<unknown> = z.object(shape as Shape);
    return schema.meta({ ...(id === null ? {} : { id }), description }) as z.ZodType<T>;
  };

export const text = (description: string): z.ZodType<string> => z.string().describe(description);
export const flag = (description: string): z.ZodType<boolean> => z.boolean().describe(description);

/** A whole number from 0 up. */
export const count = (description: string): z.ZodType<number> => z.int().min(0).describe(description);

/** A number that is always finite: a step, a line, a seed. */
export const finite = (description: string): z.ZodType<number> => z.number().describe(description);

const measured: z.ZodType<number> = z
  .union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])])
  .transform((value) => numberFromJson(value)!)
  .meta({
    id: 'number',
    description:
      'A number. The strings "NaN", "Infinity" and "-Infinity" replace the numbers that JSON cannot write.',
  });

/** A number that may be NaN or ±Infinity; it is one again when it is read. */
export const number = (description: string): z.ZodType<number> => measured.describe(description);
export const numbers = (description: string): z.ZodType<readonly number[]> => listOf(measured, description);
export const texts = (description: string): z.ZodType<readonly string[]> => listOf(z.string(), description);

export const listOf = <T>(member: z.ZodType<T>, description: string): z.ZodType<readonly T[]> =>
  z.array(member).describe(description);

export const recordOf = <T>(
  member: z.ZodType<T>,
  description: string,
): z.ZodType<Readonly<Record<string, T>>> => z.record(z.string(), member).describe(description);

/** What the schema allows, or null. */
export const orNull = <T>(
  schema: z.ZodType<T>,
  description: string = schema.description ?? '',
): z.ZodType<T | null> => schema.nullable().describe(description);

/** One of several words. */
export const oneOf = <const T extends string>(words: readonly T[], description: string): z.ZodType<T> =>
  z.enum(words as readonly [T, ...T[]]).describe(description) as z.ZodType<unknown> as z.ZodType<T>;

/** Two numbers: the first and the last. */
export const range = (description: string): z.ZodType<readonly [number, number]> =>
  z.tuple([z.number(), z.number()]).describe(description);

/** A setting. A number comes first: its words "NaN" and "Infinity" are numbers, not texts. */
export const setting: z.ZodType<number | string | boolean> = z.union([measured, z.string(), z.boolean()]);
