/** The commands of the docs that install, build or train: each as it is shown, where only a name that no registry has yet stands for what was built here. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { testLines } from '../support/example-lines.ts';
import { pythonWith } from '../support/python.ts';
import { hasRedis, Redis } from '../support/redis.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';
import { INSTALLS, shown } from './commands.ts';

const scratch = scratchFolders('docs');
const python = pythonWith('venv', 'ensurepip');

/** Runs lines of shell one after the other, each after a prelude, up to the first that fails; what they print. */
function shell(lines: readonly string[], cwd: string, env: Record<string, string>, prelude = ''): string {
  return lines
    .map((line) => {
      const { status, stdout, stderr } = spawnSync('bash', ['-uc', `${prelude}\n${line}`], {
        cwd,
        encoding: 'utf8',
        env: { ...process.env, ...env },
        maxBuffer: 2 ** 28,
      });
      expect(status, `${line}\n${stdout}${stderr}`).toBe(0);
      return stdout;
    })
    .join('\n');
}

/** A folder of programs in which pip puts what it installs. */
function environment(): string {
  const folder = join(scratch(), 'environment');
  execFileSync(python!, ['-m', 'venv', folder]);
  return join(folder, 'bin');
}

/** A copy of what git has and what is new here: a checkout, in which nothing is built. */
function checkout(): string {
  const folder = scratch();
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: projectRoot,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  for (const file of files.split('\0').filter((name) => name !== '')) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(projectRoot, file), join(folder, file), { force: true });
  }
  return folder;
}

describe.skipIf(python === undefined)(
  'commands that install (skipped where Python makes no environment)',
  () => {
    it('in a checkout, then from the registries', () => {
      const source = checkout();
      const bin = environment();
      const path = `${bin}:${process.env.PATH}`;
      const said = shell(INSTALLS.checkout, source, { PATH: path });
      expect(said).toContain('DIVERGED at step 400');
      expect(readdirSync(bin)).toContain('clippy-diag');

      const wheels = readdirSync(join(source, 'python/dist'));
      expect(wheels).toHaveLength(1);
      const empty = scratch();
      const prefix = scratch();
      const [tarball] = JSON.parse(
        execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', prefix], {
          cwd: source,
          encoding: 'utf8',
        }),
      ) as [{ filename: string }];
      // Stand for what a registry gives for the name.
      const prelude = `named() { tool=$1 name=$2 given=$3; shift 3; words=()
        for word; do [ "$word" = "$name" ] && word=$given; words+=("$word"); done
        command "$tool" "\${words[@]}"; }
      npm() { named npm clippy-diag '${prefix}/${tarball.filename}' "$@"; }
      pip() { named pip 'clippy-diag[cli]' '${source}/python/dist/${wheels[0]}[cli]' "$@"; }`;
      const clean = environment();
      shell(
        ['npm install --global clippy-diag', ...INSTALLS.registry, ...INSTALLS.published],
        empty,
        { PATH: `${clean}:${process.env.PATH}`, npm_config_prefix: prefix },
        prelude,
      );
      const version = `clippy-diag/${JSON.parse(execFileSync('npm', ['pkg', 'get', 'version'], { cwd: source, encoding: 'utf8' }))} `;
      for (const program of [join(prefix, 'bin/clippy-diag'), join(clean, 'clippy-diag')])
        expect(execFileSync(program, ['--version'], { encoding: 'utf8' })).toContain(version);
      expect(readdirSync(join(empty, 'node_modules'))).toEqual(
        expect.arrayContaining(['bullmq', 'ioredis', '@tensorflow']),
      );
    });
  },
);

describe('commands that train', () => {
  testLines(shown.toolLong);
});

describe.skipIf(!hasRedis)('commands of a queue (skipped without redis-server)', () => {
  it('train a study together', async () => {
    const [worker, study] = shown.queue;
    expect([shown.queue.length, study]).toEqual([2, expect.stringContaining('study.yaml')]);
    const redis = await Redis.start();
    try {
      const cwd = scratch();
      cpSync(join(projectRoot, 'fixtures/studies/stream/study.yaml'), join(cwd, 'study.yaml'));
      const prelude = `clippy-diag() { node '${projectRoot}/bin/run.js' "\${@/redis:\\/\\/redis.example:6379/${redis.url}}"; }`;
      // A worker stays for a while when there is nothing left; the study is done before.
      const out = shell([`${worker} --idle-exit 5s & ${study} && wait $!`], cwd, {}, prelude);
      expect(out).toContain('largest stable rate');
      expect(readdirSync(cwd).sort()).toEqual(['study.jsonl', 'study.yaml']);
    } finally {
      await redis.kill();
    }
  });
});
