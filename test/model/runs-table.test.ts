import { expect, test } from 'vitest';
import { diagnoseRun } from '../../src/app/engine/report.ts';
import { runsTable } from '../../src/model/runs-table.ts';
import { makeRun } from '../support/make-report.ts';

test('the learning rate comes first, then the settings that most runs tell', () => {
  const settings = [
    { aa_one_run_only: 1, dropout: 0.1, lr: 0.1, width: 8 },
    { dropout: 0.2, lr: 0.1, width: 16 },
    { lr: 0.2, width: 32 },
  ];
  const runs = settings.map((one, i) =>
    diagnoseRun({ ...makeRun(`run-${i}`, []), hyperparameters: new Map(Object.entries(one)) }),
  );
  expect(runsTable({ runs }).columns).toEqual([
    'run',
    'class',
    'onset',
    'best',
    'last',
    'lr',
    'width',
    'dropout',
    'aa_one_run_only',
  ]);
});
