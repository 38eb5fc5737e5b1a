/** Values of a flag or an argument that are known beforehand although others are allowed: what a shell completes. */

/** One that ends with `:` or `=` is a beginning: a file, or something unknown in advance, comes after it. */
export type KnownValues = () => readonly string[] | Promise<readonly string[]>;

/** The flag or argument, with values that a shell may complete. */
export const knowing = <T extends object>(described: T, knownValues: KnownValues): T => ({
  ...described,
  knownValues,
});

interface Described {
  readonly options?: readonly string[] | undefined;
  readonly knownValues?: KnownValues;
}

/** The values to complete; undefined where none are known. */
export const knownValuesOf = async ({
  options,
  knownValues,
}: Described): Promise<readonly string[] | undefined> => options ?? (await knownValues?.());
