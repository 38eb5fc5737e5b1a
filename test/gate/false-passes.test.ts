/** What a gate once passed and must not: each with the nearest thing that is healthy, which still passes. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Report } from '../../src/model/report.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('false-passes');
const healthy = readFileSync(join(projectRoot, 'fixtures/logs/healthy/input.jsonl'), 'utf8');

/** The gate on a folder with a healthy log and other files. */
async function gate(files: Readonly<Record<string, string>>, ...flags: string[]) {
  const cwd = scratch();
  mkdirSync(cwd, { recursive: true });
  for (const [name, content] of Object.entries({ 'run.jsonl': healthy, ...files }))
    writeFileSync(join(cwd, name), content);
  return cli(['gate', '.', '--settle', '0', ...flags], { cwd });
}

const withRule = (rule: string): Record<string, string> => ({
  '.clippy-diag.yaml': `version: 1\nrules:\n  ${rule}\n`,
});

describe('a window of steps', () => {
  test.each([
    ['micro-divergence: [error, { from: 0.1, to: 0.9 }]', 4],
    ['drift: [error, { from: 599.5, to: 1000 }]', 4],
    ['loss-spike: [error, { from: 100.2, to: 100.8 }]', 4],
    ['gradient-norm-spike: [error, { from: 100.2, to: 100.8 }]', 4],
    ['micro-divergence: [error, { from: 0.1, to: 1 }]', 0],
    ['gradient-norm-spike: [error, { from: 300, to: 300 }]', 0],
  ])('%s: exit code %i', async (rule, code) => {
    expect((await gate(withRule(rule))).code).toBe(code);
  });

  test('between the points of the loss, though another series has some', async () => {
    const rows = Array.from({ length: 600 }, (_, step) =>
      JSON.stringify({ step, lr: 1e-3, ...(step % 100 === 0 ? { loss: 2 / (1 + step / 50) + 0.5 } : {}) }),
    ).join('\n');
    const judged = async (from: number, to: number): Promise<number | null> =>
      (
        await gate({
          ...withRule(`full-divergence: [error, { from: ${from}, to: ${to} }]`),
          'run.jsonl': rows,
        })
      ).code;
    expect([await judged(110, 190), await judged(110, 210)]).toEqual([4, expect.any(Number)]);
  });
});

describe('a config that is there and cannot be read', () => {
  test.each(['.clippy-diag.yaml', '.clippy-diag.json'])('%s as a link to nothing', async (name) => {
    const cwd = scratch();
    mkdirSync(cwd, { recursive: true });
    writeFileSync(join(cwd, 'run.jsonl'), healthy);
    expect((await cli(['gate', 'run.jsonl', '--settle', '0'], { cwd })).code).toBe(0);
    symlinkSync(join(cwd, 'nothing'), join(cwd, name));
    const { code, err } = await cli(['gate', 'run.jsonl', '--settle', '0'], { cwd });
    expect([code, err]).toEqual([3, expect.stringContaining('a link to nothing')]);
    // Its target makes it a config again.
    writeFileSync(
      join(cwd, 'nothing'),
      name.endsWith('json')
        ? '{"version":1,"rules":{"drift":"error"}}'
        : 'version: 1\nrules: { drift: error }\n',
    );
    expect((await cli(['gate', 'run.jsonl', '--settle', '0'], { cwd })).code).toBe(0);
  });
  test('a folder', async () => {
    const cwd = scratch();
    mkdirSync(join(cwd, '.clippy-diag.yaml'), { recursive: true });
    writeFileSync(join(cwd, 'run.jsonl'), healthy);
    expect((await cli(['gate', 'run.jsonl', '--settle', '0'], { cwd })).code).toBe(3);
  });
});

describe('rows without a number for the loss', () => {
  test.each(['true', '[147]', '{"v":147}', '"147 nats"'])('%s', async (value) => {
    const lines = healthy.trim().split('\n');
    const changed = lines.map((line, k) =>
      k < 200 || k >= 240 ? line : line.replace(/"loss": [^,]+/, `"loss": ${value}`),
    );
    expect((await gate({ 'run.jsonl': changed.join('\n') })).code).toBeGreaterThan(0);
  });
});

describe('a folder with a log that cannot be opened', () => {
  const unknown = Array.from({ length: 60 }, (_, k) => `~${k} ~> L=${k > 30 ? 147 : 1}`).join('\n');
  test.each([
    ['train.jsonl.zst', '(\xb5/\xfd garbage'],
    ['metrics.csv.xz', '\xfd7zXZ garbage'],
    ['train.log.bz2', 'BZh91AY garbage'],
    ['logs.7z', '7z\xbc\xaf garbage'],
    ['log.txt', unknown],
    ['training_log', unknown],
    ['metrics.json', '{"error": "not found"}'],
  ])('%s', async (name, content) => {
    const { code, out } = await gate({ [name]: content });
    expect([code, out]).toEqual([
      4,
      expect.stringContaining(`unread  ${name}: its name says that it is a log`),
    ]);
  });
  test.each([
    ['the text of a data set', 'train.txt', 'to be or not to be\n'.repeat(40)],
    ['a packed data set', 'data.csv.xz', '\xfd7zXZ garbage'],
    ['the final scores', 'metrics.json', '{"accuracy": 0.93, "f1": 0.9}'],
    ['packed weights', 'weights.7z', '7z\xbc\xaf garbage'],
    ['words that end in log', 'changelog.txt', unknown.replaceAll('L=', 'fixed ')],
    ['a catalogue', 'catalog', 'names of things\n'.repeat(9)],
  ])('%s beside a healthy log is none', async (_, name, content) => {
    expect((await gate({ [name]: content })).code).toBe(0);
  });
});

