/** One process writes a file; what a process that died left behind holds nobody up. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { holdFile } from '../../src/read/bytes/hold-file.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('hold');
const lockedBy = (text: string): { path: string; lock: string } => {
  const path = join(scratch(), 'state.jsonl');
  writeFileSync(`${path}.lock`, text);
  return { path, lock: `${path}.lock` };
};

it('is held until it is let go', async () => {
  const path = join(scratch(), 'state.jsonl');
  const release = await holdFile(path);
  expect(JSON.parse(readFileSync(`${path}.lock`, 'utf8'))).toEqual({ pid: process.pid, host: hostname() });
  await expect(holdFile(path)).rejects.toMatchObject({ code: 'file-held' });
  await release();
  expect(existsSync(`${path}.lock`)).toBe(false);
  await (await holdFile(path))();
});

it('is refused while the other process lives', async () => {
  const other = spawn('sleep', ['60']);
  const { path, lock } = lockedBy(JSON.stringify({ pid: other.pid, host: hostname() }));
  await expect(holdFile(path)).rejects.toThrow(`process ${other.pid} on ${hostname()}, says ${lock}`);
  other.kill('SIGKILL');
  await new Promise((resolve) => other.once('exit', resolve));
  await (await holdFile(path))();
});

it('is refused where the process is on another machine: nobody can tell here whether it lives', async () => {
  const { path } = lockedBy(JSON.stringify({ pid: 1, host: `not-${hostname()}` }));
  await expect(holdFile(path)).rejects.toMatchObject({ code: 'file-held' });
});

it.each(['', '{', '[]', '{"pid": "x"}'])('is taken over from a lock that was cut: %j', async (text) => {
  await (await holdFile(lockedBy(text).path))();
});

it('is taken over from a process that is gone, and from an earlier one with this number', async () => {
  const { pid } = spawnSync('true');
  for (const gone of [pid, process.pid])
    await (await holdFile(lockedBy(JSON.stringify({ pid: gone, host: hostname() })).path))();
});

it('says why it cannot be held', async () => {
  await expect(holdFile(join(scratch(), 'missing', 'state.jsonl'))).rejects.toMatchObject({
    code: 'output-unwritable',
  });
});
