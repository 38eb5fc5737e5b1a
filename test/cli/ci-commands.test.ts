/**
 * Names come from strangers: what a CI server or a terminal obeys is text. test/cli/hostile-names.test.ts looks at every
 * command and format.
 */
import { describe, expect, it } from 'vitest';
import { inertButColours, inertJson, inertOutput } from '../../src/model/inert-text.ts';
import { toJson } from '../../src/model/json.ts';

describe('what a CI server takes for a command', () => {
  it('is text in every line of an output', () => {
    expect(
      inertOutput(
        '::error file=a::b\n  ::stop-commands::x\na ##[error]b\n##vso[task.complete]\n\u001b[1m::error::x',
      ),
    ).toBe(
      '\\u{3a}:error file=a::b\n  \\u{3a}:stop-commands::x\na \\u{23}#[error]b\n\\u{23}#vso[task.complete]\n\u001b[1m\\u{3a}:error::x',
    );
  });

  it('is left alone where it is none: a scope in the middle, a heading, a lone colon', () => {
    const text = 'std::vector\n## heading\n: a\n#[x]\n';
    expect(inertOutput(text)).toBe(text);
  });

  it('keeps the value of a JSON document', () => {
    const value = { '##[a]': '###vso[b]', c: '####' };
    expect(toJson(value)).not.toMatch(/##/);
    expect(JSON.parse(toJson(value))).toEqual(value);
  });

  it('steers no terminal, but for colours, and JSON keeps its value', () => {
    expect(inertButColours('\u001b[1mbold\u001b[22m \u001b[2J\u009b2J\u202e')).toBe(
      '\u001b[1mbold\u001b[22m \\u{1b}[2J\\u{9b}2J\\u{202e}',
    );
    const value = { '\u009b2J': '\u202e \u{e0041} \ufeff', plain: 'é 模型' };
    const text = inertJson(JSON.stringify(value));
    expect(text).toMatch(/^[\x20-\x7eé模型]*$/);
    expect(JSON.parse(text)).toEqual(value);
  });
});
