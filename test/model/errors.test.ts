import { describe, expect, it } from 'vitest';
import { formatError } from '../../src/cli/error-text.ts';
import { diagError, ERROR_TEXTS, type ErrorCode, EXIT } from '../../src/model/errors.ts';

const codes = Object.keys(ERROR_TEXTS) as ErrorCode[];

/** Details for every placeholder of a text. */
const detailsOf = (code: ErrorCode): Record<string, string> => {
  const text: { message: string; hint?: string } = ERROR_TEXTS[code];
  return Object.fromEntries(
    [...`${text.message} ${text.hint ?? ''}`.matchAll(/\{(\w+)\}/g)].map((m) => [m[1]!, `<${m[1]}>`]),
  );
};

describe('the table of errors', () => {
  it.each(codes)('%s renders what, where and what to do', (code) => {
    const error = diagError(code, detailsOf(code), { path: 'runs/a.csv', line: 3 });
    const text = formatError(error);
    expect(text).toMatch(new RegExp(`^error\\[${code}\\]: `));
    expect(text).toContain('--> runs/a.csv, line 3');
    expect(text).not.toMatch(/\{\w+\}/);
    expect(Object.values(EXIT)).toContain(error.exitCode);
    expect(error.exitCode).not.toBe(EXIT.done);
    expect(error.exitCode === EXIT.bug).toBe(code === 'detector-crashed');
  });

  it('writes codes in kebab-case and messages without a final stop', () => {
    for (const code of codes) {
      expect(code).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
      expect(ERROR_TEXTS[code].message).not.toMatch(/[.!]$/);
    }
  });

  it('makes hostile names inert on the terminal', () => {
    const error = diagError(
      'file-missing',
      { path: 'a\u001b[31mb\u202e', cwd: '/' },
      { path: 'a\u001b[31mb\u202e' },
    );
    expect(formatError(error)).not.toMatch(/[\u001b\u202e]/);
  });
});
