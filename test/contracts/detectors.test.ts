/** What every detector owes, run over all members of the registry. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { contextFor, type Detector } from '../../src/judge/detectors/detector.ts';
import { DETECTORS, type DetectorId } from '../../src/judge/detectors/registry.ts';
import { readThresholds, resolveThresholds } from '../../src/judge/findings/thresholds.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import { copyOf } from '../../src/model/column.ts';
import { SEVERITIES } from '../../src/model/finding.ts';
import { isInRange } from '../../src/model/options.ts';
import { ROLES, type Run } from '../../src/model/run.ts';
import { CASES, type ThresholdCase } from '../detectors/cases.ts';
import {
  detect,
  fallingLoss,
  findingsOf,
  fixtureRun,
  makeRun,
  normals,
  type SeriesSpec,
} from '../detectors/runs.ts';
import { projectRoot } from '../support/shared-data.ts';

const members = Object.entries(DETECTORS) as [DetectorId, Detector][];

/** The case of a detector; one without says where it is missing. */
function caseOf(id: DetectorId): (typeof CASES)[DetectorId] {
  const found: (typeof CASES)[DetectorId] | undefined = CASES[id];
  if (found === undefined)
    throw new Error(
      `test/detectors/cases.ts has no case for "${id}": add a run on which it fires, and the step`,
    );
  return found;
}

/** One series of every role, with these values. */
const everyRole = (values: readonly number[]): Run =>
  makeRun(
    ROLES.map(
      (role): SeriesSpec => ({ name: role, role, values, ...(role === 'task_loss' ? { task: 'a' } : {}) }),
    ),
  );

const healthy: [string, Run][] = [
  ...readdirSync(join(projectRoot, 'fixtures/logs'))
    .filter((name) => name === 'healthy')
    .map((name): [string, Run] => [`fixture ${name}`, fixtureRun(name)]),
  ...[1, 2, 3, 4, 5].map((seed): [string, Run] => {
    const points = [40, 200, 1000, 3000, 12][seed - 1]!;
    const normal = normals(seed);
    return [
      `generated, ${points} points`,
      makeRun([
        { name: 'loss', values: fallingLoss(points, seed, 0.04 * seed) },
        { name: 'grad_norm', values: Array.from({ length: points }, () => Math.exp(0.3 * normal())) },
        { name: 'val_loss', values: fallingLoss(points, seed + 10, 0.02) },
        { name: 'learning_rate', values: Array.from({ length: points }, (_, i) => 1e-3 * (1 - i / points)) },
        { name: 'auc', values: fallingLoss(points, seed + 20, 0.01).map((value) => 0.9 - 0.1 * value) },
      ]),
    ];
  }),
];

describe.each(members)('%s', (id, detector) => {
  it.each(detector.thresholds)('threshold $name changes something', ({ name, value, range }) => {
    const found = Object.entries(caseOf(id).thresholds).find(([key]) => key === name)?.[1];
    if (found === undefined)
      throw new Error(
        `test/detectors/cases.ts: "${id}" needs a number for its threshold "${name}" at which it finds something else`,
      );
    const other: ThresholdCase = typeof found === 'number' ? { value: found } : found;
    expect(isInRange(range, value)).toBe(true);
    expect(isInRange(range, other.value)).toBe(true);
    const at = (number: number): unknown => {
      const run = other.run ?? caseOf(id).run;
      const { inForce, settings } = resolveThresholds(readThresholds({ [id]: { [name]: number } }));
      const context = contextFor(detector, judgeRun(run, settings), inForce, other.clipLimits);
      const outcome = detector.detect(run, context);
      const seen = other.seen ?? (({ steps, series, severity }) => [steps, series, severity]);
      return outcome.kind === 'fail' ? outcome.findings.map(seen) : [];
    };
    expect(at(other.value)).not.toEqual(at(value));
  });

  it('fires on its case, at the stated step, with numbers that carry units and a place', () => {
    const { run, step, within = 0 } = caseOf(id);
    const findings = findingsOf(detector, run);
    expect(findings.length).toBeGreaterThan(0);
    expect(Math.abs(findings[0]!.steps![0] - step)).toBeLessThanOrEqual(within);
    for (const finding of findings) {
      expect(finding.id).toBe(id);
      expect(SEVERITIES.indexOf(finding.severity)).toBeLessThanOrEqual(SEVERITIES.indexOf(detector.severity));
      expect(finding.locations.length).toBeGreaterThan(0);
      expect(finding.measured?.unit).toBeTruthy();
      expect(finding.message).not.toMatch(/undefined|\[object|null/);
    }
  });

  it.each(healthy)('is silent on a healthy run: %s', (_, run) => {
    expect(judgeRun(run).verdict.class).toBe('healthy');
    expect(findingsOf(detector, run)).toEqual([]);
  });

  it.each([
    ['no series', makeRun([])],
    ['no points', everyRole([])],
    ['one point', everyRole([1])],
    ['two points', everyRole([1, 2])],
    ['NaN only', everyRole(new Array<number>(50).fill(Number.NaN))],
    ['Infinity only', everyRole(new Array<number>(50).fill(Number.POSITIVE_INFINITY))],
    ['zeros only', everyRole(new Array<number>(50).fill(0))],
    ['huge and tiny', everyRole(Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 1e308 : -1e308)))],
  ])('is defined on %s', (_, run) => {
    expect(['pass', 'fail', 'not-applicable']).toContain(detect(detector, run).kind);
  });

  it('is pure: same outcome twice, the run untouched', () => {
    const { run } = caseOf(id);
    const before = run.series.map(({ value }) => copyOf(value));
    const judged = judgeRun(run);
    const once = detector.detect(run, contextFor(detector, judged));
    expect(detector.detect(run, contextFor(detector, judged))).toEqual(once);
    expect(run.series.map(({ value }) => value)).toEqual(before);
  });
});