describe('a saved report that contradicts itself', () => {
  const spiked = healthy
    .trim()
    .split('\n')
    .map((line, k) => (k < 400 ? line : line.replace(/"loss": [^,]+/, `"loss": ${140 + (k % 7)}`)))
    .join('\n');

  async function saved(log: string, change: (report: Report) => unknown): Promise<number | null> {
    const cwd = scratch();
    mkdirSync(cwd, { recursive: true });
    writeFileSync(join(cwd, 'run.jsonl'), log);
    await cli(['analyze', 'run.jsonl', '--report', 'json:report.json'], { cwd });
    const path = join(cwd, 'report.json');
    const report = JSON.parse(readFileSync(path, 'utf8')) as Report;
    writeFileSync(path, JSON.stringify(change(report) ?? report));
    return (await cli(['gate', 'report.json', '--settle', '0'], { cwd })).code;
  }
  type Loose = { runs: Record<string, unknown>[]; verdict: Record<string, unknown> };

  test('as it is it passes, or fails', async () => {
    expect(await saved(healthy, (report) => report)).toBe(0);
    expect(await saved(spiked, (report) => report)).toBe(1);
  });
  test('its verdict and findings are made healthy, and its series is not', async () => {
    const code = await saved(spiked, (report) => {
      const { runs, verdict } = report as unknown as Loose;
      const calm = {
        class: 'healthy',
        onsetStep: null,
        lastGoodStep: null,
        recoveredStep: null,
        incidents: [],
      };
      Object.assign(runs[0]!, { findings: [], verdict: { ...(runs[0]!.verdict as object), ...calm } });
      Object.assign(verdict, calm);
    });
    expect(code).toBe(4);
  });
  test('its loss is taken out', async () => {
    const code = await saved(healthy, (report) => {
      const { runs } = report as unknown as Loose;
      runs[0]!.series = (runs[0]!.series as { role: string }[]).filter(({ role }) => role !== 'loss');
    });
    expect(code).toBe(4);
  });
});

describe('a loss scaler', () => {
  type Row = (step: number) => Readonly<Record<string, number | string | undefined>>;
  /** The codes and the failed rules of a run of 300 steps whose loss falls to step 100, or to the end. */
  const codeOf = async (row: Row, until = 100): Promise<readonly [number | null, string]> => {
    const loss = (step: number): number => 2.3 - 0.004 * Math.min(step, until) + 0.01 * Math.sin(7.3 * step);
    const rows = Array.from({ length: 300 }, (_, step) =>
      JSON.stringify({ step, loss: loss(step), ...row(step) }),
    );
    const { code, out } = await gate({ 'run.jsonl': rows.join('\n') });
    return [code, [...out.matchAll(/FAIL\s+(\S+)/g)].map(([, id]) => id).join(' ')];
  };

  test.each<[string, Row, number?]>([
    ['falls to the end', (step) => ({ loss_scale: 65536 / 2 ** Math.max(0, step - 100) })],
    ['was lost', (step) => ({ loss_scale: step < 100 ? 65536 : 2 ** -20 })],
    ['is not logged, and every norm is infinite', (step) => ({ grad_norm: step < 100 ? 1 : 'Infinity' })],
  ])('that %s fails', async (_name, row) => {
    expect(await codeOf(row)).toEqual([1, 'loss-scale-falls']);
  });

  test.each<[string, Row, number?]>([
    ['fell while it looked for its scale', (step) => ({ loss_scale: 65536 / 2 ** Math.min(step, 4) }), 300],
    [
      'skips steps whose loss is infinite',
      (step) => {
        const skips = step > 0 && step < 4;
        return { loss_scale: 65536 / 2 ** Math.min(step, 3), ...(skips ? { loss: 'Infinity' } : {}) };
      },
      300,
    ],
    [
      'is not logged, and a norm overflows now and then',
      (step) => ({ grad_norm: step % 9 === 0 ? 'Infinity' : 1 }),
      300,
    ],
    [
      'is not logged, and the norm alone overflows while the loss falls',
      (step) => ({ grad_norm: step < 100 ? 1 : 'Infinity' }),
      300,
    ],
  ])('that %s passes', async (_name, row, until) => {
    expect(await codeOf(row, until)).toEqual([0, '']);
  });

  test('that was lost in an attempt that another one follows passes', async () => {
    const began = (step: number): number => (step < 150 ? step : step - 150);
    const row: Row = (step) => ({
      step: began(step),
      loss: 2.3 - 0.004 * Math.min(began(step), step < 150 ? 50 : 150),
      loss_scale: step < 150 ? 65536 / 2 ** Math.max(0, step - 50) : 65536,
    });
    expect(await codeOf(row)).toEqual([0, '']);
  });
});
