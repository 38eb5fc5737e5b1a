/** `s3://`, by a look-alike on loopback that checks signatures; the look-alike asks moto the same. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import type { FaultyServer } from '../support/http-server.ts';
import { type Bucket, startS3 } from '../support/s3-lookalike.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('sources-s3');
const log = readFileSync(join(projectRoot, 'fixtures/incident/log.jsonl'));
const SECRET = 's3cret/key+with=signs';
const keys = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: SECRET };
let server: FaultyServer | undefined;
afterEach(async () => {
  await server?.stop();
  server = undefined;
});

/** A home folder without settings, and the address of a bucket. */
async function bucket(objects: Record<string, Buffer>, more: Partial<Bucket> = {}) {
  server = await startS3({
    name: 'runs',
    objects: new Map(Object.entries(objects)),
    secret: SECRET,
    region: 'us-east-1',
    ...more,
  });
  return { HOME: newFolder(), AWS_ENDPOINT_URL: server.url };
}
const analyze = (path: string, env: Record<string, string>) =>
  cli(['analyze', path, '--json', '--no-config'], { env });

describe('an object and a prefix', () => {
  const objects = {
    'exp 1/träin+log (a).jsonl': log,
    'exp 1/': Buffer.alloc(0),
    'exp 1/notes.md': Buffer.from('#'),
    'other/log.jsonl': log,
  };

  it.each(['s3://runs/exp 1/träin+log (a).jsonl', 's3://runs/exp 1/', 's3://runs/exp 1'])(
    '%s',
    async (path) => {
      const env = await bucket(objects);
      const { code, out, err } = await analyze(path, { ...env, ...keys });
      expect(code, err).toBe(0);
      const report = JSON.parse(out);
      expect(report.inputs.map((one: { path: string }) => one.path)).toEqual([
        's3://runs/exp 1/träin+log (a).jsonl',
      ]);
      expect(report.verdict).toMatchObject({ class: 'full-divergence', onsetStep: 400 });
      expect(out + err).not.toContain('s3cret');
    },
  );

  it('a whole bucket, by pages', async () => {
    const env = await bucket(objects);
    const report = JSON.parse((await analyze('s3://runs', { ...env, ...keys })).out);
    expect(report.runs.map((run: { paths: string[] }) => run.paths[0]).sort()).toEqual([
      's3://runs/exp 1/träin+log (a).jsonl',
      's3://runs/other/log.jsonl',
    ]);
    expect(server!.requests.filter(({ url }) => url.includes('continuation-token'))).not.toHaveLength(0);
  });

  it('a gate over a prefix fails by what it finds', async () => {
    const env = await bucket(objects);
    const gate = await cli(['gate', 's3://runs/exp 1/', '--no-config', '--rule', 'full-divergence'], {
      env: { ...env, ...keys },
    });
    expect(gate.code).toBe(1);
  });
});

