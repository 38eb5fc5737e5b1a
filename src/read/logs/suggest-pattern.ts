/** The `--pattern` for a line that looks like a record and was not read as one. */

import { roleByName } from './metric-roles.ts';

/** A name, a separator, and a number: words that follow the name are not a number. */
const LOSS =
  /([\w/.-]{0,40}(?:loss|nll|ppl|perplexity|cost)[\w/.-]{0,40})([^\w\n+-]{1,8})(?=[-+]?\.?(?:\d|nan\b|inf\b))/gi;
/** Without a separator: `loss0.675`. */
const TIGHT_LOSS = /\b([a-z_]{0,40}loss)()(?=\d{1,9}\.\d)/gi;
/** What the pattern reads as a number: with the sign of its exponent, without the spread of a mean (`0.31+0.02`). */
const NUMBER = '[-+]?\\.?\\w+(?:\\.\\w+)?(?:(?<=[eE])[-+]\\d+)?';
const AXIS = /\b(step|steps|iter|iteration|epoch|batch|it)\b([^\w\n]{1,4})(\d{1,15})/i;

/** A quote would end a shell's argument. */
const escaped = (text: string): string =>
  text
    .replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
    .replace(/\s+/g, '\\s+')
    .replaceAll("'", '.');

/** An expression that finds the loss of the line, and its axis if it has one; undefined where the line has no loss. */
export function suggestPattern(line: string): string | undefined {
  // The weight of a loss is not a loss.
  const loss = [LOSS, TIGHT_LOSS]
    .flatMap((expression) => [...line.matchAll(expression)])
    // The point of `loss0.675` belongs to its number.
    .find(([, name, gap]) => roleByName(name!) !== 'other' && (gap !== '.' || !/\d$/.test(name!)));
  if (loss === undefined) return undefined;
  const value = `${escaped(loss[1]! + loss[2]!)}(?<loss>${NUMBER})`;
  const axis = AXIS.exec(line);
  if (axis === null) return value;
  const unit = axis[1]!.toLowerCase() === 'epoch' ? 'epoch' : 'step';
  const counter = `${escaped(axis[1]! + axis[2]!)}(?<${unit}>\\d+)`;
  return axis.index < loss.index ? `${counter}.*?${value}` : `${value}.*?${counter}`;
}
