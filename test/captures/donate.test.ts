/** `donate` gives numbers of known meaning away and nothing that says whose they are. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('donate');

/** Everything personal that a run may hold, each in a place of its own. */
const SECRETS = [
  'anna.schmidt', // folder
  'berlin-churn', // file
  'payroll_total', // a column
  'user-4711', // text in a record
  'patients', // a task
  's3://private-bucket', // a setting
  'hunter2', // a setting's value
  '1715000123', // a time as a step
  '90210', // a number of unknown meaning
  'secret_table', // a parameter
  'model-of-anna', // the model file
  'row-0815', // a batch id
];

function secretRun(): string {
  const path = join(folder(), 'anna.schmidt');
  mkdirSync(path);
  const lines = Array.from({ length: 200 }, (_, k) =>
    JSON.stringify({
      step: 1715000123 + k,
      loss: k === 150 ? 90 : 1 + 1 / (k + 1),
      'task/patients/loss': 0.5 + 1 / (k + 1),
      learning_rate: 0.01,
      payroll_total: 90210,
      note: 'user-4711',
    }),
  );
  writeFileSync(join(path, 'berlin-churn.jsonl'), `${lines.join('\n')}\n`);
  writeFileSync(
    join(path, 'hparams.json'),
    JSON.stringify({ data: 's3://private-bucket', token: 'hunter2' }),
  );
  const capture = join(path, 'capture');
  cpSync(join(projectRoot, 'fixtures/captures/seed-2'), capture, { recursive: true });
  const manifest = JSON.parse(readFileSync(join(capture, 'capture.json'), 'utf8'));
  manifest.framework = 'pytorch model-of-anna';
  manifest.steps[0].batchId = 'row-0815';
  writeFileSync(join(capture, 'capture.json'), JSON.stringify(manifest));
  return path;
}

const filesOf = (at: string): string[] =>
  readdirSync(at, { recursive: true, encoding: 'utf8' })
    .map((name) => join(at, name))
    .filter((path) => statSync(path).isFile());

describe('donate', () => {
  it('writes nothing that is personal: no name, no text, no batch, no tensor', async () => {
    const run = secretRun();
    const out = join(folder(), 'gift');
    const { code, err } = await cli(['donate', run, '--out', out]);
    expect(code, err).toBe(0);
    const files = filesOf(out);
    expect(files.length).toBeGreaterThanOrEqual(3);
    for (const path of files) {
      const text = readFileSync(path, 'utf8');
      for (const secret of SECRETS) expect(`${path.slice(out.length)}\n${text}`).not.toContain(secret);
      // Neither the time itself nor anything near it.
      expect(text).not.toMatch(/1[67]\d{8}/);
      // Whatever text is left is of a closed list.
      const words = new Set(text.match(/"[^"]*"/g));
      for (const word of words) expect(word).toMatch(ALLOWED);
    }
  });

  it('keeps what makes a case: the losses, the rate, the jump', async () => {
    const out = join(folder(), 'gift');
    await cli(['donate', secretRun(), '--out', out]);
    const metrics = filesOf(out).filter((path) => path.endsWith('metrics.jsonl'));
    const records = metrics.flatMap((path) =>
      readFileSync(path, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
    expect(records).toContainEqual({ step: 0, loss: 2, task_loss: 1.5, learning_rate: 0.01 });
    expect(records).toContainEqual(expect.objectContaining({ step: 150, loss: 90 }));
  });

  it('prints the files it would write, in full, and writes nothing without --out', async () => {
    const run = secretRun();
    const before = filesOf(run);
    const { out } = await cli(['donate', run]);
    const { files } = JSON.parse((await cli(['donate', run, '--json'])).out) as {
      files: { path: string; text: string }[];
    };
    for (const { path, text } of files) expect(out).toContain(`== ${path}\n${text.trimEnd()}`);
    expect(out).toContain('Nothing was written');
    expect(filesOf(run)).toEqual(before);
  });

  it('keeps a folder that is there already', async () => {
    const out = folder();
    expect(await cli(['donate', secretRun(), '--out', out])).toMatchObject({ code: 5 });
    expect(readdirSync(out)).toEqual([]);
    expect(existsSync(join(out, 'run-1'))).toBe(false);
  });
});

const ALLOWED =
  /^"(step|steps|loss|(task_loss|eval_loss|metric|learning_rate|grad_norm|param_norm|update_norm|clip|loss)(_\d+)?|class|onset|truth|framework|optimizers|name|learningRate|learningRates|clipping|parameters|shape|group|taskLosses|lossScale|skippedSteps|other|pytorch|adagrad|sgd|adam|global-norm|none|NaN|-?Infinity|healthy|inconclusive|micro-divergence|drift|full-divergence|non-finite|never-learned)"$/;
