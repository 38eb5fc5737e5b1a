/** Completion scripts, asked in the shells that are there; bash is everywhere, zsh where it is installed. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { SHELLS } from '../../src/app/cli/completion.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { COMMANDS } from '../../src/run.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('completion');
const scripts: Record<string, string> = {};
/** A folder with something to complete. */
let folder: string;
beforeAll(async () => {
  for (const shell of SHELLS) {
    const { out, code } = await cli(['completion', shell]);
    expect(code).toBe(0);
    scripts[shell] = out;
  }
  folder = scratch();
  mkdirSync(join(folder, 'runs'));
  writeFileSync(join(folder, 'rules.yaml'), '');
  for (const shell of SHELLS) writeFileSync(join(folder, `completion.${shell}`), scripts[shell]!);
});

/** What is typed, and what must and must not be among what is offered. */
const CASES: readonly (readonly [typed: string, offered: readonly string[], not: readonly string[]])[] = [
  ['clippy-diag an', ['analyze'], ['gate']],
  ['clippy-diag g', ['gate'], ['analyze']],
  ['clippy-diag analyze --fail', ['--fail-on'], ['--format']],
  ['clippy-diag gate --fail', [], ['--fail-on']],
  ['clippy-diag analyze --fail-on ', ['warning', 'error'], ['note']],
  ['clippy-diag analyze --fail-on=er', ['error'], ['warning']],
  ['clippy-diag analyze runs --report ', Object.keys(REPORT_FORMATS).map((name) => `${name}:`), []],
  ['clippy-diag matrix study.yaml --report la', ['latex:'], ['html:']],
  ['clippy-diag replay capture --rule ', Object.keys(RULES), []],
  ['clippy-diag replay capture --rule cl', ['clippy'], ['agc']],
  ['clippy-diag replay capture --mode ', ['as-recorded', 'open-loop', 'closed-loop'], []],
  ['clippy-diag gate runs --rule full', ['full-divergence'], ['drift']],
  ['clippy-diag analyze --threshold drift.', ['drift.driftRatio='], []],
  ['clippy-diag explain full', ['full-divergence'], ['drift']],
  ['clippy-diag explain exit', ['exit-codes'], []],
  ['clippy-diag explain layer', ['layer-norm'], []],
  ['clippy-diag watch runs --exit-on n', ['non-finite'], ['drift']],
  ['clippy-diag completion ', [...SHELLS], []],
  ['clippy-diag baseline ', ['update', 'show'], []],
  ['clippy-diag baseline update --no-r', ['--no-ratchet'], []],
  ['clippy-diag matrix merge --rep', ['--report'], []],
  ['clippy-diag inspect --for', ['--format'], ['--fail-on']],
];

/** What else bash is asked, the last with words that it does not break at `:` and `=`. */
const FILES = [
  'clippy-diag analyze r',
  'clippy-diag gate --config r',
  'clippy-diag analyze --report html:r',
  'clippy-diag analyze --report html:',
  'clippy-diag watch --state=r',
];
const BREAKS = ' \t\n"\'><=;|&(:';
const UNBROKEN = ' \t\n';

