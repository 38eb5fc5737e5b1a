/** The rule `same-as(PATH)`: each judged run against another one. */
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openLedger } from '../../src/read/ledger/read.ts';
import { cli } from '../support/cli.ts';
import { random } from '../support/random.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('same-as');

/** A noisy loss; from step 200 on it is `times` as high. */
function log(times: number, steps = 400): string {
  const next = random(11);
  return Array.from({ length: steps }, (_, step) => {
    const loss = (2 / (1 + step / 40) + 0.5) * (1 + 0.02 * next());
    return `{"step":${step},"loss":${loss * (step >= 200 ? times : 1)}}\n`;
  }).join('');
}

/** Runs a gate in a folder with two logs. */
async function gate(files: Readonly<Record<string, string>>, ...args: string[]) {
  const cwd = scratch();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, name), text);
  return { cwd, ...(await cli(['gate', ...args, '--settle', '0'], { cwd })) };
}

const ALONE = ['--no-config', '--rule', 'same-as(before.jsonl)'];

test('equal runs pass, runs that part fail with the step', async () => {
  const same = await gate({ 'before.jsonl': log(1), 'after.jsonl': log(1) }, 'after.jsonl', ...ALONE);
  expect([same.code, same.out]).toEqual([0, expect.stringContaining('pass  same-as(before.jsonl)')]);
  const apart = await gate({ 'before.jsonl': log(1), 'after.jsonl': log(1.4) }, 'after.jsonl', ...ALONE);
  expect([apart.code, apart.out]).toEqual([1, expect.stringMatching(/FAIL {2}same-as.*200/)]);
});

test('of ledgers it is what compare says, from every link', async () => {
  const ledgers = join(projectRoot, 'fixtures', 'ledgers');
  const against = async (name: string, folder = (one: string): string => join(ledgers, one)) => {
    const rule = ['--no-config', '--rule', `same-as(${folder('base')})`, '--settle', '0'];
    const { code, out } = await cli(['gate', folder(name), ...rule]);
    const compared = await cli(['compare', folder('base'), folder(name), '--json']);
    const { statement } = JSON.parse(compared.out).comparison;
    expect([name, compared.code]).toEqual([name, code]);
    expect(out.replaceAll(/\s+/g, ' ')).toContain(statement);
    return code;
  };
  expect(await against('again')).toBe(0);
  // No loss shows it: a hundredth of one gradient.
  expect(await against('gradient')).toBe(1);
  expect(await against('batch')).toBe(1);
  // So it is where a log of fewer digits lies beside the ledger.
  const runs = scratch();
  for (const name of ['base', 'again', 'gradient']) {
    cpSync(join(ledgers, name), join(runs, name), { recursive: true });
    const { steps } = await openLedger(join(ledgers, name, 'ledger'));
    const lines = [...steps.values()].map(({ step, loss }) => `{"step":${step},"loss":${loss.toFixed(4)}}\n`);
    writeFileSync(join(runs, name, 'train.jsonl'), lines.join(''));
  }
  expect(await against('again', (name) => join(runs, name))).toBe(0);
  expect(await against('gradient', (name) => join(runs, name))).toBe(1);
});

test('the path is relative to the config; a run that is not there is an error', async () => {
  const config = 'version: 1\nrules:\n  same-as(before.jsonl): error\n';
  const files = { 'before.jsonl': log(1), 'after.jsonl': log(1), 'policy.yaml': config };
  const { cwd, code } = await gate(files, 'after.jsonl', '--config', 'policy.yaml');
  expect(code).toBe(0);
  const path = (name: string): string => join(cwd, name);
  const elsewhere = await cli([
    'gate',
    path('after.jsonl'),
    '--config',
    path('policy.yaml'),
    '--settle',
    '0',
  ]);
  expect(elsewhere.code).toBe(0);
  const none = await gate({ 'after.jsonl': log(1) }, 'after.jsonl', ...ALONE);
  expect(none.code).toBe(3);
});

test('a saved report cannot be compared, and a comparison has no window', async () => {
  const files = { 'before.jsonl': log(1), 'after.jsonl': log(1) };
  const { cwd } = await gate(files, 'after.jsonl', ...ALONE, '--report', 'json:report.json');
  const saved = await cli(['gate', 'report.json', ...ALONE, '--settle', '0'], { cwd });
  expect([saved.code, saved.out]).toEqual([4, expect.stringContaining('gate the log itself')]);
  const config = 'version: 1\nrules:\n  same-as(before.jsonl): [error, { from: 10 }]\n';
  expect((await gate({ ...files, '.clippy-diag.yaml': config }, 'after.jsonl')).code).toBe(2);
});
