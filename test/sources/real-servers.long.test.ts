/** Sources against real servers on loopback; each is skipped where its server is not installed (.ci/servers installs them). */
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { AwsClient } from 'aws4fetch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { makeMirror } from '../../src/read/sources/mirror.ts';
import { cli } from '../support/cli.ts';
import { answers, freePort, programOf, startServer } from '../support/real-servers.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';
import { eventOf } from '../support/training-logs.ts';

const newFolder = scratchFolders('real-servers');
const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'));
const home = newFolder();
const analyze = (path: string, env: Record<string, string> = {}) =>
  cli(['analyze', path, '--json', '--no-config'], { env: { HOME: home, ...env } });
const verdictOf = async (path: string, env: Record<string, string> = {}) => {
  const { out, err, code } = await analyze(path, env);
  expect([code, err]).toEqual([0, expect.any(String)]);
  return JSON.parse(out).verdict as { class: string; onsetStep: number };
};
const DIVERGED = { class: 'full-divergence', onsetStep: 400 };

/** Runs the tests with a server that is started before them; skips them with the reason in their name where it is not there. */
function withServer(
  name: string,
  start: (program: string) => Promise<() => Promise<void>>,
  tests: () => void,
): void {
  const program = programOf(name);
  if (program === undefined) {
    describe.skip(`${name} is not installed`, tests);
    return;
  }
  describe(name, () => {
    let stop: () => Promise<void>;
    beforeAll(async () => {
      stop = await start(program);
    }, 250_000);
    afterAll(() => stop());
    tests();
  });
}

let gs: Record<string, string> = {};
withServer(
  'fake-gcs-server',
  async (program) => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    gs = { STORAGE_EMULATOR_HOST: `127.0.0.1:${port}` };
    const args = ['-scheme', 'http', '-host', '127.0.0.1', '-port', String(port), '-backend', 'memory'];
    const stop = await startServer(program, args, {
      cwd: newFolder(),
      ready: answers(`${url}/storage/v1/b`),
    });
    await fetch(`${url}/storage/v1/b?project=p`, { method: 'POST', body: '{"name":"runs"}' });
    const name = encodeURIComponent('exp 1/a+log.jsonl');
    await fetch(`${url}/upload/storage/v1/b/runs/o?uploadType=media&name=${name}`, {
      method: 'POST',
      body: log,
    });
    return stop;
  },
  () => {
    it.each(['gs://runs/exp 1/', 'gs://runs/exp 1/a+log.jsonl', 'gs://runs'])('%s', async (path) => {
      expect(await verdictOf(path, gs)).toMatchObject(DIVERGED);
    });
    it('says what is missing', async () => {
      expect(await analyze('gs://runs/none', gs)).toMatchObject({
        code: 3,
        err: expect.stringContaining('source-missing'),
      });
    });
  },
);