describe('bash', () => {
  /** What the function of the script offers for what stands before the cursor, one process for all. */
  const offered = new Map<string, readonly string[]>();
  const key = (typed: string, breaks: string): string => `${typed}\0${breaks}`;
  beforeAll(() => {
    const asked = [
      ...[...CASES.map(([typed]) => typed), ...FILES, 'clippy-diag replay capture --rule clippy:p'].map(
        (typed) => [typed, BREAKS] as const,
      ),
      ...['clippy-diag replay capture --rule clippy:p', 'clippy-diag analyze --fail-on=w'].map(
        (typed) => [typed, UNBROKEN] as const,
      ),
    ];
    const { stdout, stderr, status } = spawnSync(
      'bash',
      [
        '--norc',
        '-c',
        `set -u; source completion.bash
        while (($#)); do
          COMPREPLY=(); COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDBREAKS=$2; _clippy_diag
          ((\${#COMPREPLY[@]})) && printf '%s\\n' "\${COMPREPLY[@]}"; printf '\\0'; shift 2
        done`,
        'bash',
        ...asked.flat(),
      ],
      { cwd: folder, encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([0, '']);
    const answers = stdout.split('\0');
    expect(answers).toHaveLength(asked.length + 1);
    for (const [k, [typed, breaks]] of asked.entries())
      offered.set(
        key(typed, breaks),
        answers[k]!.split('\n').filter((line) => line !== ''),
      );
  });
  const offers = (typed: string, breaks = BREAKS): readonly string[] => {
    const found = offered.get(key(typed, breaks));
    if (found === undefined) throw new Error(`bash was not asked "${typed}"`);
    return found;
  };

  it.each(CASES)('%s', (typed, wanted, not) => {
    const found = offers(typed);
    expect(found).toEqual(expect.arrayContaining([...wanted]));
    for (const word of not) expect(found).not.toContain(word);
  });

  it('leaves files to the shell, after a format too', () => {
    for (const typed of FILES) expect(offers(typed), typed).toEqual([]);
  });

  it('offers the rest of a word that the shell breaks, and all of one that it does not', () => {
    expect(offers('clippy-diag replay capture --rule clippy:p')).toEqual(['paper']);
    expect(offers('clippy-diag replay capture --rule clippy:p', UNBROKEN)).toEqual(['clippy:paper']);
    expect(offers('clippy-diag analyze --fail-on=w', UNBROKEN)).toEqual(['--fail-on=warning']);
  });
});

const ZSH_CASES: readonly (readonly [typed: string, offered: readonly string[]])[] = [
  ...CASES.filter(([typed, offered]) => offered.length > 1 || typed.endsWith(' ')),
  ['clippy-diag analyze r', ['rules.yaml', 'runs']],
  ['clippy-diag gate --config r', ['rules.yaml', 'runs']],
  ['clippy-diag analyze --report html:r', ['rules.yaml', 'runs']],
  ['clippy-diag replay capture --rule clippy:', ['clippy:paper', 'clippy:tfrs']],
  ['clippy-diag explain m', ['matrix', 'micro-divergence']],
].map(([typed, offered]) => [typed, offered] as [string, readonly string[]]);

const zshIsHere = spawnSync('zsh', ['--version']).status === 0;
describe.skipIf(!zshIsHere)('zsh', () => {
  /**
   * What zsh lists for each line that is typed, in a terminal of its own (zpty), one for all. Keys are read in their
   * order, so the key after the tab says that the list is out, and empties the line: nothing waits for a time.
   */
  const listed = new Map<string, string>();
  beforeAll(() => {
    const program = `
      zmodload zsh/zpty
      until_told() { text=; local chunk; while [[ $text != *$1* ]]; do zpty -r z chunk || exit 1; text+=$chunk; done }
      zpty z zsh -f -i
      zpty -w z 'PS1=; unset zle_bracketed_paste; stty cols 200 rows 100; autoload -U compinit; compinit -u -D; zstyle ":completion:*" list-prompt ""; source ./completion.zsh; LISTMAX=0; setopt no_beep; bindkey "^I" list-choices; told() { BUFFER=; print -r -- TO""LD }; zle -N told; bindkey "^X^T" told; print R""EADY'
      until_told READY
      for typed in "$@"; do
        zpty -n -w z "$typed"$'\\t\\x18\\x14'
        until_told TOLD
        print -rn -- "$text"$'\\0'
      done
      zpty -d z`;
    const lines = ZSH_CASES.map(([typed]) => typed);
    const { stdout, status } = spawnSync('zsh', ['-f', '-c', program, 'zsh', ...lines], {
      cwd: folder,
      encoding: 'utf8',
      // Far above what it takes: what ends here hangs.
      timeout: 600_000,
    });
    expect(status).toBe(0);
    const answers = stdout.split('\0');
    expect(answers).toHaveLength(lines.length + 1);
    for (const [k, typed] of lines.entries()) listed.set(typed, answers[k]!);
  });
  const lists = (text: string, word: string): boolean =>
    text.split(/[\s\u0007]+|\u001b\[[\d;?]*\w/).includes(word);

  it.each(ZSH_CASES)('%s', (typed, offered) => {
    const text = listed.get(typed)!;
    for (const word of offered) expect(lists(text, word), `${word} in ${JSON.stringify(text)}`).toBe(true);
  });
});

describe('PowerShell', () => {
  /** The text without strings: what is left must balance, and be code. */
  const code = (script: string): string => script.replace(/^#.*$/gm, '').replace(/'(?:[^']|'')*'/g, "''");

  it('has every bracket closed, and every string', () => {
    const open: string[] = [];
    const pairs: Record<string, string> = { ')': '(', '}': '{', ']': '[' };
    for (const character of code(scripts.powershell!).replace(/"[^"]*"/g, '""'))
      if ('({['.includes(character)) open.push(character);
      else if (character in pairs) expect(open.pop()).toBe(pairs[character]);
    expect(open).toEqual([]);
    expect(code(scripts.powershell!).replaceAll("''", '')).not.toContain("'");
  });

  it('knows every command, its flags and its values', async () => {
    const script = scripts.powershell!;
    for (const [id, load] of Object.entries(COMMANDS)) {
      const words = id.replaceAll(':', ' ');
      const [, flags = ''] = new RegExp(`^ +'${words}' = @\\((.*--.*)\\)$`, 'm').exec(script) ?? [];
      for (const name of Object.keys((await load()).default.flags))
        expect(flags.split(', '), `${words} --${name}`).toContain(`'--${name}'`);
    }
    expect(script).toContain("'analyze --fail-on' = @('warning', 'error')");
    expect(script).toMatch(/'replay --rule' = @\('none', .*'clippy:paper'/);
    expect(script).toMatch(/'explain' = @\(.*'full-divergence'/);
  });
});

it('is refused for another shell, with those there are', async () => {
  const { code, err } = await cli(['completion', 'fish']);
  expect([code, err]).toEqual([2, expect.stringContaining('bash, zsh, powershell')]);
});
