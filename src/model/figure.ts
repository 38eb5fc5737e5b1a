/** A measured number for a sentence: four significant digits, with an exponent where zeros would have to be counted. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const rounded = Number(value.toPrecision(4));
  return Math.abs(rounded) >= 1e9 ? rounded.toExponential() : String(rounded);
}
