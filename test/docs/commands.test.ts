/** Every command that the README and docs/ show is run by a test, or says why not; those that take long: commands.long.test.ts. */
import { describe, expect, it } from 'vitest';
import { facts } from '../../build/stamp.ts';
import { COMMANDS } from '../../src/run.ts';
import { testLines } from '../support/example-lines.ts';
import { fences, INSTALLS, inline, NOT_RUN, shown } from './commands.ts';

describe('commands in the docs', () => {
  it('stand in blocks that say so, and nowhere else', () => {
    const languages = new Set(['sh', 'console', 'diff', 'js', 'json', 'python', 'text', 'ts', 'yaml']);
    for (const { path, language, text } of fences) {
      expect([...languages], `${path}: a block of what?\n${text}`).toContain(language);
      if (language !== 'sh' && language !== 'console')
        expect(text, path).not.toMatch(/^(\$ |(npx |npm |pip |docker )?clippy-diag |npm |pip |python3? )/m);
    }
  });

  it('are each run, or listed with the reason why not', () => {
    expect(shown.tool.length).toBeGreaterThan(3);
    const installs = [
      ...INSTALLS.checkout,
      ...INSTALLS.registry,
      ...(facts().published ? INSTALLS.published : []),
    ];
    expect([...shown.others].sort()).toEqual(installs.sort());
    // No reason for a command that is not shown any more.
    expect(shown.notRun).toEqual(expect.arrayContaining(Object.keys(NOT_RUN)));
  });

  testLines(shown.tool);
});

describe('commands in prose', () => {
  it('are there', () => expect(inline.length).toBeGreaterThan(10));

  it.each(inline)('$path: clippy-diag $text', async ({ words }) => {
    const [first = '', second = ''] = words;
    // A path alone is analyzed.
    if (words.length === 1 && first.endsWith('/')) return;
    const nested = `${first}:${second}`;
    const [id, rest] = nested in COMMANDS ? [nested, words.slice(2)] : [first, words.slice(1)];
    expect(Object.keys(COMMANDS)).toContain(id);
    const { default: command } = await COMMANDS[id]!();
    // What stands for a value is none: the names of the flags count.
    const flags = rest.filter((word) => word.startsWith('--')).map((word) => word.replace(/=.*/, ''));
    for (const flag of flags) expect(Object.keys(command.flags), flag).toContain(flag.slice(2));
  });
});
