import { describe, expect, it } from 'vitest';
import { formatError } from '../../src/app/cli/error-text.ts';
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

  it('says one thing of one thing', () => {
    const bad = (count: number, lines: string): string =>
      diagError('log-lines-bad', { count, what: 'JSON objects', one: 'a JSON object', lines }).message;
    expect(bad(1, '3')).toBe('line 3 is not a JSON object');
    expect(bad(2, '3, 5')).toBe('2 lines are not JSON objects (lines 3, 5)');
    // The number that is counted is the first: that 1 byte was kept says nothing of it.
    expect(diagError('log-hole', { count: 2, bytes: 1, line: 7 }).message).toMatch(
      /^2 lines \(1 bytes\) hold/,
    );
    expect(diagError('log-hole', { count: 1, bytes: 9, line: 7 }).message).toMatch(
      /^a line \(9 bytes\) holds/,
    );
    for (const code of codes) {
      const { message, one }: { message: string; one?: string } = ERROR_TEXTS[code];
      if (one !== undefined) expect(one, code).not.toBe(message);
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
