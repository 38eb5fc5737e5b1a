/** The prose linter: what it reads of a file, and what it finds. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lintFile } from '../../build/prose.ts';
import { passagesOfMarkdown, passagesOfProgram, passagesOfPython } from '../../build/prose-text.ts';
import { projectRoot } from '../support/shared-data.ts';

const found = (path: string, text: string) => lintFile(path, text).map((place) => [place.line, place.found]);

describe('the passages of', () => {
  it('a page: paragraphs, points and cells, with their lines, without code', () =>
    expect(
      passagesOfMarkdown(
        '# A title\n\nWords `code told` and\nmore.\n\n- point\n\n```sh\ntold\n```\n\n| a | b |\n|---|---|\n| c | told |\n',
      ),
    ).toEqual([
      { line: 1, text: '# A title' },
      { line: 3, text: 'Words CODE and more.' },
      { line: 6, text: 'point' },
      { line: 12, text: 'a' },
      { line: 12, text: 'b' },
      { line: 14, text: 'c' },
      { line: 14, text: 'told' },
    ]));

  it('a program: comments, those of following lines as one, and texts where they are messages', () => {
    const text =
      "// One\n// two.\nconst a = 'a message here'; // three\n/** Four `code`. */\nconst b = `x $" +
      '{a} told`;\n';
    expect(passagesOfProgram('a.ts', text, false).map((one) => [one.line, one.text])).toEqual([
      [1, 'One two.'],
      [3, 'three'],
      [4, 'Four CODE.'],
    ]);
    expect(passagesOfProgram('a.ts', text, true).map((one) => one.text)).toEqual(
      expect.arrayContaining(['a message here', 'x CODE told']),
    );
  });

  it('a Python program: docstrings and comments', () =>
    expect(passagesOfPython('"""Doc\nstring."""\n# one\n# two\nx = 1  # three\ns = "told"\n')).toEqual([
      { line: 1, text: 'Doc string.' },
      { line: 3, text: 'one two' },
      { line: 5, text: 'three' },
    ]));
});

describe('the rules', () => {
  it('find the old dialect, where it is', () => {
    expect(found('a.md', 'Fine.\n\nIt is told beside the run.\n')).toEqual([
      [3, 'told'],
      [3, 'beside'],
    ]);
    expect(found('a.ts', '// One that is suspicious it takes on copies first.\n')).toHaveLength(1);
    expect(found('a.py', '"""What would have held the run."""\n')).toEqual([[1, 'would have held']]);
  });

  it('read neither the name of a parameter nor the cells of a table as a sentence', () => {
    const cells = Array.from({ length: 50 }, (_, i) => ` * | ${i} | cell |`).join('\n');
    expect(found('a.ts', `/**\n${cells}\n * @param told what was reported\n */\n`)).toEqual([]);
  });

  it('leave plain English, code and names alone', () => {
    const plain =
      'The report says which steps were skipped. `told` is the name of a variable. It stands out.\n';
    expect(found('a.md', plain)).toEqual([]);
    expect(found('a.ts', 'const told = beside(stands);\n')).toEqual([]);
  });

  it('ask for one idea a sentence: at most 40 words', () => {
    const words = (count: number): string => `${'word '.repeat(count).trim()}.\n`;
    expect(found('a.md', words(40))).toEqual([]);
    expect(found('a.md', words(41))).toHaveLength(1);
    expect(found('a.md', `${words(30).trim()} ${words(30)}`)).toEqual([]);
  });

  it.each(
    JSON.parse(readFileSync(join(projectRoot, 'build/prose-rules.json'), 'utf8')) as {
      find: string;
      write: string;
    }[],
  )('$find says what to write', ({ find, write }) => {
    expect(() => new RegExp(find, 'gi')).not.toThrow();
    expect(write.length).toBeGreaterThan(2);
  });
});
