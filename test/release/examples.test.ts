/** The recipes in examples/, as far as they run without their platforms: what their shells do, and what their files name. */
import { chmodSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { runProcess } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('examples');
const example = (name: string): string => join(projectRoot, 'examples', name);

/** A folder with an `npx` that runs the built command of this checkout: it is on no registry. */
function folderOfNpx(): string {
  const folder = newFolder();
  const bin = join(projectRoot, 'bin/run.js');
  writeFileSync(
    join(folder, 'npx'),
    `#!/bin/sh\n[ "$1" = clippy-diag ] || exit 127\nshift\nexec '${process.execPath}' '${bin}' "$@"\n`,
  );
  chmodSync(join(folder, 'npx'), 0o755);
  return folder;
}

// As slurmctld 22.05 sets them for EpilogSlurmctld, which has no SLURM_SUBMIT_DIR, and for the script of a job.
it.each(['SLURM_JOB_WORK_DIR', 'SLURM_SUBMIT_DIR', 'RUN_DIR'])(
  'the epilog of Slurm judges the logs of the job in %s',
  (variable) => {
    const job = newFolder();
    copyFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'), join(job, 'log.jsonl'));
    const { code, out } = runProcess('bash', [example('slurm-epilog.sh')], {
      cwd: newFolder(),
      env: { PATH: `${folderOfNpx()}:/usr/bin:/bin`, SLURM_JOB_ID: '7', [variable]: job },
    });
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(/^clippy-diag: job 7, exit code 0: DIVERGED at step 400/),
    ]);
    expect(readFileSync(join(job, 'verdict.txt'), 'utf8')).toMatch(/^DIVERGED at step 400/);
  },
);

it('the epilog of Slurm drains no node where it cannot judge', () => {
  const { code, out } = runProcess('bash', [example('slurm-epilog.sh')], {
    env: { PATH: `${folderOfNpx()}:/usr/bin:/bin`, SLURM_JOB_WORK_DIR: newFolder(), SLURM_JOB_ID: '7' },
  });
  expect([code, out]).toEqual([0, expect.stringContaining('job 7, exit code 3: error[')]);
});

interface Container {
  readonly name: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly livenessProbe: { readonly exec: { readonly command: readonly string[] } };
}

it('the probe of Kubernetes fails once after an alert, and no more after a new start', () => {
  const { spec } = parse(readFileSync(example('watch-sidecar.yaml'), 'utf8')) as {
    spec: { containers: readonly Container[]; initContainers: readonly Container[] };
  };
  const folder = newFolder();
  const here = (line: string): string => line.replaceAll('/runs', folder);
  const sh = (line: string, env: Record<string, string> = {}): number | null =>
    runProcess('sh', ['-c', here(line)], { env: { PATH: '/usr/bin:/bin', ...env } }).code;
  const [training, watcher] = [spec.containers[0]!, spec.initContainers[0]!];
  const probe = (): number | null => sh(training.livenessProbe.exec.command[2]!);
  const notify = /--notify 'cmd:([^']+)'/.exec(watcher.args[0]!)![1]!;
  const start = training.command[2]!.replace(/exec python.*/, 'true');

  expect(probe()).toBe(0);
  sh(notify, { CLIPPY_DIAG_EVENT: 'begin', CLIPPY_DIAG_MESSAGE: 'loss diverged at step 400' });
  expect(existsSync(join(folder, 'verdict'))).toBe(true);
  expect(probe()).toBe(1);
  expect(sh(start)).toBe(0);
  expect(probe()).toBe(0);
  // A stall that is over ends nothing.
  sh(notify, { CLIPPY_DIAG_EVENT: 'begin', CLIPPY_DIAG_MESSAGE: 'stalled' });
  sh(notify, { CLIPPY_DIAG_EVENT: 'end', CLIPPY_DIAG_MESSAGE: 'records come again' });
  expect(probe()).toBe(0);
});
