/** SARIF as another program reads it: the sarif-tools package counts what we reported. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { pythonWith } from '../support/python.ts';
import { projectRoot } from '../support/shared-data.ts';

const python = pythonWith('sarif');

describe.skipIf(python === undefined)('SARIF (skipped without the Python package sarif-tools)', () => {
  it.each(['incident/log.jsonl', 'logs/micro-divergence/input.jsonl', 'logs/nan-bad-record/input.jsonl'])(
    'of %s has the findings that the report has',
    async (log) => {
      const report = await analyze([join(projectRoot, 'fixtures', log)], {
        toolVersion: '0.0.0',
        now: () => new Date(0),
      });
      const count = (severity: string): number =>
        report.runs[0]!.findings.filter((f) => f.severity === severity).length;
      const folder = mkdtempSync(join(tmpdir(), 'sarif-'));
      try {
        const path = join(folder, 'report.sarif');
        writeFileSync(path, REPORT_FORMATS.sarif.render(report, { width: 80, colour: false, ascii: false }));
        const { stdout, stderr, status } = spawnSync(python!, ['-m', 'sarif', 'summary', path], {
          encoding: 'utf8',
        });
        expect(status, stderr).toBe(0);
        for (const severity of ['error', 'warning', 'note'])
          expect(stdout).toMatch(new RegExp(`^${severity}: ${count(severity)}$`, 'm'));
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );
});
