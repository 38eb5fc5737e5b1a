/** What a printed line has where the number of a name should be. */

/** What separates a name from its cell, and what ends a cell. */
const BETWEEN = ' \t"\'()[]:=';
const AFTER = ' \t|;';
const CLOSING = ',:)]}\'".';
/** A cell that is longer is text. */
const MAX_CELL = 80;
/** Characters of a name: `nll_loss` is not `loss`. */
const IN_NAME = /[\w/.-]/;

/**
 * The cell after the first whole occurrence of a name in a line. It ends at a blank, a bar or a semicolon,
 * and loses the comma, bracket or quote at its end. It is empty where nothing follows the name, and
 * undefined where the line lacks the name.
 */
export const cellAfter = (line: string, name: string): string | undefined => cellsAfter(line, name, 1)[0];

/** The cells after the first whole occurrences of a name in a line. */
export function cellsAfter(line: string, name: string, most: number): string[] {
  const cells: string[] = [];
  if (name === '') return cells;
  const inName = (at: number): boolean => at >= 0 && at < line.length && IN_NAME.test(line[at]!);
  let at = line.indexOf(name);
  for (; at >= 0 && cells.length < most; at = line.indexOf(name, at + name.length)) {
    if (inName(at - 1) || inName(at + name.length)) continue;
    let from = at + name.length;
    while (from < line.length && BETWEEN.includes(line[from]!)) from++;
    let to = from;
    while (to < line.length && to - from < MAX_CELL && !AFTER.includes(line[to]!)) to++;
    cells.push(withoutClosing(line.slice(from, to)));
  }
  return cells;
}

/** A cell without the comma, bracket or quote that ends it. */
export function withoutClosing(cell: string): string {
  let to = cell.length;
  while (to > 0 && CLOSING.includes(cell[to - 1]!)) to--;
  return cell.slice(0, to);
}

/**
 * Whether what follows a number belongs to it. `1,234.5`, `0.4nats`, `3.2M`, `1.#INF` and `812/s` must not be
 * cut to their digits. `#011` is a tab.
 */
export const goesOn = (after: string): boolean =>
  /^(?:[\w%]|#(?!011)|\/[a-z]|,\d{3}(?!\d)|\.\d)/i.test(after);
