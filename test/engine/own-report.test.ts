/** Reports of ours below a folder are passed over by what they are, and no gate takes one for a log that was not read. */
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, it } from 'vitest';
import { collectInputs } from '../../src/app/engine/collect.ts';
import type { Report } from '../../src/model/report.ts';
import { html } from '../../src/report/html.ts';
import { json } from '../../src/report/json.ts';
import { sarif } from '../../src/report/sarif.ts';
import { fullReport } from '../reports/full-report.ts';
import { cli } from '../support/cli.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('own-report');
const OPTIONS = { width: 80, colour: false, ascii: false };
const textOf = (report: Report): string => json.render(report, OPTIONS);

it('is passed over, indented or in one line, of any name and version, and says no log', async () => {
  const folder = scratch();
  const report = fullReport();
  const whole = textOf(report);
  const files = {
    'log.csv': 'step,loss\n0,1\n1,0.9\n2,0.8\n',
    'out.json': whole,
    'one-line.json': JSON.stringify(JSON.parse(whole)),
    'train_log.json': whole.replace(/"schemaVersion": "[\d.]+"/, '"schemaVersion": "1.0"'),
    'failed.json': '{\n  "schemaVersion": "2.0",\n  "error": { "id": "x", "message": "loss: 3" }\n}\n',
    'found.sarif': sarif.render(report, OPTIONS),
    // Of others.
    'a.json': '{"schemaVersion": "2.0", "lossOfRun": 3, "runs": [{"final_loss": 1}, {"final_loss": 2}]}',
    'b.json': '{"tool": "clippy-diag", "runs": [{"final_loss": 1}, {"final_loss": 2}]}',
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const { logs, skipped, errors } = await collectInputs([folder]);
  expect(errors).toEqual([]);
  expect(logs.map(({ path }) => basename(path))).toContain('log.csv');
  const own = skipped.filter(({ reason }) => reason === 'a report of clippy-diag');
  expect(own.map(({ path }) => basename(path))).toEqual([
    'failed.json',
    'found.sarif',
    'one-line.json',
    'out.json',
    'train_log.json',
  ]);
  expect(own.filter(({ saysLog }) => saysLog !== undefined)).toEqual([]);
});

it('that was named is told as what it is, with what does take it, and not by a pattern for its lines', async () => {
  const path = join(scratch(), 'report.json');
  writeFileSync(path, textOf(fullReport()));
  for (const command of ['analyze', 'chart', 'inspect']) {
    const { err, code } = await cli([command, path]);
    expect([code, err]).toEqual([3, expect.stringContaining('error[input-is-report]')]);
    expect(err).toContain(`clippy-diag report ${path}`);
    expect(err).not.toContain('--pattern');
  }
  const { err } = await cli(['report', path, '--run', 'no-such-run']);
  expect(err).toContain(`the report has ${fullReport().runs[0]!.id}`);
});

it('gives no hash of names and shapes out as that of a file', () => {
  const report = fullReport();
  const shapes = 'ab'.repeat(32);
  const checkpoint = { path: 'step-1.pt', format: 'pytorch-zip', sha256: shapes, errors: [] };
  const both = { ...report, inputs: [...report.inputs, checkpoint] };
  for (const format of [sarif, html])
    expect(format.render(both, OPTIONS)).not.toContain(shapes.slice(0, 16) + (format === html ? '…' : ''));
  expect(sarif.render(both, OPTIONS)).toContain('sha-256');
});
