/** A user's module that hangs in a child process while the parent of that process is killed. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-module-kill-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('a parent that is killed does not leave a module that hangs behind', async () => {
  const note = join(folder, 'pid');
  const model = join(folder, 'hangs.mjs');
  writeFileSync(
    model,
    `import { renameSync, writeFileSync } from 'node:fs';
    export function loss() {
      writeFileSync(${JSON.stringify(`${note}.part`)}, String(process.pid));
      renameSync(${JSON.stringify(`${note}.part`)}, ${JSON.stringify(note)});
      for (;;);
    }`,
  );
  const script = join(folder, 'parent.mts');
  const source = (name: string): string => JSON.stringify(join(projectRoot, 'src', name));
  writeFileSync(
    script,
    `import { openCapture } from ${source('read/captures/read.ts')};
    import { runClosedLoop } from ${source('experiment/measure/closed-loop.ts')};
    const capture = await openCapture(${JSON.stringify(join(projectRoot, 'fixtures/incident/capture'))});
    await runClosedLoop(capture, { rules: [], model: ${JSON.stringify(model)}, clock: Date.now });`,
  );
  const parent = spawn(process.execPath, ['--import', 'tsx', script], { cwd: projectRoot, stdio: 'ignore' });
  const until = async (done: () => boolean): Promise<void> => {
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await until(() => existsSync(note));
  const child = Number(readFileSync(note, 'utf8'));
  parent.kill('SIGKILL');
  const lives = (): boolean => {
    try {
      // One that ended and that nobody waits for is still in the table of processes.
      const state = existsSync(`/proc/${child}/stat`) ? readFileSync(`/proc/${child}/stat`, 'utf8') : '';
      return process.kill(child, 0) && !/\) Z /.test(state);
    } catch {
      return false;
    }
  };
  try {
    await until(() => !lives());
  } finally {
    if (lives()) process.kill(child, 'SIGKILL');
  }
});