/** The account that the emulator of Azure has: it is published in its documentation and opens nothing else. */
const ACCOUNT = 'devstoreaccount1';
const KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';
let azure = '';
async function putAzure(
  path: string,
  query: string,
  body: Buffer,
  more: Record<string, string> = {},
): Promise<void> {
  const url = new URL(`${azure}${path}${query}`);
  const own = { ...more, 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-08-06' };
  const headers = Object.entries(own).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = `PUT\n\n\n${body.length || ''}\n${'\n'.repeat(8)}${headers.map(([k, v]) => `${k}:${v}\n`).join('')}/${ACCOUNT}${url.pathname}${[...url.searchParams].map(([k, v]) => `\n${k}:${v}`).join('')}`;
  const signature = createHmac('sha256', Buffer.from(KEY, 'base64')).update(text).digest('base64');
  const answer = await fetch(url, {
    method: 'PUT',
    headers: { ...own, authorization: `SharedKey ${ACCOUNT}:${signature}` },
    body,
  });
  expect(answer.status).toBe(201);
}
withServer(
  'azurite-blob',
  async (program) => {
    const port = await freePort();
    azure = `http://127.0.0.1:${port}/${ACCOUNT}`;
    const folder = newFolder();
    const args = ['--silent', '--location', folder, '--blobPort', String(port), '--skipApiVersionCheck'];
    const stop = await startServer(program, args, { cwd: folder, ready: answers(azure) });
    await putAzure('/runs', '?restype=container', Buffer.alloc(0));
    await putAzure('/runs/exp%201/a%2Blog.jsonl', '', log, { 'x-ms-blob-type': 'BlockBlob' });
    return stop;
  },
  () => {
    const connection = (key: string) => ({
      AZURE_STORAGE_CONNECTION_STRING: `AccountName=${ACCOUNT};AccountKey=${key};BlobEndpoint=${azure};`,
    });
    it.each(['az://runs/exp 1/', 'az://runs/exp 1/a+log.jsonl', 'az://runs'])('%s', async (path) => {
      expect(await verdictOf(path, connection(KEY))).toMatchObject(DIVERGED);
    });
    it('a wrong key is refused with what to set, and is in no output', async () => {
      const wrong = Buffer.from('s3cret-of-azure').toString('base64');
      const { code, out, err } = await analyze('az://runs/exp 1/', connection(wrong));
      expect([code, err]).toEqual([3, expect.stringMatching(/source-denied.*AZURE_STORAGE_ACCOUNT/s)]);
      expect(out + err).not.toContain(wrong);
    });
    it('without an account the error says what to set', async () => {
      expect(await analyze('az://runs/x')).toMatchObject({
        code: 3,
        err: expect.stringContaining('AZURE_STORAGE_ACCOUNT'),
      });
    });
  },
);

let s3: Record<string, string> = {};
withServer(
  'moto_server',
  async (program) => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    s3 = {
      AWS_ENDPOINT_URL: url,
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_REGION: 'us-east-1',
    };
    const stop = await startServer(program, ['-H', '127.0.0.1', '-p', String(port)], {
      cwd: newFolder(),
      ready: answers(url),
    });
    await fetch(`${url}/runs`, { method: 'PUT' });
    expect((await fetch(`${url}/runs/exp%201/a%2Blog.jsonl`, { method: 'PUT', body: log })).status).toBe(200);
    return stop;
  },
  () => {
    it.each(['s3://runs/exp 1/', 's3://runs/exp 1/a+log.jsonl', 's3://runs'])('%s', async (path) => {
      expect(await verdictOf(path, s3)).toMatchObject(DIVERGED);
    });
    it('a prefix whose log grows, is rotated and goes away is watched', async () => {
      const client = new AwsClient({ accessKeyId: 'test', secretAccessKey: 'test', service: 's3' });
      const ask = async (name: string, init: RequestInit): Promise<void> => {
        const { ok } = await client.fetch(`${s3.AWS_ENDPOINT_URL}/runs/grow/${name}`, init);
        expect(ok).toBe(true);
      };
      const put = (name: string, body: Buffer) => ask(name, { method: 'PUT', body: new Uint8Array(body) });
      const mirror = await makeMirror('s3://runs/grow', { env: { HOME: home, ...s3 } });
      const heldIn = (name: string) => readFileSync(join(mirror.path, name));
      await put('log.jsonl', log.subarray(0, 50_000));
      await mirror.refresh();
      await put('log.jsonl', log);
      await mirror.refresh();
      expect(heldIn('log.jsonl').equals(log)).toBe(true);
      await put('log.jsonl.1', log);
      await put('log.jsonl', Buffer.from('{"step":600,"loss":1}\n'));
      await mirror.refresh();
      expect([heldIn('log.jsonl').length, heldIn('log.jsonl.1').equals(log)]).toEqual([22, true]);
      await ask('log.jsonl', { method: 'DELETE' });
      await mirror.refresh();
      expect(existsSync(join(mirror.path, 'log.jsonl'))).toBe(false);
      await mirror.close();
    });
  },
);

