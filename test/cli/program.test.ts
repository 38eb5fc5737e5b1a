/** The two ways in which the built program is loaded (bin/program.js): with the code that V8 kept, and from its modules. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { binOfModules, runProcess, spawnCli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('program');

describe('the built program', () => {
  it('has code that V8 takes back', () => {
    const { out, err } = runProcess(
      process.execPath,
      [
        ...['--input-type=module', '-e'],
        `import { readFileSync } from 'node:fs';
         import { CODE, scriptOf, setUpNode } from './bin/program.js';
         setUpNode();
         const rejected = (code) => scriptOf(code).cachedDataRejected;
         console.log(rejected(readFileSync(CODE)), rejected(Buffer.from('other code')));`,
      ],
      {},
    );
    expect(out, err).toBe('false true\n');
  });

  it('reads no script to tell its version', () => {
    const bin = binOfModules(scratch());
    const kept = readdirSync(join(projectRoot, 'dist')).filter((name) => name.startsWith('program.'));
    expect(kept).toHaveLength(2);
    for (const name of kept) writeFileSync(join(dirname(bin), '../dist', name), "throw new Error('read')");
    const [version, other] = [['--version'], ['explain', 'clippy']].map((args) =>
      runProcess(process.execPath, [bin, ...args], {}),
    );
    expect([version!.code, version!.err]).toEqual([0, '']);
    expect(other!.err).toContain('read');
  });

  it('says what its source says: the script, which is read byte by byte, has no letter of two bytes', () => {
    const script = readFileSync(new URL('../../dist/program.script', import.meta.url), 'latin1');
    expect(/[^\0-\x7f]/.exec(script)).toBeNull();
  });

  // A dynamic import would fail: V8 keeps no way to it.
  it('requires what is outside of it: the packages of a queue', () => {
    const { err } = spawnCli(['matrix', 'worker', '--queue', 'redis://localhost:1', '--idle-exit', '1s']);
    expect(err).not.toContain('queue-packages');
  });

  it('does the same from its modules, where another Node built it', () => {
    const bin = binOfModules(scratch());
    for (const args of [
      ['--version'],
      ['gate', 'fixtures/incident/log.jsonl'],
      ['gate', '--nope'],
      ['curvature', 'fixtures/incident/capture', '--json'],
      ['analyze', 'fixtures/printed/ray-tune-box', '--report', 'html:-'],
    ]) {
      const [fromModules, fromCode] = [runProcess(process.execPath, [bin, ...args], {}), spawnCli(args)].map(
        // A report has the time in it.
        ({ out, ...rest }) => ({ ...rest, out: out.replace(/\d\d:\d\d:\d\d/g, 'TIME') }),
      );
      expect(fromModules, args.join(' ')).toEqual(fromCode);
    }
  });
});
