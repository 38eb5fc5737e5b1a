/** A table whose columns are called by their split alone, from the file to the page and the gate. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { type CliResult, cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const cwd = scratchFolders('bare-splits')();
const run = (...args: string[]): Promise<CliResult> => cli(args, { cwd });
const rows = (train: (k: number) => number, valid: (k: number) => number): string =>
  [
    'epoch,train,valid,auc',
    ...Array.from({ length: 60 }, (_, k) =>
      [k + 1, train(k).toFixed(4), valid(k).toFixed(4), (0.8 - 0.3 * 0.95 ** k).toFixed(4)].join(','),
    ),
    '',
  ].join('\n');
const falling = (k: number): number => 0.3 + 0.4 * 0.9 ** k + 0.01 * Math.sin(7 * k);

beforeAll(() => {
  writeFileSync(
    join(cwd, 'falls.csv'),
    rows(falling, (k) => falling(k) + 0.02),
  );
  writeFileSync(
    join(cwd, 'rises.csv'),
    rows(
      (k) => 1 - falling(k),
      (k) => 0.98 - falling(k),
    ),
  );
});

describe('a table of train and valid that fall', () => {
  it('is judged, and the page says that the loss is a guess', async () => {
    const { out } = await run('analyze', 'falls.csv');
    expect(out).toMatch(/✓ HEALTHY +train/);
    expect(out).toContain('train by guess');
    const report = JSON.parse((await run('analyze', 'falls.csv', '--json')).out) as Report;
    expect(report.inputs[0]!.readBy).toMatchObject({
      how: 'guess',
      statement: expect.stringContaining('--map'),
    });
  });

  it('passes a gate only where the guess is accepted, or --map chooses', async () => {
    const gate = ['gate', 'falls.csv', '--settle', '0', '--rule', 'full-divergence'];
    const refused = await run(...gate);
    expect(refused).toMatchObject({ code: 4, out: expect.stringContaining('read by guess') });
    expect((await run(...gate, '--accept-guess')).code).toBe(0);
    expect((await run(...gate, '--map', 'loss=train')).code).toBe(0);
  });
});

it('is no loss where the numbers rise: those of an accuracy', async () => {
  const { out } = await run('analyze', 'rises.csv');
  expect(out).toContain('CANNOT TELL');
  expect(out).not.toContain('by guess');
});
