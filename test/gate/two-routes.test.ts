/** Two routes to one answer agree: what is said of a folder does not depend on the command that is asked. */
import '../support/seed.ts';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gateConfigFrom } from '../../src/app/gate/config.ts';
import { readGateEvidence } from '../../src/app/gate/evidence.ts';
import { judgeGate } from '../../src/app/gate/judge.ts';
import { PRESETS } from '../../src/app/gate/presets.ts';
import { FINDINGS } from '../../src/judge/findings/registry.ts';
import type { GateResult } from '../../src/model/gate.ts';
import { type Report, VERDICT_CLASSES } from '../../src/model/report.ts';
import { parseReport } from '../../src/report/parse-report.ts';
import { REPORT_FORMATS } from '../../src/report/registry.ts';
import { cli } from '../support/cli.ts';
import { anyInput, CAPTURES, INPUTS, type InputSpec, makeInput, nameOf } from '../support/inputs.ts';
import { scratchFolders } from '../support/scratch.ts';
import { projectRoot } from '../support/shared-data.ts';

const scratch = scratchFolders('two-routes');

/** Whether the long project runs this: there, more inputs by chance, and none of those that are listed. */
const LONG = process.env.CLIPPY_DIAG_FUZZ !== undefined;
/** Inputs by chance; the soak, which sets 100,000, has the most. */
const BY_CHANCE = Math.min(20, Math.max(6, Number(process.env.CLIPPY_DIAG_FUZZ) / 5_000));

/** Every kind of finding and class of verdict, and a threshold of each kind, none with a window. */
const EVERYTHING = {
  version: 1,
  missing: 'skip',
  rules: Object.fromEntries(
    [
      ...Object.keys(FINDINGS),
      ...VERDICT_CLASSES.filter((one) => one !== 'healthy' && one !== 'inconclusive'),
      'last(loss) <= 1',
      'p95(grad_norm) < 5',
      'nan(loss) == 0',
      'max(task/*) < 3',
      'count(loss) >= 100',
    ].map((id) => [id, 'error']),
  ),
};
const POLICIES = {
  everything: EVERYTHING,
  ...Object.fromEntries(Object.keys(PRESETS).map((name) => [name, { version: 1, extends: name }])),
};

/** What a gate says, without the words. A saved report keeps no points that a threshold could name the step of. */
const told = ({ exitCode, rules, problems }: GateResult) => ({
  exitCode,
  rules: rules.map(({ id, run, status, found, step }) => ({
    ...{ id, run, status, found },
    step: /[<>=]/.test(id) ? null : step,
  })),
  problems: problems.map(({ id, run }) => ({ id, run })),
});

async function agree(spec: InputSpec): Promise<void> {
  const at = join(scratch(), 'in');
  await makeInput(spec, at);
  const out = scratch();
  const files = Object.keys(REPORT_FORMATS).map((format) => join(out, `r.${format}`));
  const targets = Object.keys(REPORT_FORMATS).flatMap((format, k) => ['--report', `${format}:${files[k]}`]);
  const analyzed = await cli(['analyze', at, '--fail-on', 'error', '--budget', '3600', ...targets]);
  const saved = join(out, 'r.json');

  // The report, and the same one read back.
  for (const [k, format] of Object.keys(REPORT_FORMATS).entries()) {
    const again = await cli(['report', saved, '--to', format]);
    expect([format, again.out]).toEqual([format, readFileSync(files[k]!, 'utf8')]);
  }

  // The gate on the folder, and on the report of the analysis.
  const report = parseReport(readFileSync(saved, 'utf8'), saved);
  const about = { toolVersion: report.toolVersion, now: () => new Date() };
  const [fromPaths, fromReport] = [
    await readGateEvidence([at], about),
    await readGateEvidence([saved], about),
  ];
  for (const [name, policy] of Object.entries(POLICIES)) {
    const config = gateConfigFrom(policy, {});
    const [a, b] = [fromPaths, fromReport].map((one) => told(judgeGate({ ...one, baseline: null }, config)));
    expect([name, a]).toEqual([name, b]);
    if (name === 'everything') agreeWithAnalyze(analyzed.code!, report, a!);
    // Nothing that an analysis calls an error passes the gate that needs no config.
    if (name === 'recommended' && analyzed.code === 1) expect(a!.exitCode).toBe(1);
  }
  // As the commands do it.
  const gates = [await cli(['gate', at, '--no-config']), await cli(['gate', saved, '--no-config'])];
  expect(gates[0]!.code).toBe(gates[1]!.code);
}

/** A rule for each kind of finding fails exactly where the analysis has one, and the codes say the same. */
function agreeWithAnalyze(code: number, report: Report, gate: ReturnType<typeof told>): void {
  const isKind = (id: string): boolean => id === 'audit' || Object.hasOwn(FINDINGS, id);
  const failing = gate.rules.filter(({ id, status }) => status === 'fail' && isKind(id));
  // Any link, and weights that do not follow, fail the rule `audit`, by which both names of it are judged.
  const rulesOf = (id: string): string[] =>
    id === 'capture-mismatch' ? ['audit'] : id.startsWith('audit-') ? ['audit', id] : [id];
  const found = report.runs.flatMap((run) =>
    run.findings.flatMap(({ id }) => rulesOf(id).map((rule) => `${run.id}: ${rule}`)),
  );
  expect([...new Set(failing.map(({ run, id }) => `${run}: ${id}`))].sort()).toEqual(
    [...new Set(found)].sort(),
  );
  if (code === 3) expect(gate.exitCode).toBe(3);
  if (code === 1) expect(gate.exitCode).toBe(1);
  if (gate.exitCode === 3) expect(code).toBe(3);
  if (gate.exitCode === 0) expect(code).toBe(0);
}

describe('analyze, its saved report, and the gate on either', () => {
  test('there are at least thirty inputs', () => {
    expect(new Set(INPUTS.map(nameOf)).size).toBeGreaterThanOrEqual(30);
  });
  test.each(LONG ? [] : INPUTS.map((spec) => [nameOf(spec), spec] as const))('%s', async (_, spec) => {
    await agree(spec);
  });
  test('any other', async () => {
    await fc.assert(fc.asyncProperty(anyInput, agree), { numRuns: LONG ? BY_CHANCE : 1 });
  });
});

describe('a capture, replayed by `replay` and by `analyze`', () => {
  test.each(Object.keys(CAPTURES))('%s', async (capture) => {
    const at = join(scratch(), 'in');
    await makeInput([{ capture }], at);
    const path = join(at, 'capture');
    const analyzed = await cli(['analyze', path, '--json', '--budget', '3600']);
    const replayed = await cli(['replay', path, '--json']);
    const { replay, errors } = JSON.parse(replayed.out === '' ? '{}' : replayed.out) as {
      replay?: unknown[];
      errors?: unknown;
    };
    const report = JSON.parse(analyzed.out) as Report;
    expect(report.runs[0]?.replay).toEqual(replay);
    expect(report.inputs[0]?.errors).toEqual(errors);
    expect(analyzed.code === 3).toBe(replayed.code === 3);
  });

  test('with a model, of which a budget of nothing trains none', async () => {
    const path = join(projectRoot, 'fixtures/incident/capture');
    let now = 0;
    const { out } = await cli(['analyze', path, '--json', '--budget', '0'], { io: { now: () => ++now } });
    const analyzed = JSON.parse(out) as Report;
    const { replay } = JSON.parse((await cli(['replay', path, '--json'])).out) as { replay: unknown[] };
    expect(replay.length).toBeGreaterThan(5);
    expect(analyzed.runs[0]!.replay).toEqual(replay);
  });
});
