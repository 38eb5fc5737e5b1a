/** A process that is killed in the middle of a study loses the cells in work and no more. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

it.each([1, 2])('--resume after SIGKILL, %d workers', async (workers) => {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-kill-'));
  const state = join(folder, 'state.jsonl');
  const study = 'fixtures/studies/stream/study.yaml';
  const args = ['matrix', study, '--workers', String(workers), '--resume', state, '--json'];
  const done = (): string[] =>
    existsSync(state) ? readFileSync(state, 'utf8').split('\n').slice(1, -1) : [];
  const child = spawn(process.execPath, ['bin/run.js', ...args], { cwd: projectRoot, stdio: 'ignore' });
  while (done().length < 2 && child.exitCode === null) await sleep(5);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const kept = done();
  expect(kept.length).toBeGreaterThanOrEqual(2);
  expect(kept.length).toBeLessThan(8);
  const rest = await cli(args);
  const whole = await cli(['matrix', study, '--workers', '1', '--json']);
  expect([rest.code, rest.out]).toEqual([0, whole.out]);
  // Nothing that was kept was trained again: the line of a cell is what is in the result, but for the verdict, which compares
  // the cells of the whole study.
  for (const line of kept) {
    const { verdict, ...cell } = JSON.parse(line) as { verdict: string };
    expect(typeof verdict).toBe('string');
    expect(JSON.parse(whole.out).cells).toContainEqual(expect.objectContaining(cell));
  }
  rmSync(folder, { recursive: true, force: true });
});
