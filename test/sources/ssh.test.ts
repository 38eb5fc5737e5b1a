/**
 * ssh where no sshd is: a look-alike of the program `ssh` runs the command in a shell of this machine, or ends as ssh does where it cannot
 * log in. What sshd itself does is in real-servers.long.test.ts.
 */
import { appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeMirror } from '../../src/read/sources/mirror.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('ssh');
const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'));

/** A folder with a log, and `ssh` on PATH, which notes its arguments. Where `says` is written it fails and says that. */
function lookAlike() {
  const folder = newFolder();
  mkdirSync(join(folder, 'bin'));
  const program = `#!/bin/sh
for last; do :; done
printf '%s\\n' "$*" >> '${folder}/asked'
if [ -f '${folder}/says' ]; then cat '${folder}/says' >&2; exit 255; fi
HOME='${folder}' exec sh -c "$last"
`;
  writeFileSync(join(folder, 'bin/ssh'), program);
  chmodSync(join(folder, 'bin/ssh'), 0o755);
  writeFileSync(join(folder, 'log.jsonl'), log);
  return {
    folder,
    env: { HOME: newFolder(), PATH: `${join(folder, 'bin')}:${process.env.PATH}` },
    url: `ssh://me@trainer${folder}/log.jsonl`,
    says: (text: string | null) =>
      text === null ? rmSync(join(folder, 'says')) : writeFileSync(join(folder, 'says'), `${text}\n`),
    asked: () => readFileSync(join(folder, 'asked'), 'utf8').trim().split('\n'),
  };
}

const analyze = (path: string, env: Record<string, string>) =>
  cli(['analyze', path, '--json', '--no-config'], { env });

describe('a file of another machine', () => {
  it('is read, below its home folder too; ssh asks nothing and forwards nothing', async () => {
    const { folder, url, env, asked } = lookAlike();
    mkdirSync(join(folder, 'runs/a'), { recursive: true });
    writeFileSync(join(folder, 'runs/a/log.jsonl'), log);
    for (const path of [url, 'ssh://me@trainer/~/log.jsonl', 'ssh://me@trainer/~/runs']) {
      const { code, out, err } = await analyze(path, env);
      expect([path, code, err]).toEqual([path, 0, '']);
      expect(JSON.parse(out).verdict.onsetStep).toBe(400);
    }
    for (const line of asked())
      expect(line).toMatch(/BatchMode=yes .*ForwardAgent=no .*ClearAllForwardings=yes -T -- me@trainer /);
  });

  it.each([
    ['Host key verification failed.', 'source-denied', /known_hosts/],
    ['me@trainer: Permission denied (publickey).', 'source-denied', /ssh HOST true/],
    ['ssh: connect to host trainer port 22: Connection refused', 'source-unreachable', /Connection refused/],
    ['ssh: Could not resolve hostname trainer: Name or service not known', 'source-unreachable', /resolve/],
  ])('%s', async (words, code, hint) => {
    const { url, env, says } = lookAlike();
    says(words);
    const result = await analyze(url, env);
    expect([result.code, result.err]).toEqual([3, expect.stringContaining(code)]);
    expect(result.err).toMatch(hint);
  });

  it('is missing; a machine without ssh is said', async () => {
    const { url, env } = lookAlike();
    expect(await analyze(`${url}.none`, env)).toMatchObject({
      code: 3,
      err: expect.stringContaining('source-missing'),
    });
    expect(await analyze(url, { ...env, PATH: newFolder() })).toMatchObject({
      code: 3,
      err: expect.stringContaining('source-unreachable'),
    });
  });

  it('that grows is fetched by its new bytes, over an outage and a truncation', async () => {
    const { folder, url, env, says, asked } = lookAlike();
    const path = join(folder, 'log.jsonl');
    writeFileSync(path, log.subarray(0, 20_000));
    const mirror = await makeMirror(url, { env });
    await mirror.refresh();
    appendFileSync(path, log.subarray(20_000, 21_000));
    await mirror.refresh();
    expect(asked().at(-1)).toContain(`tail -c +${20_000 - 4096 + 1} `);
    says('ssh: connect to host trainer port 22: Connection timed out');
    appendFileSync(path, log.subarray(21_000, 22_000));
    await expect(mirror.refresh()).rejects.toMatchObject({ code: 'source-unreachable' });
    says(null);
    await mirror.refresh();
    expect(readFileSync(mirror.path).equals(log.subarray(0, 22_000))).toBe(true);
    writeFileSync(path, log.subarray(0, 5000));
    await mirror.refresh();
    expect(readFileSync(mirror.path).equals(log.subarray(0, 5000))).toBe(true);
    await mirror.close();
  });
});
