import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ErrorRecord } from '../../src/model/errors.ts';
import { cli } from '../support/cli.ts';
import { HOSTILE_NAMES } from '../support/hostile-names.ts';

const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-inspect-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

interface Document {
  readonly schemaVersion: string;
  readonly inputs: {
    path: string;
    kind: string;
    format: string;
    errors: ErrorRecord[];
    kept: number;
    lost: number;
    runs: { id: string; attempts: number; series: Record<string, unknown>[] }[];
  }[];
  readonly errors: ErrorRecord[];
}

describe('inspect of logs', () => {
  it('says one record and one point of one', async () => {
    const path = file('one.jsonl', '{"step":1,"loss":2.5}\n');
    expect((await cli(['inspect', path])).out).toContain('one.jsonl: jsonl, 1 record\n');
    expect((await cli(['analyze', path])).out).toContain('"loss" has 1 point, too few to judge.');
  });

  it('follows the contract field by field', async () => {
    const path = file('log.csv', 'step,loss\n1,0.5\n2,nan\n3,inf\n4,-inf\n5,0.25\n');
    const { code, out, err } = await cli(['inspect', path, '--json']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const document = JSON.parse(out) as Document;
    expect(document.inputs).toHaveLength(1);
    expect(document.inputs[0]).toMatchObject({
      path,
      kind: 'log',
      format: 'csv',
      errors: [],
      kept: 5,
      lost: 0,
    });
    expect(document.inputs[0]!.runs).toMatchObject([{ id: path, attempts: 1 }]);
    expect(document.inputs[0]!.runs[0]!.series[1]).toEqual({
      name: 'loss',
      role: 'loss',
      points: 5,
      firstStep: 1,
      lastStep: 5,
      first: 0.5,
      last: 0.25,
      min: 0.25,
      max: 0.5,
      nan: 1,
      posInf: 1,
      negInf: 1,
      missing: 0,
      refused: 0,
    });
  });
  it('says where every byte went, and what was lost', async () => {
    const whole = file('whole.csv', 'step,loss\n1,0.5\n2,nan\n3,inf\n4,-inf\n5,0.25\n');
    // The lines without their ends; the header and six line ends.
    const account = { bytes: 42, records: 27, overhead: 15, passedOver: 0, lost: [] };
    const told = JSON.parse((await cli(['inspect', whole, '--json'])).out) as {
      inputs: { account: unknown }[];
    };
    expect(told.inputs[0]!.account).toEqual(account);
    expect((await cli(['inspect', whole])).out).toContain('\n  42 bytes read, 0 lost\n');
    expect((await cli(['inspect', whole, '--verbose'])).out).toContain(
      '\n  bytes 42 = 27 records + 15 overhead + 0 skipped + 0 lost\n',
    );
    const damaged = file('damaged.jsonl', '{"step":1,"loss":1}\nboom\n{"step":2,"loss":null}\n{"step":3,"lo');
    expect((await cli(['inspect', damaged])).out).toContain(
      '  61 bytes read, 17 lost\n    1 record, 4 bytes lost at byte 20: damaged\n',
    );
    const { out } = await cli(['inspect', damaged, '--verbose']);
    expect(out).toContain(
      [
        '  bytes 61 = 41 records + 3 overhead + 0 skipped + 17 lost',
        '    1 record, 4 bytes lost at byte 20: damaged',
        '    1 record, 13 bytes lost at byte 48: a last record that is not whole',
      ].join('\n'),
    );
    const gap = await cli(['inspect', file('gap.csv', 'step,loss\n1,1\n2,\n3,0.5\n')]);
    expect(gap.out).toMatch(/series +role .* non-finite +missing\n(.*\n)* +loss .* 1\n/);
  });
  it('all NaN has no smallest value, and first and last say NaN', async () => {
    const { out } = await cli(['inspect', file('nan.jsonl', '{"step":1,"loss":NaN}\n'), '--json']);
    expect((JSON.parse(out) as Document).inputs[0]!.runs[0]!.series[1]).toMatchObject({
      first: 'NaN',
      last: 'NaN',
      min: null,
      max: null,
    });
  });
  it('damage gives the rest and code 3, a torn tail code 0, nothing to read code 3, no points code 4', async () => {
    const damaged = await cli([
      'inspect',
      file('bad.jsonl', '{"step":1,"loss":1}\nboom\n{"step":2,"loss":2}\n'),
    ]);
    expect(damaged.code).toBe(3);
    expect(damaged.out).toMatch(/loss\s+loss\s+2 /);
    expect(damaged.err).toMatch(/^error\[log-lines-bad\].*\n {2}--> .*bad\.jsonl, line 2\n/);
    const torn = await cli(['inspect', file('torn.jsonl', '{"step":1,"loss":1}\n{"st')]);
    expect(torn.code).toBe(0);
    expect(torn.out).toContain('the last 4 bytes are no whole record (unread)');
    const absent = await cli(['inspect', join(folder, 'absent'), '--json']);
    expect(absent.code).toBe(3);
    expect((JSON.parse(absent.out) as Document).errors[0]!.id).toBe('file-missing');
    expect((await cli(['inspect', file('head.csv', 'step,loss\n')])).code).toBe(4);
  });
  it('reads standard input, and a name that was mapped', async () => {
    const { code, out } = await cli(['inspect', '-', '--map', 'loss=objective'], {
      input: '{"step":1,"objective":2}\n',
    });
    expect(code).toBe(0);
    expect(out).toMatch(/objective\s+loss/);
    expect(
      (await cli(['inspect', '-', '--map', 'loss=nothing'], { input: '{"step":1,"objective":2}\n' })).code,
    ).toBe(4);
    expect((await cli(['inspect', '-', '--map', 'nonsense=objective'], { input: '{}\n' })).code).toBe(2);
    expect(await cli(['inspect', '-'], { input: '' })).toMatchObject({ code: 3, out: '' });
  });
  it('hostile names are inert on a terminal and whole in JSON', async () => {
    const path = file(
      'names.jsonl',
      `${JSON.stringify(Object.fromEntries([['step', 1], ['__proto__', 1], ...HOSTILE_NAMES.map((name, k) => [name, k])]))}\n`,
    );
    const text = await cli(['inspect', path]);
    expect(text.out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
    const names = (
      JSON.parse((await cli(['inspect', path, '--json'])).out) as Document
    ).inputs[0]!.runs[0]!.series.map((one) => one.name);
    for (const name of HOSTILE_NAMES.filter((one) => !/[\ud800-\udfff]/.test(one)))
      expect(names).toContain(name);
  });
  it('joins the files of an MLflow run, and accounts for its parameters', async () => {
    const { code, out } = await cli(['inspect', 'fixtures/formats/mlflow-run/input', '--verbose']);
    expect(code).toBe(0);
    expect(out).toContain('mlflow, 24 records');
    expect(out).toContain('hyperparameters');
    expect(out).toMatch(/params\/optimizer: hyperparameters\n {2}bytes 7 = 7 records/);
    expect(out).not.toMatch(/^skipped \d/m);
  });
});
