/** Parts of pages in Markdown. */
import { inCell, markdownTable } from './markdown-table.ts';
import { wrapMarkdown } from './wrap-markdown.ts';

/** A table of which no cell can break out. */
export const tableOf = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  markdownTable(
    head,
    rows.map((cells) => cells.map(inCell)),
  ).join('\n');

/** A titled list; nothing where it is empty. */
export const listSection = (title: string, items: readonly string[]): string[] =>
  items.length === 0 ? [] : [`## ${title}`, items.map((item) => `- ${item}`).join('\n')];

export const pageOf = (parts: readonly string[]): string => wrapMarkdown(`${parts.join('\n\n')}\n`);
