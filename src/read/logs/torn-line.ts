/** Whether a last line without an end is a record that was cut, or other text that was never one. */
import { isCutShort } from './cut-number.ts';
import { afterBar } from './line-prefix.ts';
import { asText } from './text/as-said.ts';
import type { Template } from './text/templates.ts';

const NUMBER = /[-+]?\.?\d[\d.,_]*(?:e[-+]?\d*)?|(?<![a-z])(?:nan|inf(?:inity)?|none|null)(?![a-z])/gi;
/** What a number may begin with where the line ends: `-`, `.`, `na` of `nan`. */
const BEGINS_NUMBER = /(?:[-+.]|(?<![a-z])(?:na?|inf?|infin\w{0,4}))$/i;

/** The words of a line, with a mark in the place of each number, and without blanks and drawn bars, which differ in length. */
function wordsIn(line: string): string {
  const bytes = Buffer.from(asText(line));
  const text = bytes.toString('utf8', afterBar(bytes, 0, bytes.length));
  return text.replace(NUMBER, '#').replace(/[\s\u2500-\u25bf]+/g, '');
}

/** So much of a line is compared; a table keeps more of its first line. */
const COMPARED = 1000;

/** Whether a line that was cut says what a line of any of some tables begins with. */
function beginsAsAny(line: string, tables: Iterable<Template>): boolean {
  const begun = wordsIn(line.trimEnd().slice(0, COMPARED)).replace(BEGINS_NUMBER, '');
  for (const { shown } of tables) if (wordsIn(shown).startsWith(begun)) return true;
  return false;
}

/** A last line without an end. */
export interface LastLine {
  readonly raw: string;
  /** The table that it is of, without a last number that may be incomplete. */
  readonly template: Template | undefined;
  /** Whether it has such a number. */
  readonly cut: boolean;
}

/** The number that a text ends with. */
const LAST_NUMBER = /(?:^|[^\w.])([-+]?\d+(?:\.\d*)?)$/;
/** Characters at the end of a line that are looked at for it. */
export const LONGEST_LAST_NUMBER = 40;

/**
 * Whether a last line without an end is a part of one, though its numbers were read: its last number has too few decimals, or it
 * has a shape of its own, with which the lines of another table begin.
 */
export function isPart({ raw, template }: LastLine, tables: Iterable<Template>): boolean {
  if (template === undefined) return false;
  if (template.order.length === 1) {
    const begun = wordsIn(raw.slice(0, COMPARED));
    for (const { order, shown } of tables) {
      const words = order.length > 1 ? wordsIn(shown) : '';
      if (words.length > begun.length && words.startsWith(begun)) return true;
    }
    return false;
  }
  const number = LAST_NUMBER.exec(raw.trimEnd().slice(-LONGEST_LAST_NUMBER))?.[1];
  const values = template.values.findLast((one) => one !== undefined)?.finish();
  if (number === undefined || values?.at(-1) !== Number(number)) return false;
  return isCutShort(number, values.subarray(0, values.length - 1));
}

/** @param used the tables of the log; undefined where the lines of known layouts are the log */
export function fateOfLast(
  { raw, template, cut }: LastLine,
  used: ReadonlySet<Template> | undefined,
): 'record' | 'torn-record' | 'passed-over' {
  if (used === undefined) return 'torn-record';
  if (template !== undefined && used.has(template)) return cut ? 'torn-record' : 'record';
  return beginsAsAny(raw, used) ? 'torn-record' : 'passed-over';
}