let mlflow = '';
let mlflowRun = '';
withServer(
  'mlflow',
  async (program) => {
    const port = await freePort();
    mlflow = `http://127.0.0.1:${port}`;
    const folder = newFolder();
    const args = [
      'server',
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
      '--backend-store-uri',
      'sqlite:///m.db',
      '--workers',
      '1',
    ];
    const stop = await startServer(program, args, { cwd: folder, ready: answers(`${mlflow}/health`) });
    const post = async (name: string, body: unknown): Promise<Record<string, unknown>> => {
      const answer = await fetch(`${mlflow}/api/2.0/mlflow/${name}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(answer.status).toBe(200);
      return (await answer.json()) as Record<string, unknown>;
    };
    const made = (await post('runs/create', { experiment_id: '0', run_name: 'a/b:c', start_time: 1 })) as {
      run: { info: { run_id: string } };
    };
    mlflowRun = made.run.info.run_id;
    const points = log
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { step: number; loss: number });
    const metrics = points.map(({ step, loss }) => ({
      key: 'train/loss',
      value: step === 590 ? 'NaN' : step === 591 ? 'Infinity' : loss,
      timestamp: 1_700_000_000_000 + step,
      step,
    }));
    await post('runs/log-batch', { run_id: mlflowRun, metrics, params: [{ key: 'lr', value: '0.1' }] });
    return stop;
  },
  () => {
    it('a run and its experiment, by scheme and by page, with NaN and Infinity as they were logged', async () => {
      const env = { MLFLOW_TRACKING_URI: mlflow };
      for (const path of [
        `mlflow://runs/${mlflowRun}`,
        `${mlflow}/#/experiments/0`,
        `${mlflow}/#/experiments/0/runs/${mlflowRun}`,
      ]) {
        const { code, out, err } = await analyze(path, env);
        expect([path, code, err]).toEqual([path, 0, expect.any(String)]);
        const { runs, verdict } = JSON.parse(out);
        expect([path, verdict.onsetStep]).toEqual([path, 400]);
        const { statistics, points } = runs[0].series.find(
          ({ name }: { name: string }) => name === 'train/loss',
        );
        expect([points, statistics.nan, statistics.posInf ?? statistics.positiveInfinity]).toEqual([
          600, 1, 1,
        ]);
      }
    });
    it('--tag sets a tag of the run, which a search finds', async () => {
      const env = { HOME: newFolder(), MLFLOW_TRACKING_URI: mlflow };
      const path = `mlflow://runs/${mlflowRun}`;
      const args = ['gate', path, '--no-config', '--rule', 'full-divergence', '--tag'];
      expect((await cli(args, { env })).code).toBe(1);
      const answer = await fetch(`${mlflow}/api/2.0/mlflow/runs/search`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ experiment_ids: ['0'], filter: "tags.`clippy-diag` != 'healthy'" }),
      });
      const { runs } = (await answer.json()) as {
        runs: { info: { run_id: string }; data: { tags: unknown[] } }[];
      };
      expect(runs.map(({ info }) => info.run_id)).toEqual([mlflowRun]);
      expect(runs[0]!.data.tags).toContainEqual({ key: 'clippy-diag', value: 'full-divergence' });
    });
    it('says what to set where no server is named', async () => {
      expect(await analyze(`mlflow://runs/${mlflowRun}`)).toMatchObject({
        code: 3,
        err: expect.stringContaining('MLFLOW_TRACKING_URI'),
      });
      expect(await analyze('mlflow://runs/0', { MLFLOW_TRACKING_URI: mlflow })).toMatchObject({
        code: 3,
        err: expect.stringContaining('source-missing'),
      });
    });
  },
);

let tensorboard = '';
withServer(
  'tensorboard',
  async (program) => {
    const port = await freePort();
    tensorboard = `127.0.0.1:${port}`;
    const folder = newFolder();
    mkdirSync(join(folder, 'a'));
    copyFileSync(
      join(projectRoot, 'fixtures/logs/full-divergence-tb/input.tfevents'),
      join(folder, 'a/events.out.tfevents.1.x'),
    );
    mkdirSync(join(folder, 'long'));
    const long = Array.from({ length: 3000 }, (_, k) =>
      eventOf(k, [['loss', 0.5 + 2 * Math.exp(-k / 200) + 0.01 * Math.sin(k)]]),
    );
    writeFileSync(join(folder, 'long/events.out.tfevents.1.x'), Buffer.concat(long));
    const args = ['--logdir', folder, '--host', '127.0.0.1', '--port', String(port), '--load_fast=false'];
    return startServer(program, args, {
      cwd: folder,
      ready: async () =>
        Object.keys((await (await fetch(`http://${tensorboard}/data/plugin/scalars/tags`)).json()) as object)
          .length > 1,
    });
  },
  () => {
    it('by scheme and by the page; of a sample nobody says that it is well', async () => {
      for (const path of [`tensorboard://${tensorboard}`, `http://${tensorboard}/#timeseries`]) {
        const { runs } = JSON.parse((await analyze(path)).out) as Report;
        const of = (name: string) => runs.find(({ id }) => id.startsWith(name))!.verdict;
        expect(of('a/')).toMatchObject(DIVERGED);
        expect(of('long/')).toMatchObject({
          class: 'inconclusive',
          provenBy: {
            judged: {
              holds: false,
              statement: expect.stringMatching(
                /^"loss" was sampled by the server: 1,000 points of steps \d+ to 2999/,
              ),
            },
          },
        });
      }
    });
  },
);

