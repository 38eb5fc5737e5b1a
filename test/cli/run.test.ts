/** The one entry: `run(argv, io)` in memory. */
import { describe, expect, it } from 'vitest';
import { run } from '../../src/run.ts';
import { cli } from '../support/cli.ts';

const incident = 'fixtures/incident/log.jsonl';

describe('run(argv, io)', () => {
  it('leaves the process as it was, so that runs may stand side by side', async () => {
    // oclif adds a listener of its own when it is loaded.
    await cli(['--help']);
    const before = {
      write: process.stdout.write,
      code: process.exitCode,
      listeners: process.stdout.listenerCount('error') + process.listenerCount('SIGINT'),
    };
    const [failed, gone, page] = await Promise.all([
      cli(['analyze', incident, '--fail-on', 'error']),
      cli(['analyze', 'no-such-file', '--json']),
      cli(['explain', 'clippy']),
    ]);
    expect([failed.code, gone.code, page.code]).toEqual([1, 3, 0]);
    expect([failed.err, gone.err.split('\n')[0], page.err]).toEqual([
      '',
      expect.stringContaining('file-missing'),
      '',
    ]);
    expect(page.out).toMatch(/^# clippy\n/);
    expect({
      write: process.stdout.write,
      code: process.exitCode,
      listeners: process.stdout.listenerCount('error') + process.listenerCount('SIGINT'),
    }).toEqual(before);
  });

  /** Runs with streams that fail so. */
  const failing = async (args: readonly string[], stdout?: string, stderr?: string) => {
    let written = '';
    const stream = (code: string | undefined, keep: boolean) => ({
      write(text: string, done?: (error?: Error | null) => void) {
        if (code === undefined && keep) written += text;
        done?.(code === undefined ? null : Object.assign(new Error(code), { code }));
      },
    });
    const code = await run(args, {
      stdout: stream(stdout, true),
      stderr: stream(stderr, false),
      stdin: (async function* () {})(),
      env: {},
      now: Date.now,
      processorTime: () => 0,
      sleep: () => Promise.reject(new Error('nothing waits here')),
      onEnd: () => () => {},
    });
    return { code, written };
  };

  it.each([
    ['a verdict stands', ['analyze', incident, '--fail-on', 'error'], 1],
    ['a verdict of 0 stands', ['analyze', incident], 0],
    ['so does what is wrong with the input', ['inspect', 'fixtures/formats/csv-plain', 'no-such-file'], 3],
    ['what has no verdict did not get out', ['explain', 'clippy'], 5],
    ['help is asked for by nobody then', ['--help'], 0],
  ])('a reader that has gone: %s', async (_, args, code) => {
    expect((await failing(args, 'EPIPE')).code).toBe(code);
  });

  it('a standard error that has gone takes nothing from standard output', async () => {
    const { code, written } = await failing(['analyze', 'no-such-file', '--json'], undefined, 'EPIPE');
    expect([code, JSON.parse(written).error.id]).toEqual([3, 'file-missing']);
  });

  it('a full disk is code 5, of a report and of an error', async () => {
    expect((await failing(['analyze', incident], 'ENOSPC')).code).toBe(5);
    expect((await failing(['analyze', 'no-such-file', '--json'], 'ENOSPC')).code).toBe(3);
  });

  it('help: of all, of one, of a topic, however it is asked for', async () => {
    const all = await cli(['--help']);
    for (const args of [[], ['help'], ['--help', '--json']]) expect(await cli(args)).toEqual(all);
    const gate = await cli(['gate', '--help']);
    expect(await cli(['help', 'gate'])).toEqual(gate);
    expect(gate.out).toContain('clippy-diag gate PATH... [FLAGS]');
    const show = await cli(['baseline', 'show', '--help']);
    expect(await cli(['help', 'baseline', 'show'])).toEqual(show);
    expect(show.out).toContain('$ clippy-diag baseline show');
    for (const args of [['baseline'], ['help', 'baseline'], ['baseline', '--help']])
      expect((await cli(args)).out).toContain('baseline update');
    // After -- it is a name like any other.
    expect((await cli(['inspect', '--', '--help'])).code).toBe(3);
  });

  it.each([
    [['analyse', incident], '"analyse" is not a command', 'analyze'],
    [['baseline', 'updat'], '"baseline updat" is not a command', 'baseline update'],
    [['help', 'gaet'], '"gaet" is not a command', 'gate'],
    [['gaet', '--help'], '"gaet" is not a command', 'gate'],
  ])('%j: names the nearest command', async (args, problem, nearest) => {
    const { code, out, err } = await cli(args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(problem);
    expect(err).toContain(`did you mean ${nearest}?`);
  });

  it('a name of Object.prototype is no command', async () => {
    for (const name of ['constructor', '__proto__', 'toString']) expect((await cli([name])).code).toBe(2);
  });
});
