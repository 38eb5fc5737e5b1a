/** The output units of a tensor, each of which a unit-wise rule takes by itself. */

/** Entries i with ⌊i / stride⌋ mod count = u form unit u. */
export interface Units {
  readonly count: number;
  readonly stride: number;
}
