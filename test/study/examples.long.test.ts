/**
 * The examples for clusters: their shell parts run, with `npx clippy-diag` as the built program, on a small study; what they
 * merge is what one run gives. What only a cluster has (schedulers, volumes, artifacts) is played by a folder.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parse } from 'yaml';
import { cli } from '../support/cli.ts';
import { projectRoot } from '../support/shared-data.ts';

const root = mkdtempSync(join(tmpdir(), 'clippy-diag-examples-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const examples = join(projectRoot, 'examples');
const tools = join(root, 'bin');
let whole: string;

beforeAll(async () => {
  mkdirSync(tools);
  const npx = join(tools, 'npx');
  writeFileSync(
    npx,
    `#!/bin/bash\n[ "$1" = clippy-diag ] || exit 99\nshift\nexec '${process.execPath}' '${join(projectRoot, 'bin/run.js')}' "$@"\n`,
  );
  chmodSync(npx, 0o755);
  const { out } = await cli(['matrix', 'study.yaml', '--workers', '1', '--json'], { cwd: folder('whole') });
  whole = out;
});

/** A folder with a study and nothing else. */
function folder(name: string): string {
  const path = join(root, name);
  mkdirSync(path);
  copyFileSync(join(projectRoot, 'fixtures/studies/stream/study.yaml'), join(path, 'study.yaml'));
  return path;
}

/** Runs a line of an example and gives what it printed. */
function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: Record<string, string> = {},
): string {
  const result = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env, PATH: `${tools}:${process.env.PATH}` },
    encoding: 'utf8',
  });
  expect([result.status, result.stderr]).toEqual([0, '']);
  return result.stdout;
}

/** Merges as the example says, and with --json too: the cells of all shards, once each. */
function expectMerged(line: string, cwd: string): void {
  run('bash', ['-c', line], cwd);
  const report = /--report html:(\S+)/.exec(line)![1]!;
  expect(readFileSync(join(cwd, report), 'utf8')).toContain('Stability study');
  expect(run('bash', ['-c', `${line} --json`], cwd)).toBe(whole);
}

it('Slurm array', () => {
  const cwd = folder('slurm');
  const script = join(examples, 'slurm-array.sh');
  const text = readFileSync(script, 'utf8');
  // sbatch reads these; tasks count from 1, as shards do.
  expect(text).toMatch(/^#SBATCH --array=1-\d+$/m);
  for (const task of ['1', '2', '3'])
    run('bash', [script, 'study.yaml'], cwd, {
      SLURM_ARRAY_TASK_ID: task,
      SLURM_ARRAY_TASK_COUNT: '3',
      SLURM_CPUS_PER_TASK: '1',
    });
  expectMerged(/^# When all have ended: (.*)$/m.exec(text)![1]!, cwd);
});

it('indexed job of Kubernetes', () => {
  const cwd = folder('kubernetes');
  const text = readFileSync(join(examples, 'kubernetes-job.yaml'), 'utf8');
  const { apiVersion, kind, spec } = parse(text);
  expect([apiVersion, kind, spec.completionMode]).toEqual(['batch/v1', 'Job', 'Indexed']);
  const [container] = spec.template.spec.containers;
  const [volume] = spec.template.spec.volumes;
  expect(container.volumeMounts[0]).toEqual({ name: volume.name, mountPath: container.workingDir });
  const [command, flag] = container.command;
  const [line] = container.args as string[];
  expect(line).toContain(`/${spec.completions} `);
  for (const index of [0, 1, 2])
    run(command, [flag, line!.replace(`/${spec.completions} `, '/3 ')], cwd, {
      JOB_COMPLETION_INDEX: String(index),
    });
  const merge = /^# When it has ended: (.*)$/m.exec(text)![1]!;
  expectMerged(
    merge.replace('clippy-diag', 'npx clippy-diag').replaceAll(`${container.workingDir}/`, ''),
    cwd,
  );
});

it('matrix of GitHub Actions', () => {
  const cwd = folder('github');
  const { jobs } = parse(readFileSync(join(examples, 'github-matrix.yml'), 'utf8'));
  const { shard: shards } = jobs.shard.strategy.matrix as { shard: number[] };
  expect(jobs.merge.needs).toBe('shard');
  const runsOf = (job: string): string[] =>
    jobs[job].steps.flatMap((step: { run?: string }) => (step.run === undefined ? [] : [step.run]));
  const [line] = runsOf('shard');
  expect(line).toContain(`/${shards.length} `);
  for (const shard of shards)
    run('bash', ['-e', '-c', line!.replaceAll(/\$\{\{ matrix\.shard \}\}/g, String(shard))], cwd);
  const [merge] = runsOf('merge');
  expectMerged(merge!, cwd);
  const paths = jobs.merge.steps.map((step: { with?: { path?: string } }) => step.with?.path);
  expect(paths.at(-1)).toBe(/html:(\S+)/.exec(merge!)![1]);
});