describe('credentials', () => {
  it('of a temporary session', async () => {
    const env = await bucket({ 'log.jsonl': log }, { token: 'session-token' });
    expect(
      await analyze('s3://runs/log.jsonl', { ...env, ...keys, AWS_SESSION_TOKEN: 'session-token' }),
    ).toMatchObject({ code: 0 });
  });

  it('of a profile, with its region', async () => {
    const env = await bucket({ 'log.jsonl': log }, { region: 'eu-central-1' });
    mkdirSync(join(env.HOME, '.aws'));
    writeFileSync(
      join(env.HOME, '.aws/credentials'),
      `[default]\naws_access_key_id = WRONG\naws_secret_access_key = wrong\n[train]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = ${SECRET}\n`,
    );
    writeFileSync(
      join(env.HOME, '.aws/config'),
      '[profile train]\nregion = eu-central-1\ns3 =\n  max_concurrent_requests = 3\n',
    );
    expect(await analyze('s3://runs/log.jsonl', { ...env, AWS_PROFILE: 'train' })).toMatchObject({ code: 0 });
    expect(await analyze('s3://runs/log.jsonl', env)).toMatchObject({
      code: 3,
      err: expect.stringContaining('AWS_PROFILE'),
    });
  });

  /** An AWS CLI of a test's own: notes how it was called, and makes credentials that end after so many seconds. */
  function stubCli(home: string, seconds: number | null): { PATH: string; asked: () => string[] } {
    const log = join(home, 'asked');
    const ends = seconds === null ? '' : new Date(Date.now() + 1000 * seconds).toISOString();
    const made = {
      Version: 1,
      AccessKeyId: 'AKIDEXAMPLE',
      SecretAccessKey: SECRET,
      SessionToken: 'made',
      Expiration: ends,
    };
    const answer =
      seconds === null ? 'echo "Token has expired: s3cret" >&2; exit 255' : `echo '${JSON.stringify(made)}'`;
    writeFileSync(join(home, 'aws'), `#!/bin/sh\necho "$@" >> '${log}'\n${answer}\n`, { mode: 0o755 });
    return {
      PATH: `${home}:${process.env.PATH}`,
      asked: () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []),
    };
  }
  const inConfig = (home: string, text: string): void => {
    mkdirSync(join(home, '.aws'));
    writeFileSync(join(home, '.aws/config'), text);
  };

  it.each([
    ['single sign-on', '[profile sso]\nsso_session = work\nsso_account_id = 1\n', { AWS_PROFILE: 'sso' }],
    [
      'a role',
      '[profile sso]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n',
      { AWS_PROFILE: 'sso' },
    ],
    ['a program', '[default]\ncredential_process = /opt/keys\n', {}],
    ['a pod', '', { AWS_WEB_IDENTITY_TOKEN_FILE: '/var/run/token', AWS_ROLE_ARN: 'arn' }],
  ])('that %s makes are asked of the AWS CLI, once for as long as they last', async (_, config, more) => {
    const env = await bucket({ 'a/log.jsonl': log, 'b/log.jsonl': log }, { token: 'made' });
    inConfig(env.HOME, config);
    const { PATH, asked } = stubCli(env.HOME, 3600);
    const { code, out, err } = await analyze('s3://runs/', { ...env, ...more, PATH });
    expect(code, err).toBe(0);
    const profile = 'AWS_PROFILE' in more ? more.AWS_PROFILE : 'default';
    expect(asked()).toEqual([`configure export-credentials --format=process --profile=${profile}`]);
    expect(out + err).not.toContain('s3cret');
  });

  it('that end are asked for again', async () => {
    const env = await bucket({ 'log.jsonl': log }, { token: 'made' });
    inConfig(env.HOME, '[default]\nsso_session = work\n');
    const { PATH, asked } = stubCli(env.HOME, 30);
    expect(await analyze('s3://runs/log.jsonl', { ...env, PATH })).toMatchObject({ code: 0 });
    expect(asked().length).toBe(server!.requests.length);
  });

  it('that the AWS CLI does not make, or that it is missing: the error says what to do', async () => {
    const env = await bucket({ 'log.jsonl': log });
    inConfig(env.HOME, '[default]\nsso_session = work\n');
    for (const PATH of [stubCli(env.HOME, null).PATH, newFolder()]) {
      const { code, out, err } = await analyze('s3://runs/log.jsonl', { ...env, PATH });
      expect(code).toBe(3);
      expect(err).toMatch(/source-denied.*aws sso login/s);
      expect(out + err).not.toContain('s3cret');
    }
  });

  it('are not asked of the AWS CLI where there are keys, or nothing says how to make some', async () => {
    const env = await bucket({ 'log.jsonl': log });
    const { PATH, asked } = stubCli(env.HOME, 3600);
    await analyze('s3://runs/log.jsonl', { ...env, PATH });
    inConfig(env.HOME, '[default]\nsso_session = work\n');
    expect(await analyze('s3://runs/log.jsonl', { ...env, ...keys, PATH })).toMatchObject({ code: 0 });
    expect(asked()).toEqual([]);
  });

  it('none, for a bucket that anybody may read: nothing is signed', async () => {
    const env = await bucket({ 'log.jsonl': log }, { secret: null });
    expect(await analyze('s3://runs/log.jsonl', env)).toMatchObject({ code: 0 });
    expect(server!.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  it('wrong ones are said with what to set, and are in no output', async () => {
    const env = await bucket({ 'log.jsonl': log });
    const { code, out, err } = await analyze('s3://runs/log.jsonl', {
      ...env,
      ...keys,
      AWS_SECRET_ACCESS_KEY: 'other-s3cret',
    });
    expect(code).toBe(3);
    expect(err).toMatch(/source-denied.*AWS_ACCESS_KEY_ID/s);
    expect(out + err).not.toContain('s3cret');
  });
});

it.each([
  ['s3://runs/none.jsonl', 'source-missing'],
  ['s3://runs/none/', 'source-missing'],
  ['s3://other/log.jsonl', 'source-missing'],
  ['s3://', 'source-unsupported'],
  ['s3://a b/c', 'source-unsupported'],
])('%s is %s', async (path, code) => {
  const env = await bucket({ 'log.jsonl': log });
  expect(await analyze(path, { ...env, ...keys })).toMatchObject({
    code: 3,
    err: expect.stringContaining(code),
  });
});

it('a transfer that breaks off is resumed, signed anew', async () => {
  const env = await bucket({ 'log.jsonl': log });
  server!.misbehave({ cutAfter: 20_000 });
  expect(await analyze('s3://runs/log.jsonl', { ...env, ...keys })).toMatchObject({ code: 0 });
  expect(server!.requests.length).toBeGreaterThan(3);
});
