/** docs/library.md: its code prints what it says, and its names are those of the package. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as library from '../../src/index.ts';
import { projectRoot } from '../support/shared-data.ts';

const page = readFileSync(join(projectRoot, 'docs/library.md'), 'utf8');
const examples = [...page.matchAll(/```js\n([\s\S]*?)```\n\nIt prints:\n\n```text\n([\s\S]*?)```/g)].map(
  ([, code, prints]) => ({ title: /import \{ (.*?) \}/.exec(code!)![1]!, code: code!, prints: prints! }),
);

describe('docs/library.md', () => {
  it('has no code that is not run', () => {
    expect(examples.length).toBeGreaterThan(3);
    expect(examples).toHaveLength(page.match(/^```js$/gm)!.length);
  });

  // The built package by its name, as a user imports it.
  it.each(examples)('$title', ({ code, prints }) => {
    expect(existsSync(join(projectRoot, 'dist/index.js')), 'run `npm run build`').toBe(true);
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      cwd: projectRoot,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(stdout).toBe(prints);
  });

  it('names every export, and nothing else', () => {
    const table = page.slice(page.indexOf('## Names'));
    const named = [...table.matchAll(/^\|.*\|$/gm)].flatMap(([row]) =>
      [...row.matchAll(/`(\w+)`/g)].map(([, name]) => name!),
    );
    expect(named.sort()).toEqual(Object.keys(library).sort());
  });

  it('names every entry point, and no other is open', () => {
    const { exports: open } = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as {
      exports: Record<string, unknown>;
    };
    for (const entry of Object.keys(open).filter((path) => path !== './package.json'))
      expect(page).toContain(`| \`${entry.replace(/^\./, 'clippy-diag')}\` |`);
    const inside = "import 'clippy-diag/dist/engine/analyze.js'";
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', inside], {
      cwd: projectRoot,
      encoding: 'utf8',
    });
    expect(stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED');
  });
});
