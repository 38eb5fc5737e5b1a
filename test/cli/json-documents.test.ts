/** Every command prints with `--json` one document that is what its published schema says, with no member more. */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { publishedFiles } from '../../schema/published.ts';
import { cli } from '../support/cli.ts';
import { closedValidator } from '../support/closed-schema.ts';
import { hasRedis, Redis } from '../support/redis.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('json-documents')();
const redis = hasRedis ? await Redis.start() : undefined;
afterAll(() => redis?.kill());
const log = 'fixtures/incident/log.jsonl';
const capture = 'fixtures/incident/capture';
const checkpoints = 'fixtures/incident/checkpoints';
const baseline = join(folder, 'baseline.json');
const stripped = join(folder, 'capture');
cpSync(join(projectRoot, capture), stripped, { recursive: true });

it('schemas and docs/json.md are committed as the code makes them (`npm run docs` writes them)', () => {
  for (const [path, text] of publishedFiles())
    expect(readFileSync(join(projectRoot, path), 'utf8'), path).toBe(text);
});

/** What is wrong with a document by its schema; a schema that was never asked has proved nothing. */
const asked = new Set<string>();
function wrongWith(name: string, document: unknown): string | null {
  asked.add(name);
  return closedValidator(JSON.parse(publishedFiles().get(`schema/${name}.schema.json`)!) as object)(document);
}

describe.each<[document: string, code: number, ...args: string[]]>([
  ['report', 0, 'analyze', log],
  ['report', 1, 'gate', log],
  ['brief', 0, 'analyze', log, '--brief'],
  ['brief', 1, 'gate', log, '--brief'],
  ['inspect', 0, 'inspect', 'fixtures/formats'],
  ['inspect', 0, 'inspect', checkpoints, '--list'],
  ['inspect', 0, 'inspect', checkpoints],
  ['inspect', 3, 'inspect', 'fixtures/checkpoints'],
  ['inspect', 3, 'inspect', 'fixtures/hostile'],
  ['diff', 0, 'inspect', `${checkpoints}/step-380.pt`, `${checkpoints}/step-420.pt`, '--diff'],
  ['compare', 1, 'compare', 'fixtures/ledgers/base/ledger', 'fixtures/ledgers/rate/ledger'],
  [
    ...([
      'compare',
      1,
      'compare',
      'fixtures/ledgers/base/ledger',
      'fixtures/ledgers/gradient/ledger',
    ] as const),
    ...['--report', `html:${join(folder, 'compare.html')}`],
  ],
  [
    ...(['bisect', 0, 'bisect', '--good', log, '--vary'] as const),
    ...[`log=${log},fixtures/logs/healthy/input.jsonl`, '--steps', '500'],
    ...['--folder', join(folder, 'bisect'), '--', 'node', '-e'],
    ...["process.stdout.write(require('fs').readFileSync(process.argv[1]))", '{log}'],
  ],
  ['replay', 0, 'replay', capture],
  ['replay', 0, 'replay', 'fixtures/captures/nan', '--mode', 'open-loop'],
  [
    'replay',
    0,
    'replay',
    'fixtures/captures/nan',
    '--mode',
    'closed-loop',
    '--rule',
    'none',
    '--rule',
    'clippy',
  ],
  ['curvature', 0, 'curvature', capture, '--density', '--task', 'each'],
  ['matrix', 0, 'matrix', capture, '--seeds', '1', '--rule', 'none', '--learning-rate-multiplier', '1'],
  ['worker', 0, 'matrix', 'worker', '--idle-exit', '1'],
  ['study', 0, 'matrix', 'fixtures/studies/stream/study.yaml', '--workers', '1'],
  ['chart', 0, 'chart', log],
  ['baseline', 0, 'baseline', 'update', log, '--file', baseline, '--no-config', '--allow-outside'],
  ['baseline', 0, 'baseline', 'show', '--file', baseline],
  ['pages', 0, 'explain'],
  ['page', 0, 'explain', 'clippy'],
  ['completion', 0, 'completion', 'bash'],
  ['init', 0, 'init', '--dir', folder],
  ['init', 0, 'init', '--framework', 'torch'],
  ['check', 0, 'inspect', '--check', capture],
  ['audit', 0, 'audit', capture],
  ['who', 0, 'who', '3', 'fixtures/ledgers/base/ledger'],
  ['resume', 0, 'resume', 'fixtures/checkpoints/pytorch2/lightning.ckpt'],
  ['audit', 0, 'audit', 'fixtures/incident'],
  ['audit', 0, 'audit', 'fixtures/captures'],
  ['preflight', 4, 'preflight', capture, '--seconds', '0.01'],
  ['strip', 0, 'strip-batches', stripped],
  ['donate', 0, 'donate', log, capture],
  ['teach', 0, 'teach', 'fixtures/printed/yolact/input.log'],
  ['tokens', 0, 'inspect', '--tokens', 'step 3: loss 2.5'],
  ['error', 5, 'init', '--dir', folder],
  ['error', 3, 'analyze', 'no/such/file'],
])('%s document, exit code %d: %s %s %s %s', (document, code, ...args) => {
  it.skipIf(document === 'worker' && !hasRedis)('is what its schema says', async () => {
    const at = document === 'worker' ? ['--queue', redis!.url] : [];
    // What follows `--` is a command of the user's.
    const end = args.includes('--') ? args.indexOf('--') : args.length;
    const result = await cli([...args.slice(0, end), ...at, '--json', ...args.slice(end)]);
    expect(result.code, result.err).toBe(code);
    const found: unknown = JSON.parse(result.out);
    expect(wrongWith(document, found)).toBeNull();
    expect(wrongWith(document, { ...(found as object), more: 1 })).toMatch(/additional properties/);
  });
});

it('no document was left out', () => {
  const all = [...publishedFiles().keys()].flatMap(
    (path) => /^schema\/(.*)\.schema\.json$/.exec(path)?.[1] ?? [],
  );
  expect([...asked, 'config', ...(hasRedis ? [] : ['worker'])].sort()).toEqual(all.sort());
});
