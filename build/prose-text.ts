/** The prose of a file: paragraphs of a page, comments of a program, messages of an error, each with its line. */
import { lexer, type Token } from 'marked';
import { parseSync, Visitor } from 'oxc-parser';

/** A paragraph, comment or message. Code in it is a blank. */
export interface Passage {
  /** Line of the file, from 1 on, where it begins. */
  readonly line: number;
  readonly text: string;
}

/** Code in a sentence is a word of no interest. */
const withoutCode = (text: string): string =>
  text
    .replace(/```[\s\S]*?```|`[^`]*`/g, 'CODE')
    .replace(/\{@\w+ [^}]*\}/g, 'CODE')
    .replace(/https?:\/\/\S+/g, 'CODE')
    .replace(/\s+/g, ' ')
    .trim();

const lineAt = (text: string, offset: number): number => text.slice(0, offset).split('\n').length;

/** Paragraphs, headings, points of lists and cells of tables of a page in Markdown. */
export function passagesOfMarkdown(page: string): Passage[] {
  const passages: Passage[] = [];
  let from = 0;
  const add = (raw: string): void => {
    const first = raw.trim().split('\n')[0]!;
    const at = Math.max(from, page.indexOf(first, from));
    from = at;
    const text = withoutCode(raw.replace(/<!--[\s\S]*?-->/g, '').replace(/\]\([^)]*\)/g, ']'));
    if (text !== '') passages.push({ line: lineAt(page, at), text });
  };
  const walk = (tokens: readonly Token[]): void => {
    for (const token of tokens) {
      if (token.type === 'code' || token.type === 'html' || token.type === 'space') continue;
      if (token.type === 'list')
        for (const item of token.items as Token[]) walk((item as { tokens: Token[] }).tokens);
      else if (token.type === 'blockquote') walk((token as { tokens: Token[] }).tokens);
      else if (token.type === 'table') {
        const { header, rows } = token as { header: { text: string }[]; rows: { text: string }[][] };
        for (const cell of [...header, ...rows.flat()]) if (cell.text.trim() !== '') add(cell.text);
      } else add(token.raw);
    }
  };
  walk(lexer(page));
  return passages;
}

/**
 * Comments of a TypeScript or JavaScript program, those of following lines together, and its texts where they are messages.
 *
 * @param messages whether its string and template literals are what people read
 */
export function passagesOfProgram(path: string, text: string, messages: boolean): Passage[] {
  const { program, comments } = parseSync(path, text);
  const passages: Passage[] = [];
  let last: { line: number; text: string; end: number } | null = null;
  for (const { type, value, start, end } of comments) {
    const words =
      type === 'Block'
        ? value.replace(/^\s*\* ?/gm, ' ').replace(/@param\s+\w+|@(?:returns|throws|example)\b/g, '.')
        : value;
    const follows = type === 'Line' && last !== null && /^[ \t]*\n[ \t]*$/.test(text.slice(last.end, start));
    if (follows) last = { ...last!, text: `${last!.text} ${words}`, end };
    else {
      if (last !== null) passages.push({ line: last.line, text: withoutCode(last.text) });
      last = { line: lineAt(text, start), text: words, end };
    }
    if (type === 'Block') {
      passages.push({ line: last.line, text: withoutCode(last.text) });
      last = null;
    }
  }
  if (last !== null) passages.push({ line: last.line, text: withoutCode(last.text) });
  if (messages) {
    const add = (start: number, text: string): void => {
      const words = text.replace(/<\/?[a-z!][^<>]*>/gi, '. ');
      if (/ /.test(words.trim())) passages.push({ line: lineAt(text, start), text: withoutCode(words) });
    };
    new Visitor({
      Literal: (node) => {
        if (typeof node.value === 'string') add(node.start, node.value);
      },
      TemplateLiteral: (node) =>
        add(node.start, node.quasis.map(({ value }) => value.cooked ?? '').join('CODE')),
    }).visit(program);
  }
  return passages.filter((passage) => passage.text !== '');
}

/** Comments and docstrings of a Python program. */
export function passagesOfPython(text: string): Passage[] {
  const passages: Passage[] = [];
  for (const found of text.matchAll(/"""([\s\S]*?)"""|((?:^[ \t]*#(?!!).*\n?)+)|[ \t]# (.*)$/gm)) {
    const words = found[1] ?? found[2]?.replace(/^[ \t]*#/gm, ' ') ?? found[3] ?? '';
    const passage = { line: lineAt(text, found.index), text: withoutCode(words.replaceAll('``', '`')) };
    if (passage.text !== '') passages.push(passage);
  }
  return passages;
}
