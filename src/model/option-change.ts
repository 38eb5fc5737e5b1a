/** An option of the optimizer that was written while a training was recorded, and its words. */
import { formatNumber } from './format-number.ts';

/** An option of a group that is another one than at its last record. */
export interface OptionChange {
  /** Position of the step. */
  readonly at: number;
  readonly group: number;
  readonly name: string;
  readonly was: unknown;
  readonly is: unknown;
}

/** An option as a reader calls it, by its name in a capture or in a framework. */
export const optionWords = (name: string): string => (/^weight_?decay$/i.test(name) ? 'weight decay' : name);

/** @param step number of the step at the change's position */
export const changeWords = ({ group, name, was, is }: Omit<OptionChange, 'at'>, step: number): string =>
  `${optionWords(name)} of parameter group ${group} is ${textOf(is)} from step ${step} on, and was ${textOf(was)}`;

/** A value of an option, rounded. */
export const textOf = (value: unknown): string =>
  typeof value === 'number' ? formatNumber(value) : String(value);
