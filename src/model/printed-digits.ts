/** Whether a number may be of single precision: event files store every scalar so. */
export const isSingle = (value: number): boolean => Math.fround(value) === value;

/** So many digits distinguish any two numbers of single precision. */
export const SINGLE_DIGITS = 9;

/** Digits of a number in its shortest form, and how many of them are after the point. */
export function digitsOf(value: number): { readonly digits: number; readonly decimals: number } {
  const text = Math.abs(value).toExponential();
  const shortest =
    isSingle(value) && text.length > SINGLE_DIGITS ? Number(value.toPrecision(SINGLE_DIGITS)) : value;
  const [mantissa = '', exponent = '0'] = Math.abs(shortest).toExponential().split('e');
  const digits = mantissa.replace('.', '').length;
  return { digits, decimals: digits - 1 - Number(exponent) };
}
