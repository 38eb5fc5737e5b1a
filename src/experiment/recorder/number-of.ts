/** A number as JSON has it; those that are not finite are text. */
export const numberOf = (value: number): number | string => (Number.isFinite(value) ? value : String(value));
