/** Files of hyperparameters beside a log: inputs with an account, and no reason to refuse the log. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readSidecars } from '../../src/read/logs/sidecars.ts';
import { cli } from '../support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-sidecars-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);

it('what was read is records, what was not is passed over with a note', async () => {
  const json = '{ "lr": 0.1, "optim": { "name": "adagrad" } }';
  const aliases = `a: &a 1\n${Array.from({ length: 101 }, (_, k) => `k${k}: *a\n`).join('')}`;
  write('hparams.json', json);
  write('config.yaml', aliases);
  write('args.yaml', `x: ${'y'.repeat(64_000)}\n`);
  write('params.json', '{ "lr": ');
  const { files, hyperparameters, notes } = await readSidecars(folder);
  expect([...hyperparameters]).toEqual([
    ['lr', 0.1],
    ['optim.name', 'adagrad'],
  ]);
  const byName = new Map(files.map((file) => [file.path.split('/').at(-1), file]));
  expect(byName.get('hparams.json')).toMatchObject({
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    account: { bytes: json.length, records: json.length, overhead: 0, passedOver: 0, lost: [] },
  });
  for (const name of ['config.yaml', 'args.yaml', 'params.json']) {
    const { account } = byName.get(name)!;
    expect(account).toMatchObject({ records: 0, passedOver: account.bytes, lost: [] });
    expect(notes.join('\n')).toContain(`${name} could not be read`);
  }
});

it('they stand among the inputs, and a damaged one leaves a gate green', async () => {
  const rows = Array.from({ length: 60 }, (_, step) => `${step},0.4\n`).join('');
  write('log.csv', `step,loss\n${rows}`);
  const { code, out } = await cli(['gate', folder, '--json', '--settle', '0']);
  expect(code).toBe(0);
  const { inputs } = JSON.parse(out) as { inputs: { path: string; format: string }[] };
  expect(
    inputs.filter(({ format }) => format === 'hyperparameters').map(({ path }) => path.split('/').at(-1)),
  ).toEqual(['hparams.json', 'config.yaml', 'args.yaml', 'params.json']);
});

it('one that was read is not passed over, and of the others it is told why', async () => {
  const gate = await cli(['gate', folder, '--settle', '0']);
  expect(gate.out).not.toMatch(/skipped .*hparams\.json/);
  expect(gate.out).toMatch(/skipped .*params\.json: hyperparameters, and it could not be read: .*JSON/);
  expect(gate.out).toMatch(/skipped .*args\.yaml: hyperparameters, and it could not be read: .*64,000/);
  const { out } = await cli(['inspect', folder, '--verbose']);
  expect(out).toMatch(/hparams\.json: hyperparameters\n {2}bytes 45 = 45 records/);
  expect(out).toMatch(
    /\/params\.json: hyperparameters; it could not be read: .*\n {2}bytes 8 = 0 records .* 8 skipped/,
  );
  const { hyperparameterFiles } = JSON.parse((await cli(['inspect', folder, '--json'])).out) as {
    hyperparameterFiles: { path: string; problem: string | null }[];
  };
  expect(hyperparameterFiles.map(({ problem }) => problem === null)).toEqual([true, false, false, false]);
});

it('what MLflow keeps in `params` is read as hyperparameters and not passed over, with folders in its keys', async () => {
  const run = join(folder, 'mlflow');
  for (const name of ['metrics', 'params/optim']) mkdirSync(join(run, name), { recursive: true });
  const points = Array.from({ length: 60 }, (_, k) => `${1_700_000_000_000 + k} 0.4 ${k}\n`).join('');
  writeFileSync(join(run, 'metrics/loss'), points);
  writeFileSync(join(run, 'params/optim/lr'), '0.1');
  writeFileSync(join(run, 'params/prompt'), 'p'.repeat(1_500));
  writeFileSync(join(run, 'params/dump'), 'd'.repeat(2 ** 20 + 1));
  const { inputs, hyperparameterFiles, skipped } = JSON.parse(
    (await cli(['inspect', run, '--json'])).out,
  ) as {
    inputs: { runs: { hyperparameters?: object }[] }[];
    hyperparameterFiles: { path: string; account: { records: number }; problem: string | null }[];
    skipped: { path: string; reason: string }[];
  };
  expect(inputs).toHaveLength(1);
  expect(
    hyperparameterFiles.map(({ path, account }) => [path.slice(run.length + 1), account.records]),
  ).toEqual([
    ['params/dump', 0],
    ['params/optim/lr', 3],
    ['params/prompt', 1_500],
  ]);
  expect(skipped.map(({ path, reason }) => `${path.slice(run.length + 1)}: ${reason}`)).toEqual([
    expect.stringMatching(/^params\/dump: hyperparameters, and it has 1048577 bytes/),
  ]);
  const { runs } = JSON.parse((await cli(['analyze', run, '--json'])).out) as {
    runs: { hyperparameters: Record<string, unknown> }[];
  };
  expect(runs[0]!.hyperparameters).toEqual({ 'optim/lr': 0.1, prompt: 'p'.repeat(1_500) });
  const gate = await cli(['gate', run, '--settle', '0']);
  expect([gate.code, gate.out.match(/skipped .*params\/(optim|prompt)/)]).toEqual([0, null]);
});
