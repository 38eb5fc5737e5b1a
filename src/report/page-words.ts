/** Words that several parts of the answer share. */

import { formatCount, formatNumber } from '../model/format-number.ts';
import { inertName } from '../model/inert-text.ts';
import type { StepUnit } from '../model/run.ts';

export const brief = (value: number): string => formatNumber(value, 'brief');
/** A text with a capital, unless it begins with a name (of a file, of a tensor): that is another name with one. */
export const capital = (text: string): string =>
  /^[^\s,:;]*[./_\d]\S/.test(text) ? text : text.slice(0, 1).toUpperCase() + text.slice(1);
export const plural = (count: number, noun: string, several = `${noun}s`): string =>
  `${formatCount(count)} ${count === 1 ? noun : several}`;
export const at = (step: number, unit: StepUnit): string => `${unit} ${formatCount(step)}`;

/** Clauses as sentences of their own. */
export const sentences = (statement: string): string =>
  statement
    .split('; ')
    .map((clause) => `${capital(inertName(clause)).replace(/\.$/, '')}.`)
    .join(' ');
