/** Commands on URLs say what they say of the same files on this machine, with the URL in the place of the path. */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import type { FaultyServer } from '../support/http-server.ts';
import { startS3 } from '../support/s3-lookalike.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const newFolder = scratchFolders('commands');
const fixtures = join(projectRoot, 'fixtures/incident');
let server: FaultyServer;
let env: Record<string, string>;
const folder = newFolder();

beforeAll(async () => {
  const { out } = await cli(['analyze', join(fixtures, 'log.jsonl'), '--json', '--no-config']);
  writeFileSync(join(folder, 'report.json'), out);
  writeFileSync(
    join(folder, 'train.log'),
    Array.from({ length: 50 }, (_, k) => `step ${k} loss ${(3 / (k + 1)).toFixed(4)}\n`).join(''),
  );
  const objects = new Map(
    ['report.json', 'train.log'].map((name) => [name, readFileSync(join(folder, name))] as const),
  );
  for (const name of readdirSync(fixtures, { recursive: true, encoding: 'utf8' }))
    if (statSync(join(fixtures, name)).isFile())
      objects.set(`run/${name}`, readFileSync(join(fixtures, name)));
  server = await startS3({ name: 'bucket', objects, secret: null, region: 'us-east-1' });
  env = { HOME: newFolder(), AWS_ENDPOINT_URL: server.url, AWS_REGION: 'us-east-1' };
});
afterAll(() => server.stop());

it.each([
  ['chart', ['run/log.jsonl', '--no-config', '--ascii']],
  ['report', ['report.json', '--brief']],
  ['who', ['5', 'run']],
  ['resume', ['run']],
  ['preflight', ['run/capture', '--rate', '0.02']],
  ['donate', ['run', '--json']],
  ['replay', ['run/capture', '--json']],
  ['curvature', ['run/capture', '--json']],
  ['matrix', ['run/capture', '--seeds', '1', '--steps', '2', '--rule', 'none', '--json']],
  ['teach', ['train.log']],
] as const)('%s', async (name, words) => {
  const at = (root: (path: string) => string): string[] =>
    words.map((word) => (/^(run|report\.json|train\.log)/.test(word) ? root(word) : word));
  const local = (word: string): string =>
    /^(report|train)\./.test(word) ? join(folder, word) : join(fixtures, word.replace(/^run\/?/, ''));
  const here = await cli([name, ...at(local)], { env });
  const there = await cli([name, ...at((word) => `s3://bucket/${word}`)], { env });
  const shown = (text: string): string =>
    text.replaceAll('s3://bucket/run', fixtures).replaceAll('s3://bucket', folder).replace(/\s+/g, ' ');
  expect([there.code, shown(there.out), shown(there.err)]).toEqual([
    here.code,
    shown(here.out),
    shown(here.err),
  ]);
  expect(there.out + there.err).not.toMatch(/clippy-diag-(remote|spool|\w{6}\/)/);
  const refused = await cli([name, ...at((word) => `s3://bucket/${word}`), '--offline'], { env });
  expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('source-offline') });
});

it('baseline update', async () => {
  const update = (path: string, file: string) =>
    cli(['baseline', 'update', path, '--file', file, '--no-config', '--allow-outside'], { env, cwd: folder });
  const here = await update(join(fixtures, 'log.jsonl'), 'here.json');
  const there = await update('s3://bucket/run/log.jsonl', 'there.json');
  expect([there.code, there.out]).toEqual([here.code, here.out.replace('here', 'there')]);
  const [local, remote] = ['here.json', 'there.json'].map((name) => readFileSync(join(folder, name), 'utf8'));
  expect(remote!.replaceAll('s3://bucket/run', fixtures)).toBe(local);
});

it.each([
  ['strip-batches', 's3://bucket/run/capture'],
  ['matrix', 's3://bucket/study.yaml'],
  ['bisect', '--good', 's3://bucket/run', '--', 'true'],
])('%s says that it works on files of this machine', async (...words) => {
  const { code, err } = await cli(words, { env });
  expect([code, err]).toEqual([2, expect.stringMatching(/s3:\/\/bucket.*\n.*copy it to this machine/)]);
});
