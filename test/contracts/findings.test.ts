/** What every kind of finding owes, and what those about checkpoints and captures owe besides. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { follow } from '../../src/experiment/replay/follow.ts';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import { DETECTORS } from '../../src/judge/detectors/registry.ts';
import { AUDIT_FINDINGS } from '../../src/judge/findings/audit-links.ts';
import { captureMismatch } from '../../src/judge/findings/capture-mismatch.ts';
import type { CheckpointFinding } from '../../src/judge/findings/checkpoint-finding.ts';
import { checkpointOutcomes } from '../../src/judge/findings/outcomes.ts';
import { CHECKPOINT_FINDINGS, FINDINGS, STEP_FINDINGS } from '../../src/judge/findings/registry.ts';
import { readThresholds, resolveThresholds } from '../../src/judge/findings/thresholds.ts';
import { VERDICT_SETTINGS } from '../../src/judge/incidents/settings.ts';
import type { InspectedCheckpoint } from '../../src/model/checkpoint.ts';
import { type Finding, type FindingType, SEVERITIES } from '../../src/model/finding.ts';
import { isInRange } from '../../src/model/options.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { CASES, checkpoint, HEALTHY } from '../findings/cases.ts';
import { projectRoot } from '../support/shared-data.ts';

const all: readonly FindingType[] = Object.values(FINDINGS);

describe.each(all)('$id', ({ id, title, docs, thresholds, severity }) => {
  it('is documented, with an origin and a range for every threshold', () => {
    expect(Object.hasOwn(FINDINGS, id)).toBe(true);
    expect(id).toMatch(/^[a-z]+(-[a-z]+)*$/);
    const folder = Object.hasOwn(DETECTORS, id) ? 'judge/detectors' : 'judge/findings';
    // The links of the audit share a file.
    const file = Object.hasOwn(AUDIT_FINDINGS, id) ? 'audit-links' : id;
    expect(readFileSync(join(projectRoot, 'src', folder, `${file}.ts`), 'utf8')).toContain(`id: '${id}'`);
    for (const text of [title, docs.summary, docs.details, docs.advice])
      expect(text.length).toBeGreaterThan(10);
    expect(SEVERITIES).toContain(severity);
    for (const { name, value, unit, origin, range } of thresholds) {
      expect(isInRange(range, value), name).toBe(true);
      expect(unit, name).not.toBe('');
      expect(origin.length, name).toBeGreaterThan(10);
      expect(docs.details, `${id} has a threshold that its page does not explain`).toContain(`\`${name}\``);
    }
    expect(new Set(thresholds.map(({ name }) => name)).size).toBe(thresholds.length);
  });

  it('has the number of the judge under its name, and no other under that name', () => {
    for (const { name, ...threshold } of thresholds)
      if (Object.hasOwn(VERDICT_SETTINGS, name))
        expect(threshold).toEqual(VERDICT_SETTINGS[name as keyof typeof VERDICT_SETTINGS]);
  });
});

it('every number of the judge is a threshold of some finding, so that it can be set', () => {
  const declared = new Set(all.flatMap(({ thresholds }) => thresholds.map(({ name }) => name)));
  expect(Object.keys(VERDICT_SETTINGS).filter((name) => !declared.has(name))).toEqual([]);
});

it('every kind has a contract that each of its thresholds changes something', () => {
  // detectors.test.ts, below, ../findings/steps.test.ts, and below again.
  const tried = [
    DETECTORS,
    CHECKPOINT_FINDINGS,
    STEP_FINDINGS,
    { [captureMismatch.id]: captureMismatch },
    AUDIT_FINDINGS,
  ];
  expect(tried.flatMap(Object.keys).sort()).toEqual(Object.keys(FINDINGS).sort());
});

const ofCheckpoints = Object.entries(CHECKPOINT_FINDINGS) as [keyof typeof CASES, CheckpointFinding][];

describe.each(ofCheckpoints)('%s in checkpoints', (id, type) => {
  const found = (
    run: readonly InspectedCheckpoint[],
    numbers: Record<string, number> = {},
  ): readonly Finding[] => {
    const outcome = checkpointOutcomes(run, resolveThresholds(readThresholds({ [id]: numbers })).inForce).get(
      id,
    )!;
    return outcome.kind === 'fail' ? outcome.findings : [];
  };
  const caseOf = (): (typeof CASES)[typeof id] => {
    const one: (typeof CASES)[typeof id] | undefined = CASES[id];
    if (one === undefined)
      throw new Error(`test/findings/cases.ts has no case for "${id}": add checkpoints with it`);
    return one;
  };

  it('is found in its case, at the stated steps, with a place', () => {
    const [finding, ...more] = found(caseOf().run);
    expect(more).toEqual([]);
    expect(finding).toMatchObject({ id, severity: type.severity, steps: caseOf().steps });
    expect(finding!.locations.length).toBeGreaterThan(0);
    expect(finding!.measured?.unit).toBeTruthy();
    expect(finding!.message).not.toMatch(/undefined|\[object|null/);
    // In whatever order they come.
    expect(found([...caseOf().run].reverse())).toEqual([finding]);
  });

  it.each(type.thresholds)('threshold $name changes something', ({ name, range }) => {
    const other = Object.entries(caseOf().thresholds).find(([key]) => key === name)?.[1];
    if (other === undefined)
      throw new Error(
        `test/findings/cases.ts: "${id}" needs a number for "${name}" at which it is not found`,
      );
    expect(isInRange(range, other)).toBe(true);
    expect(found(caseOf().run, { [name]: other })).toEqual([]);
  });

  it('is not found in healthy checkpoints, and defined on none, one, and values that were not read', () => {
    expect(found(HEALTHY)).toEqual([]);
    expect(found([])).toEqual([]);
    expect(found(HEALTHY.slice(0, 1))).toEqual([]);
    const unread = HEALTHY.map(({ step }) => checkpoint(step, { a: null, b: [1, 2.5], 'acc/a': null }));
    expect(found(unread)).toEqual([]);
    // A norm over fewer tensors is no smaller model.
    expect(found([unread[0]!, ...HEALTHY.slice(1)])).toEqual([]);
    const broken = [Number.NaN, Number.POSITIVE_INFINITY];
    for (const run of [
      [checkpoint(null, { a: broken, 'acc/a': broken })],
      [checkpoint(1, { a: broken, 'acc/a': broken }), checkpoint(2, { a: broken, 'acc/a': broken })],
    ])
      expect(['pass', 'fail', 'not-applicable']).toContain(
        checkpointOutcomes(run, resolveThresholds().inForce).get(id)!.kind,
      );
  });
});

describe('capture-mismatch in captures', () => {
  const mismatch = async (numbers: Readonly<Record<string, number>>): Promise<number> => {
    const capture = await openCapture(join(projectRoot, 'fixtures/captures/micro-divergence'));
    const prepared = await prepareReplay(capture, 'float32');
    const { inForce } = resolveThresholds(readThresholds({ [captureMismatch.id]: numbers }));
    const { findings } = await follow(capture, prepared, {
      precision: 'float32',
      tolerance: (name) => inForce(captureMismatch.id, name),
      visit: () => {},
    });
    return findings.length;
  };

  it('is not found in a recorded run at the defaults; each threshold alone is enough, and one is needed', async () => {
    expect(captureMismatch.thresholds.map(({ name }) => name)).toEqual(['ofMovement', 'ofSize']);
    expect(await mismatch({})).toBe(0);
    expect(await mismatch({ ofMovement: 0 })).toBe(0);
    expect(await mismatch({ ofSize: 0 })).toBe(0);
    // float32 rounds: the rebuilt parameters are not the recorded ones to the last bit.
    expect(await mismatch({ ofMovement: 0, ofSize: 0 })).toBe(1);
  });
});
