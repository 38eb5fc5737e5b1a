import { inert } from '../model/inert-text.ts';
import { textWidth } from './text-width.ts';

/** Breaks text at spaces into lines of at most `width` columns; `hanging` indents all but the first further. */
export function wrap(text: string, width: number, indent: string, hanging = ''): string[] {
  const lines: string[] = [];
  let line = '';
  let lead = indent;
  for (const word of inert(text).split(/\s+/)) {
    if (line !== '' && textWidth(line) + 1 + textWidth(word) > width - lead.length) {
      lines.push(lead + line);
      lead = indent + hanging;
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(lead + line);
  return lines;
}

/** The start of a text that fits into so many columns. */
export function startOf(text: string, width: number): string {
  let start = '';
  for (const character of text) {
    if (textWidth(start + character) > width) break;
    start += character;
  }
  return start;
}
