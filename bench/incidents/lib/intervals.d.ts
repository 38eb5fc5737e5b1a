/** Wilson's 95 % interval of a share; null where n is 0. */
export function share(
  hits: number,
  n: number,
): { hits: number; n: number; share: number | null; low: number | null; high: number | null };
