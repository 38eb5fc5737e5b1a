/** The same rows as CSV, Parquet and npz (fixtures/make/write_study_tables.py) are the same study. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { openStudy } from '../../src/experiment/study/open-study.ts';
import { projectRoot } from '../support/shared-data.ts';

const exact = join(projectRoot, 'fixtures/studies/exact');
const text = readFileSync(join(exact, 'study.yaml'), 'utf8').replace(
  /initial\.safetensors/,
  join(exact, 'initial.safetensors'),
);
const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-tables-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function opened(file: string, edit: (study: string) => string = (study) => study) {
  const path = join(scratch, 'study.yaml');
  writeFileSync(path, edit(text.replace('data.csv', join(exact, file))));
  return openStudy(path);
}

it('Parquet, with a column of text by dictionary and one of booleans', async () => {
  const csv = await opened('data.csv');
  expect(csv.setup.rows.count).toBe(900);
  expect((await opened('data.parquet')).setup).toEqual(csv.setup);
});

it('npz, a matrix [rows, 2] as the columns NAME_0 and NAME_1', async () => {
  const csv = await opened('data.csv');
  const npz = await opened('data.npz', (study) =>
    study.replace('  a: dense\n  b: dense', '  x_0: dense\n  x_1: dense'),
  );
  expect(npz.setup).toEqual(csv.setup);
});

it.each([
  ['data.parquet', '  a: dense', '  c: dense', 'study-columns'],
  ['data.npz', '  a: dense\n  b: dense', '  x_0: dense\n  x_2: dense', 'study-columns'],
  ['data.parquet', '  a: dense', '  kind: dense', 'study-values'],
])('%s without what the study names', async (file, was, is, code) => {
  const error = await opened(file, (study) =>
    study.replace(was, is).replace('  kind: { categorical: true, dim: 3 }\n', ''),
  ).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code });
});
