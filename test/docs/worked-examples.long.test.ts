/** The examples of docs/worked-examples.md, followed in a copy of the project: its code compiles, and the contract tests pass. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('worked-examples');

/** What the copy may write to; the rest of the project is linked. */
const COPIED = ['src', 'test', 'docs', 'schema', 'python'];
/** Of no use in the copy, and large. */
const LEFT_OUT = ['.git', 'node_modules', 'site', 'coverage', 'release'];

function copyOfProject(): string {
  const folder = scratch();
  for (const name of readdirSync(projectRoot)) {
    if (LEFT_OUT.includes(name)) continue;
    if (COPIED.includes(name))
      cpSync(join(projectRoot, name), join(folder, name), {
        recursive: true,
        filter: (path) => !/python[\\/](dist|build|\.)/.test(path),
      });
    else symlinkSync(join(projectRoot, name), join(folder, name));
  }
  symlinkSync(join(projectRoot, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/** The text with each line that has a `+` put behind the line before it, which must occur once. */
function withLines(text: string, block: string): string {
  const lines = text.split('\n');
  let at = -1;
  for (const line of block.trimEnd().split('\n')) {
    const body = line.slice(1);
    if (line.startsWith('+')) {
      lines.splice(++at, 0, body);
      continue;
    }
    expect(
      lines.filter((one) => one === body),
      body,
    ).toHaveLength(1);
    at = lines.indexOf(body);
  }
  return lines.join('\n');
}

it('compile, and pass the tests that they name', () => {
  const folder = copyOfProject();
  const page = readFileSync(join(folder, 'docs/worked-examples.md'), 'utf8');
  const blocks = [...page.matchAll(/^```(ts|diff) file=(\S+)\n([\s\S]*?)^```$/gm)];
  expect(blocks).toHaveLength(9);
  for (const [, kind, file, text] of blocks) {
    const path = join(folder, file!);
    mkdirSync(dirname(path), { recursive: true });
    // The folder of fixtures is a link: what is made with PyTorch was followed by hand.
    if (file!.startsWith('fixtures/')) continue;
    writeFileSync(path, kind === 'ts' ? text! : withLines(readFileSync(path, 'utf8'), text!));
  }
  const run = (program: string, ...args: string[]): string => {
    const { status, stdout } = spawnSync(process.execPath, [join(folder, 'node_modules', program), ...args], {
      cwd: folder,
      encoding: 'utf8',
      // Long tests have random tests at full length; those of the copy are the short ones.
      env: { ...process.env, CLIPPY_DIAG_FUZZ: undefined },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    expect(status, stdout).toBe(0);
    return stripVTControlCharacters(stdout);
  };
  run('tsx/dist/cli.mjs', 'docs/generate.ts');
  run('tsx/dist/cli.mjs', 'schema/make.ts');
  // Of the copy alone: through a link the compiler would find the project once more.
  writeFileSync(
    join(folder, 'tsconfig.copy.json'),
    JSON.stringify({ extends: './tsconfig.json', include: ['src', 'test/detectors/cases.ts'] }),
  );
  run('typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.copy.json');
  const test = (names: readonly string[], ...only: string[]): string =>
    run('vitest/vitest.mjs', 'run', ...names.map((name) => `test/${name}.test.ts`), ...only);
  test(['contracts/rules', 'contracts/detectors']);
  // Of the formats the new one alone: the others are tested by the project itself.
  expect(test(['reports/formats'], '-t', '^tsv ')).toMatch(/[1-9]\d* passed/);
});
