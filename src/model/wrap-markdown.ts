/** Paragraphs and items of lists of a Markdown page, broken at a width; everything else stays byte for byte. */

/** Columns of the pages of docs/. */
export const PAGE_WIDTH = 100;

const FENCE = /^\s*(```|~~~)/;
const MARKER = /^(\s*)(?:[-*+]|\d{1,9}[.)])\s+(?:\[[ x]\]\s+)?/;
/** Lines that are not prose: headings, tables, HTML, quotations, definitions of links, code by indentation, rules. */
const KEPT = /^(?:#{1,6} |\s*\||\s*<|>|\[[^\]]+\]: | {4}|\t|\s*(?:[-*_]\s*){3,}$)/;
/** What would be an item, a heading or a quotation at the start of a line. */
const STARTS_BLOCK = /^(?:[-*+]|\d{1,9}[.)]|#{1,6}|[>|=].*)$/;

/** Words of a paragraph; code, a link's address and what may not start a line stay together with what is around them. */
function wordsOf(text: string): string[] {
  const words: string[] = [];
  let open = false;
  for (const word of text.split(/\s+/).filter((one) => one !== '')) {
    const glued = open || (words.length > 0 && STARTS_BLOCK.test(word));
    if (glued) words.push(`${words.pop()} ${word}`);
    else words.push(word);
    // Within a span of code: its ticks are not closed yet.
    if ((word.split('`').length - 1) % 2 === 1) open = !open;
  }
  return words;
}

/**
 * Breaks the paragraphs of which a line is wider than `width` columns. A word, or a span of code, that is wider by itself
 * stays whole. What was broken once is not broken again.
 */
export function wrapMarkdown(page: string, width = PAGE_WIDTH): string {
  const out: string[] = [];
  const lines = page.split('\n');
  let fenced = false;
  for (let i = 0; i < lines.length; ) {
    const line = lines[i]!;
    if (FENCE.test(line)) fenced = !fenced;
    const marker = MARKER.exec(line)?.[0];
    if (fenced || FENCE.test(line) || line.trim() === '' || (marker === undefined && KEPT.test(line))) {
      out.push(line);
      i++;
      continue;
    }
    const lead = marker ?? /^\s*/.exec(line)![0];
    const block = blockAt(lines, i, lead.length);
    i += block.length;
    const breaks = block.some((one) => / {2}$|\\$/.test(one));
    if (breaks || block.every((one) => one.length <= width)) out.push(...block);
    else out.push(...filledTo(width, lead, wordsOf(block.join(' ').slice(lead.length))));
  }
  return out.join('\n');
}

/** The lines of a paragraph or an item that begins at one, of which those that follow are indented by so many columns. */
function blockAt(lines: readonly string[], start: number, indentation: number): string[] {
  const block = [lines[start]!];
  for (const line of lines.slice(start + 1)) {
    const indent = /^\s*/.exec(line)![0].length;
    if (line.trim() === '' || FENCE.test(line) || MARKER.test(line) || indent !== indentation) break;
    if (KEPT.test(line.slice(indent))) break;
    block.push(line);
  }
  return block;
}

/** Lines of at most so many columns; the first begins with the lead, those that follow with as many blanks. */
function filledTo(width: number, lead: string, words: readonly string[]): string[] {
  const lines: string[] = [];
  let start = lead;
  let filled = '';
  for (const word of words) {
    if (filled !== '' && start.length + filled.length + 1 + word.length > width) {
      lines.push(start + filled);
      start = ' '.repeat(lead.length);
      filled = word;
    } else filled += filled === '' ? word : ` ${word}`;
  }
  return [...lines, start + filled];
}
