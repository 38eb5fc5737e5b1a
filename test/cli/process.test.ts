/** What only a process has: its exit code, its streams, its limits (docs/exit-codes.md). Each shell here proves several things. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatErrorRecord } from '../../src/app/cli/error-text.ts';
import { tooManyOpenFiles } from '../../src/model/errors.ts';
import { toJson } from '../../src/model/json.ts';
import { SCHEMA_VERSION } from '../../src/model/report.ts';
import { binOfModules, cli, shell, spawnCli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const incident = 'fixtures/incident/log.jsonl';
const scratch = scratchFolders('process');

/** Runs every line and returns its exit code by the line. `CLI` stands for the built command. */
function codesOf(lines: readonly string[]): number[] {
  const { out, err } = shell(lines.map((line) => `(${line}) 2>&1; echo "=$?"`).join('\n'));
  const codes = [...out.matchAll(/^=(\d+)$/gm)].map(([, code]) => Number(code));
  expect(codes, err).toHaveLength(lines.length);
  return codes;
}

describe('bin/run.js', () => {
  it('is run(argv, io) with the streams, the folder and the exit code of the process', async () => {
    const input = '{"step":1,"objective":2}\n';
    const cases: [args: string[], code: number, options?: { input?: string; cwd?: string }][] = [
      [['--help'], 0],
      [['analyze', incident, '--fail-on', 'error'], 1],
      [['analyze', 'no-such-file', '--json'], 3],
      [['inspect', '-', '--map', 'loss=objective'], 0, { input }],
      [['inspect', 'log.jsonl', '--nope'], 2, { cwd: join('fixtures', 'incident') }],
    ];
    for (const [args, code, options] of cases) {
      const built = spawnCli(args, options);
      expect(built.code, args.join(' ')).toBe(code);
      expect(built).toEqual(await cli(args, options));
    }
  });
});

describe('standard output', () => {
  it.skipIf(!existsSync('/dev/full'))('a full device is 5, never 1 and never 0', () => {
    const prints = ['CLI --help', `CLI gate ${incident} --json`];
    const codes = codesOf([
      ...prints.map((line) => `${line} > /dev/full`),
      // Controls: what fails is the device, and a standard error that is full takes nothing away.
      'CLI --help > /dev/null',
      'CLI completion bash 2> /dev/full > /dev/null',
    ]);
    expect(codes).toEqual([...prints.map(() => 5), 0, 0]);
  });

  const full = {
    write: (_: string, done?: (error?: Error) => void) =>
      done?.(Object.assign(new Error('full'), { code: 'ENOSPC' })),
  };
  it.each([
    '--help',
    '--version',
    'help gate',
    'baseline',
    'completion bash',
    'explain clippy --json',
    `analyze ${incident}`,
    `gate ${incident} --json`,
    `gate ${incident} --report github:-`,
  ])('that is full is 5 for whatever prints: %s', async (line) => {
    expect((await cli(line.split(' '))).code).not.toBe(5);
    expect((await cli(line.split(' '), { io: { stdout: full } })).code).toBe(5);
  });

  it('a reader that has gone is quiet, and the verdict stands', () => {
    const { code, out, err } = shell(
      [
        `CLI analyze ${incident} --fail-on error | true; echo "\${PIPESTATUS[0]}"`,
        `CLI gate ${incident} --json | head -c 1 > /dev/null; echo "\${PIPESTATUS[0]}"`,
        `CLI gate ${incident} --json --no-config --rule 'max(loss) < 1e9' | true; echo "\${PIPESTATUS[0]}"`,
        `CLI inspect fixtures/logs | head -1 > /dev/null; echo "\${PIPESTATUS[0]}"`,
      ].join('\n'),
    );
    expect(err).toBe('');
    const codes = out.trim().split('\n');
    expect([code, ...codes.slice(0, 3)]).toEqual([0, '1', '1', '0']);
    // Whether the reader went before the last line was written is a matter of luck.
    expect(['0', '3', '5']).toContain(codes[3]);
  });
});

describe('too many open files', () => {
  const crowded = tooManyOpenFiles(Object.assign(new Error(), { code: 'EMFILE' }))!;

  it('are 3 with a hint, already while Node loads the modules', () => {
    const bin = binOfModules(scratch());
    const { out, err } = shell(
      [20, 24, 32, 1024]
        .map((n) => `(ulimit -n ${n}; '${process.execPath}' '${bin}' inspect ${incident} --json); echo "=$?"`)
        .join('\n'),
    );
    const told = `${toJson({ schemaVersion: SCHEMA_VERSION, error: crowded.toRecord() })}\n`;
    const codes = [...out.matchAll(/^=(\d+)$/gm)].map(([, code]) => Number(code));
    // How many files Node needs to start, and how many modules it opens at once, is its own affair.
    expect(codes).toHaveLength(4);
    expect(codes.slice(0, 3)).toContain(3);
    expect(codes.filter((code) => code !== 0 && code !== 3)).toEqual([]);
    expect(codes[3]).toBe(0);
    const failed = codes.filter((code) => code === 3).length;
    expect(out.split(told)).toHaveLength(failed + 1);
    expect(err).toBe(formatErrorRecord(crowded.toRecord()).repeat(failed));
  });

  it('is told of this process or of the machine, and nothing else is', () => {
    expect([crowded.code, crowded.exitCode]).toEqual(['too-many-open-files', 3]);
    expect(crowded.message).toContain('in this process (EMFILE)');
    expect(tooManyOpenFiles(Object.assign(new Error(), { code: 'ENFILE' }))!.message).toContain(
      'in this machine (ENFILE)',
    );
    for (const other of [undefined, null, 'EMFILE', new Error('EMFILE'), { code: 'ENOENT' }])
      expect(tooManyOpenFiles(other)).toBeUndefined();
  });
});
