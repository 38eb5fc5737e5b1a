/** What was measured, in a cell of a table: a dash where there is nothing. */
import { formatCount, formatNumber } from '../model/format-number.ts';
import type { NonFiniteCounts } from '../model/order-statistics.ts';

/** A number of a log or checkpoint. */
export const numberText = (value: number | null): string =>
  value === null ? '-' : formatNumber(value, 'lookup');

/** "3 NaN, 1 +Inf". */
export const nonFiniteText = ({ nan, posInf, negInf }: NonFiniteCounts): string =>
  [
    ...(nan > 0 ? [`${formatCount(nan)} NaN`] : []),
    ...(posInf > 0 ? [`${formatCount(posInf)} +Inf`] : []),
    ...(negInf > 0 ? [`${formatCount(negInf)} -Inf`] : []),
  ].join(', ') || '-';
