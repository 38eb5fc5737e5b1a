/** What stands in a printed line where the number of a name should be. */

/** What stands between a name and its cell, and what ends a cell. */
const BETWEEN = ' \t"\'()[]:=';
const AFTER = ' \t|;';
const CLOSING = ',:)]}\'".';
/** A cell that is longer is text. */
const MAX_CELL = 80;
/** A name that follows one of these goes on before it: `nll_loss` is not `loss`. */
const IN_NAME = /[\w/.-]/;

/**
 * The cell after the first place at which a name stands whole in a line, up to a blank, a bar or a comma at its end; empty
 * where nothing stands there, undefined where the line does not say the name.
 */
export const cellAfter = (line: string, name: string): string | undefined => cellsAfter(line, name, 1)[0];

/** The cells after the first places at which a name stands whole in a line. */
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
 * Whether what follows a number belongs to it: `1,234.5`, `0.4nats`, `3.2M`, `1.#INF`, `812/s` are none, cut to digits. `#011` is
 * a tab.
 */
export const goesOn = (after: string): boolean =>
  /^(?:[\w%]|#(?!011)|\/[a-z]|,\d{3}(?!\d)|\.\d)/i.test(after);
