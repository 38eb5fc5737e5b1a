/** Columns of a text: what is told without the library is what the library tells. */
import { join } from 'node:path';
import { build } from 'esbuild';
import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';
import { textWidth } from '../../src/report/text-width.ts';
import { projectRoot } from '../support/shared-data.ts';

/** All that are told without the library stand before the last of the braille dots. */
const characters = Array.from({ length: 0x2900 }, (_, code) => String.fromCharCode(code));

describe('textWidth', () => {
  it('is what the library tells, for every character alone and among others', () => {
    const texts = characters.flatMap((one) => [one, `é${one}→`]);
    expect(texts.filter((text) => textWidth(text) !== stringWidth(text))).toEqual([]);
  });

  it('tells two columns for an emoji and a wide letter, and none for an accent', () => {
    expect(['👍🏽', '↔️', '↔', '한', 'e\u0301', '✓ → é'].map(textWidth)).toEqual([2, 2, 1, 2, 1, 5]);
  });
});

it('the bundled library, which loads its tables when they are asked for, tells the same', async () => {
  const { lazyWidths } = await import(join(projectRoot, 'build/lazy.js'));
  const { outputFiles } = await build({
    stdin: { contents: "export { default } from 'string-width';", resolveDir: projectRoot },
    bundle: true,
    write: false,
    format: 'esm',
    plugins: [lazyWidths],
  });
  const { text } = outputFiles[0]!;
  expect(text).toContain('ofIntl ??=');
  const { default: bundled } = (await import(`data:text/javascript,${encodeURIComponent(text)}`)) as {
    default: typeof stringWidth;
  };
  const texts = ['👍🏽', '1️⃣', '🇩🇪', '❤️‍🔥', '한글', 'e\u0301', '✓ → é', '\u001b[31mred\u001b[0m', '\ud800'];
  expect(texts.map((one) => bundled(one))).toEqual(texts.map((one) => stringWidth(one)));
});
