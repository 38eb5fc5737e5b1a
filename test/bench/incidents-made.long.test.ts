/** Cases of the incident bench are made from their seeds alone, and are what their checksums and metadata say. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { pythonWith } from '../support/python.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = scratchFolders('bench-made');
// Of PyTorch 2.1 or newer: an older one has no torch.compiler.
const python = pythonWith('torch.compiler', 'numpy');
const BENCH = join(projectRoot, 'bench', 'incidents', 'clippy-bench.js');
/** A fault of a step, and a healthy run that dies and is resumed. */
const INJECTED = 'injected-clip-norm-factor-mmoe-ranker';
const CASES = [INJECTED, 'healthy-resumed-rightly-cnn-3'];
/** A printed loss may differ by this share on kernels that the cases were not pinned to, where no fault makes more of it. */
const TOLERANCE = 0.0001;

/** Makes cases without remedies into a new folder, and says how many seconds of a processor a case took at most. */
const made = (only: string, more: readonly string[] = [], env: NodeJS.ProcessEnv = {}) =>
  madeIn(join(folder(), 'cases'), only, ['--no-remedies', ...more], env);

function madeIn(out: string, only: string, more: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const args = ['make', out, '--only', only, '--python', python ?? '', ...more];
  const done = spawnSync(process.execPath, [BENCH, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
  expect(done.status, done.stderr).toBe(0);
  const took = [...done.stdout.matchAll(/ ([\d.]+) s$/gm)].map(([, seconds]) => Number(seconds));
  return { out, said: done.stdout, slowest: Math.max(...took), n: took.length };
}

const read = (...path: string[]): string => readFileSync(join(...path), 'utf8');
const lossesOf = (...path: string[]): number[] =>
  read(...path)
    .trim()
    .split('\n')
    .map((line) => Number(JSON.parse(line).loss));

describe.skipIf(python === undefined)('cases that are made', () => {
  let first: ReturnType<typeof made>;
  beforeAll(() => {
    first = made(CASES.join());
  });

  it('have the same bytes in another folder, and each takes less than two minutes', () => {
    const again = made(CASES.join());
    expect(first.n).toBe(2);
    for (const file of ['checksums.txt', 'cases.jsonl', 'croissant.json'])
      expect(read(again.out, file)).toBe(read(first.out, file));
    expect(first.slowest).toBeLessThan(120);
  });

  it('are small: no blanks in what a capture says, and one storage a dtype in a checkpoint', () => {
    const files = read(first.out, 'checksums.txt')
      .trim()
      .split('\n')
      .map((line) => line.slice(66));
    for (const file of files.filter((one) => /\/capture\/(?:capture|rng)\.json$/.test(one)))
      expect(read(first.out, file)).not.toMatch(/\n|, "/);
    const checkpoints = files.filter((one) => one.endsWith('.pt'));
    expect(checkpoints.length).toBeGreaterThan(3);
    for (const file of checkpoints) expect(read(first.out, file)).not.toMatch(/\/data\/2/);
  });

  it('have the checksums of their list, and metadata with the hashes of both tables', () => {
    const hashOf = (path: string): string =>
      createHash('sha256')
        .update(readFileSync(join(first.out, path)))
        .digest('hex');
    const lines = read(first.out, 'checksums.txt').trim().split('\n');
    expect(lines.length).toBeGreaterThan(20);
    for (const line of lines) expect(line).toBe(`${hashOf(line.slice(66))}  ${line.slice(66)}`);
    const truths = lines.filter((line) => line.endsWith('/truth.json')).map((line) => line.slice(0, 64));
    const ofAll = createHash('sha256').update(truths.join('')).digest('hex');
    expect(first.said).toContain(`truth of the open half ${ofAll}\n`);
    const { distribution, recordSet, license } = JSON.parse(read(first.out, 'croissant.json'));
    expect(license).toContain('creativecommons.org/licenses/by/4.0');
    expect(distribution.map((one: { sha256: string }) => one.sha256)).toEqual(
      ['cases.jsonl', 'checksums.txt'].map(hashOf),
    );
    const columns = recordSet[0].field.map((one: { name: string }) => one.name);
    expect(Object.keys(JSON.parse(read(first.out, 'cases.jsonl').split('\n')[0]!))).toEqual(columns);
  });

  it('get the remedies that they lack when they are made again, as if they had been made with them', () => {
    const whole = madeIn(join(folder(), 'cases'), INJECTED);
    const later = made(INJECTED);
    const without = read(later.out, INJECTED, 'truth.json');
    expect(madeIn(later.out, CASES.join()).n).toBe(2);
    expect(read(later.out, INJECTED, 'truth.json')).toBe(read(whole.out, INJECTED, 'truth.json'));
    const { remedies, ...rest } = JSON.parse(read(later.out, INJECTED, 'truth.json'));
    expect({ ...rest, remedies: [] }).toEqual(JSON.parse(without));
    expect(remedies).toHaveLength(12);
    expect(remedies.find(({ action }: { action: string }) => action === 'fix-code').holds).toBe(true);
    expect(madeIn(later.out, INJECTED).n).toBe(0);
  });

  it('have the same truth and nearly the same losses with other kernels', () => {
    const native = made(INJECTED, ['--kernels', 'native'], { ATEN_CPU_CAPABILITY: 'avx2' });
    expect(read(native.out, INJECTED, 'truth.json')).toBe(read(first.out, INJECTED, 'truth.json'));
    const expected = lossesOf(first.out, INJECTED, 'evidence', 'metrics.jsonl');
    const losses = lossesOf(native.out, INJECTED, 'evidence', 'metrics.jsonl');
    expect(losses.length).toBe(expected.length);
    const apart = losses.map((loss, k) => Math.abs(loss / expected[k]! - 1));
    expect(Math.max(...apart)).toBeLessThan(TOLERANCE);
  });
});
