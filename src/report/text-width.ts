import stringWidth from 'string-width';

/**
 * Latin, Greek and Cyrillic letters, punctuation, arrows, operators, lines, blocks, marks and dots: one column each, and
 * none of them joins with another one. For any other text the rules of Unicode and a list of all emoji are loaded, which
 * takes 50 ms.
 */
const ONE_COLUMN_EACH =
  /^[ -~\xa1-\xac\xae-\u02ff\u0391-\u03c9\u0410-\u044f\u2010-\u2027\u2030-\u205e\u2190-\u22ff\u2500-\u259f\u2713\u2717\u2800-\u28ff]*$/;

/** How many columns of a terminal a text takes. */
export const textWidth = (text: string): number =>
  ONE_COLUMN_EACH.test(text) ? text.length : stringWidth(text);
