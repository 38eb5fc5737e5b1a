/** A measured number with its unit, as a reader says it. */
import type { Quantity } from '../model/finding.ts';
import { formatNumber } from '../model/format-number.ts';

/** "12.5 times", "8 scales"; a number in the unit of its series stands alone. */
export const quantityText = ({ value, unit }: Quantity): string =>
  formatNumber(value) + (unit === '1' ? '' : unit === 'ratio' ? ' times' : ` ${unit}`);
