/** Names of files and metrics come from strangers; a CI server runs lines of a job's output that look like its commands. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { inertOutput } from '../../src/model/inert-text.ts';
import { toJson } from '../../src/model/json.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const COMMAND = /^\s*::|##(vso)?\[/m;

const scratch = scratchFolders('ci-commands');

describe('what a CI server takes for a command', () => {
  it('is text in every line of an output', () => {
    expect(inertOutput('::error file=a::b\n  ::stop-commands::x\na ##[error]b\n##vso[task.complete]')).toBe(
      '\\u{3a}:error file=a::b\n  \\u{3a}:stop-commands::x\na \\u{23}#[error]b\n\\u{23}#vso[task.complete]',
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

  it.each(['::error file=x::pwned', '##vso[task.setvariable variable=x]y', '##[error]pwned'])(
    'no command prints a folder or a metric named %s as one',
    async (name) => {
      const folder = scratch();
      mkdirSync(join(folder, name));
      copyFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), join(folder, name, 'log.jsonl'));
      writeFileSync(
        join(folder, name, 'rows.jsonl'),
        Array.from(
          { length: 60 },
          (_, step) => `${JSON.stringify({ step, loss: step === 50 ? 1e9 : 1, [name]: step })}\n`,
        ).join(''),
      );
      for (const args of [
        ['analyze', '.'],
        ['analyze', '.', '--json'],
        ['gate', '.'],
        ['gate', '.', '--json'],
        ['inspect', '.'],
        ['chart', name],
        ...['text', 'json', 'markdown', 'junit', 'sarif', 'gitlab'].map((format) => [
          'gate',
          '.',
          '--report',
          `${format}:-`,
        ]),
      ]) {
        const { out, err } = await cli(args, { cwd: folder });
        expect(out + err, args.join(' ')).not.toMatch(COMMAND);
      }
    },
  );
});
