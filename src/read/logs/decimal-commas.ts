/**
 * Decimal commas, as trainers print them where the locale has them: `loss: 0,6931; acc: 0,51`. A comma parts lists and groups of
 * thousands too, so that a line counts as one of them only where a loss shows it and no number in it has a point.
 */

/** A loss whose digits behind the comma are no group of thousands: `0,693`, `2,4018`, `41,5`. */
const SHOWN =
  /(?:loss|nll|perplexity|ppl|cost|verlust|perte|p[eé]rdida|perda|perdita)["')\]]{0,3}(?:\s{0,4}[:=]\s{0,4}|\s{1,4})[-+]?(?:0,\d{3}|\d{1,12},(?:\d{1,2}|\d{4,20}))(?!\d)(?![,.]\d)/i;
const POINT = /\d\.\d/;
/** A number with one comma in it; none of a time (`09:12:11,123`), a list or a version. */
const WITH_COMMA = /(?<![\w.,/]|\d:)([-+]?\d{1,12}),(\d{1,20})(?![\d/:]|[,.]\d)/g;

/** The line with points for its decimal commas; as it is where it shows none. */
export function withPoints(text: string): string {
  if (!text.includes(',') || POINT.test(text) || !SHOWN.test(text)) return text;
  return text.replace(WITH_COMMA, '$1.$2');
}
