/** Whether the number at the very end of a log was cut, by how many decimals those before it have. */
import { arrayOf, type Column } from '../../model/column.ts';

/** Numbers before it that show how many decimals are usual, and how many of them are looked at. */
const LEAST_BEFORE = 10;
const MOST_BEFORE = 1000;
/** Decimals that it lacks: of numbers that are printed without zeros at their end, one in a hundred lacks two. */
const LACKING = 2;
/** Shares of the numbers before it that may have fewer than are usual, and as few as it has. */
const FEWER = 0.2;
const AS_FEW = 0.05;

/** Decimals of a number as it is printed at its shortest. */
function decimalsOf(value: number): number {
  const [digits = '', exponent = '0'] = String(value).split('e');
  return Math.max(0, (digits.split('.')[1]?.length ?? 0) - Number(exponent));
}

/**
 * `loss 0.1` at the end of `0.4512`, `0.4498`, … was cut: it has two decimals fewer than usual, and hardly any of them has so few.
 *
 * @param text of the number, without an exponent
 * @param before the numbers of the same place in earlier rows
 */
export function isCutShort(text: string, before: Column): boolean {
  const own = /^[-+]?\d{1,20}(?:\.(\d{0,30}))?$/.exec(text);
  const finite = arrayOf(before.subarray(Math.max(0, before.length - MOST_BEFORE))).filter(Number.isFinite);
  if (own === null || finite.length < LEAST_BEFORE) return false;
  const decimals = finite.map(decimalsOf).sort();
  const place = (share: number): number => decimals[Math.floor(share * decimals.length)]!;
  const count = own[1]?.length ?? 0;
  return count < place(AS_FEW) && count + LACKING <= place(FEWER);
}
