/** Tables in Markdown. */

/** The lines of a table. Cells are Markdown that stays in its cell: {@link inCell} makes it so. */
export const markdownTable = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${head.join(' | ')} |`,
  `|${' --- |'.repeat(head.length)}`,
  ...rows.map((row) => `| ${row.join(' | ')} |`),
];

/** Markdown on one line, in which no bar ends a cell. */
export const inCell = (markdown: string): string => markdown.replaceAll('|', '\\|').replaceAll('\n', ' ');
