import { describe, expect, it } from 'vitest';
import { logAlone } from '../../src/app/engine/evidence.ts';
import { judgementOf } from '../../src/app/engine/judge-run.ts';
import { diagnoseRun, runReport } from '../../src/app/engine/report.ts';
import { fromLogAlone, NO_WHAT_IF } from '../../src/app/engine/what-if.ts';
import { untried } from '../../src/experiment/cause/remedies.ts';
import type { Finding } from '../../src/model/finding.ts';
import { fallingLoss, makeRun } from '../detectors/runs.ts';

const values = fallingLoss(2000).map((v, i) => (i >= 1200 ? 30 * v : v));
const run = makeRun([{ name: 'loss', values }]);
const evidence = logAlone(run);
const judgement = judgementOf(evidence, {});

const finding = (severity: Finding['severity'], step: number, advice: string): Finding => ({
  id: 'capture-mismatch',
  severity,
  message: 'm',
  steps: [step, step],
  series: null,
  measured: null,
  threshold: null,
  locations: [],
  advice,
});

describe('the report of a run', () => {
  it('is that of its log where there is nothing else', () => {
    const report = diagnoseRun(run);
    const { cause, remedies } = report;
    expect(report).toEqual(runReport(evidence, judgement, fromLogAlone(run, judgement.judged)));
    // A run with an incident never says that it has none.
    expect(cause).toMatchObject({ trigger: 'none-found', onsetStep: report.verdict.onsetStep });
    expect(report.verdict.onsetStep).not.toBeNull();
    expect(remedies!.map(({ action }) => action)).toEqual(['rewind']);
  });

  it('is led by what began after the run came back and goes on, and not by what is as before', () => {
    // A rise of four points that is over, and what the loss is from point 1500 on.
    const since = (level: number): number[] =>
      values.map(
        (_, i) => (i >= 1500 ? level : 1) * (0.5 + 0.01 * Math.sin(i)) * (i >= 600 && i < 604 ? 9 : 1),
      );
    const told = (level: number) => diagnoseRun(makeRun([{ name: 'loss', values: since(level) }]));
    const fell = told(1e-4);
    expect(fell.verdict).toMatchObject({ class: 'micro-divergence', recoveredStep: 604 });
    expect(fell.cause).toMatchObject({ failure: 'loss-falls-abruptly', step: 1500 });
    expect(fell.remedies!.map(({ action }) => action)).toEqual(['fix-data']);
    const well = told(1);
    expect(well.verdict).toEqual({ ...fell.verdict, provenBy: well.verdict.provenBy });
    expect(well.cause?.failure).not.toBe('loss-falls-abruptly');
    expect(well.remedies!.map(({ action }) => action)).toEqual(['none-needed']);
  });

  it('has numbers where a setting reads as one, as a saved report has them', () => {
    const set = {
      ...run,
      hyperparameters: new Map<string, string | number>([
        ['lr', 'NaN'],
        ['name', 'nan'],
      ]),
    };
    const report = diagnoseRun(set);
    expect(report.hyperparameters).toEqual({ lr: Number.NaN, name: 'nan' });
  });

  it('sorts findings of every source together, and advises from all of them', () => {
    const late = {
      ...judgement,
      findings: [
        ...judgement.findings,
        finding('note', 1, 'a note'),
        finding('error', 5000, 'last'),
        finding('error', 2, 'first'),
      ],
      restartPoints: [{ step: 1000, path: 'step-1000.pt', optimizerState: true }],
    };
    const report = runReport(
      { ...evidence, notRun: [{ id: 'checkpoints', reason: 'r' }], notes: ['twice', 'beside'] },
      late,
      {
        ...NO_WHAT_IF,
        // Nothing was tried, so that the advice is that of the log.
        remedies: [],
        notRun: [{ id: 'replay', reason: 'r' }],
        notes: ['twice'],
      },
    );
    const ranks = report.findings.map(({ severity }) => ['error', 'warning', 'note'].indexOf(severity));
    expect(ranks).toEqual([...ranks].sort());
    expect(new Set(ranks).size).toBeGreaterThan(1);
    const errors = report.findings.filter(({ severity }) => severity === 'error');
    expect(errors[0]!.advice).toBe('first');
    expect(errors.at(-1)!.advice).toBe('last');
    expect(report.rewind).toMatchObject({ rewindToCheckpoint: 'step-1000.pt' });
    expect(report.advice[0]).toBe(report.rewind!.why);
    expect(report.advice).toEqual(expect.arrayContaining(['first', 'last']));
    expect(report.advice).not.toContain('a note');
    expect(report.notRun.slice(-2).map(({ id }) => id)).toEqual(['checkpoints', 'replay']);
    expect(report.notes).toEqual([...run.notes, 'twice', 'beside']);
  });

  it('goes back to the file with the optimizer state where that is to be put back, and names no other', () => {
    const files = [
      { step: 1000, path: 'whole.pt', optimizerState: true },
      { step: 1100, path: 'weights.pt', optimizerState: false },
    ];
    const told = { id: 'resume', statement: 's', value: 1101, unit: 'step', usual: null } as const;
    const cause = {
      ...NO_WHAT_IF.cause,
      evidence: [{ ...told, at: { step: 1101, batchStep: null } }],
    };
    const reported = (action: 'restore-optimizer-state' | 'rewind', restartPoints = files) =>
      runReport(
        evidence,
        { ...judgement, restartPoints },
        { ...NO_WHAT_IF, cause, remedies: [untried(action, 'a')] },
      );
    expect(reported('rewind').rewind).toMatchObject({ rewindToCheckpoint: 'weights.pt' });
    const put = reported('restore-optimizer-state');
    expect(put.rewind).toMatchObject({ rewindToCheckpoint: 'whole.pt', rewindToStep: 1000 });
    expect(put.remedies![0]!.from).toEqual({ step: 1000, path: 'whole.pt' });
    expect(put.advice.join()).not.toContain('weights.pt');
    // No file has it: the rule of thumb names none that would lose it again.
    expect(reported('restore-optimizer-state', files.slice(1)).rewind).toMatchObject({
      rewindToCheckpoint: null,
    });
  });
});