let ssh: Record<string, string> = {};
let sshFolder = '';
let sshPort = 0;
const sshServer = { start: async () => {}, stop: async () => {} };
withServer(
  'sshd',
  async (program) => {
    const folder = newFolder();
    sshFolder = folder;
    sshPort = await freePort();
    for (const name of ['host', 'user'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
    copyFileSync(join(folder, 'user.pub'), join(folder, 'authorized'));
    chmodSync(join(folder, 'authorized'), 0o600);
    const settings = `HostKey ${join(folder, 'host')}\nAuthorizedKeysFile ${join(folder, 'authorized')}\nPidFile ${join(folder, 'pid')}\nStrictModes no\nUsePAM no\nListenAddress 127.0.0.1\nPasswordAuthentication no\nPort ${sshPort}\n`;
    writeFileSync(join(folder, 'sshd_config'), settings);
    if (userInfo().uid === 0) mkdirSync('/run/sshd', { recursive: true });
    // The user's own ssh reads the user's own configuration: a wrapper replaces it.
    mkdirSync(join(folder, 'bin'));
    const known = `[127.0.0.1]:${sshPort} ${readFileSync(join(folder, 'host.pub'), 'utf8')}`;
    writeFileSync(join(folder, 'known_hosts'), known);
    const real = execFileSync('sh', ['-c', 'command -v ssh'], { encoding: 'utf8' }).trim();
    writeFileSync(
      join(folder, 'bin/ssh'),
      `#!/bin/sh\nfor last; do :; done; printf '%s\\n' "$last" >> '${join(folder, 'commands')}'\nexec ${real} -F none -i '${join(folder, 'user')}' -o UserKnownHostsFile='${join(folder, 'known_hosts')}' -o StrictHostKeyChecking=yes "$@"\n`,
    );
    chmodSync(join(folder, 'bin/ssh'), 0o755);
    ssh = { PATH: `${join(folder, 'bin')}:${process.env.PATH}` };
    mkdirSync(join(folder, "it's a run"));
    writeFileSync(join(folder, "it's a run", 'log $(touch pwned).jsonl'), log);
    const ready = async (): Promise<boolean> => {
      const args = ['-o', 'BatchMode=yes', '-p', String(sshPort), '127.0.0.1', 'true'];
      execFileSync(join(folder, 'bin/ssh'), args, { stdio: 'ignore' });
      return true;
    };
    // It has no subsystem: files are read by commands of a shell, not by sftp.
    const start = () =>
      startServer(program, ['-D', '-e', '-f', join(folder, 'sshd_config')], { cwd: folder, ready });
    sshServer.start = async () => {
      sshServer.stop = await start();
    };
    await sshServer.start();
    return () => sshServer.stop();
  },
  () => {
    it('a folder and a file, whatever they are called', async () => {
      const at = `ssh://${userInfo().username}@127.0.0.1:${sshPort}${sshFolder}/it's a run`;
      for (const path of [at, `${at}/log $(touch pwned).jsonl`])
        expect(await verdictOf(path, ssh)).toMatchObject(DIVERGED);
      const { code, err } = await analyze(`${at}/none`, ssh);
      expect([code, err]).toEqual([3, expect.stringContaining('source-missing')]);
    });
    it('a file that grows is watched by its new bytes alone, over an outage and a new start of the server', async () => {
      const path = join(sshFolder, 'grow.jsonl');
      writeFileSync(path, log.subarray(0, 50_000));
      const url = `ssh://127.0.0.1:${sshPort}${path}`;
      const mirror = await makeMirror(url, { env: { ...process.env, ...ssh } });
      await mirror.refresh();
      appendFileSync(path, log.subarray(50_000, 60_000));
      await mirror.refresh();
      expect(readFileSync(mirror.path).equals(log.subarray(0, 60_000))).toBe(true);
      // The last command asked for what is new and the 4 KiB before it.
      const commands = readFileSync(join(sshFolder, 'commands'), 'utf8').trim().split('\n');
      expect(commands.at(-1)).toContain(`tail -c +${50_000 - 4096 + 1} `);
      await sshServer.stop();
      appendFileSync(path, log.subarray(60_000));
      await expect(mirror.refresh()).rejects.toMatchObject({ code: 'source-unreachable' });
      expect(readFileSync(mirror.path).length).toBe(60_000);
      await sshServer.start();
      await mirror.refresh();
      expect(readFileSync(mirror.path).equals(log)).toBe(true);
      await mirror.close();
    });
    it('a host key that is another one, and a key that the server does not know, are refused with what to try', async () => {
      const url = `ssh://127.0.0.1:${sshPort}${sshFolder}/it's a run`;
      const refused = async (): Promise<void> => {
        const { code, err } = await analyze(url, ssh);
        expect([code, err]).toEqual([3, expect.stringMatching(/source-denied[\s\S]*known_hosts/)]);
      };
      for (const [file, other] of [
        ['known_hosts', `[127.0.0.1]:${sshPort} ${readFileSync(join(sshFolder, 'user.pub'), 'utf8')}`],
        ['known_hosts', ''],
        ['authorized', ''],
      ] as const) {
        const before = readFileSync(join(sshFolder, file));
        writeFileSync(join(sshFolder, file), other);
        await refused();
        // No key is learnt from a refused host.
        expect(readFileSync(join(sshFolder, file), 'utf8')).toBe(other);
        writeFileSync(join(sshFolder, file), before);
      }
      expect(await verdictOf(url, ssh)).toMatchObject(DIVERGED);
    });
  },
);
