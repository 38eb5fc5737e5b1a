/** From a given initialisation, each rule's first twenty losses are PyTorch's (bench/study/oracle.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openStudy } from '../../src/experiment/study/open-study.ts';
import { createTrainer } from '../../src/experiment/study/train-cell.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { RULES } from '../../src/step/rules/registry.ts';
import { projectRoot } from '../support/shared-data.ts';

const folder = join(projectRoot, 'fixtures/studies/exact');

describe.each([
  ['study.yaml', 'oracle.json'],
  ['study-adam.yaml', 'oracle-adam.json'],
])('%s', (file, expectation) => {
  const oracle = JSON.parse(readFileSync(join(folder, expectation), 'utf8')) as {
    learningRate: number;
    cells: Record<string, { float32: number[]; float64: number[] }>;
  };

  it.each(Object.entries(oracle.cells))('%s', async (label, expected) => {
    const { setup, info } = await openStudy(join(folder, file));
    expect(info.rules.map(({ rule }) => rule)).toEqual(Object.keys(oracle.cells));
    const key = { model: 'exact', rule: label, label, learningRate: oracle.learningRate, seed: 0 };
    const { losses } = createTrainer(setup).train(key);
    expect(losses).toHaveLength(20);
    for (const [i, right] of expected.float32.entries()) {
      expect(Math.abs(losses[i]! / right - 1), `loss ${i}`).toBeLessThan(1e-4);
      // Both precisions of PyTorch agree as closely, so that rounding decides nothing here.
      expect(Math.abs(expected.float64[i]! / right - 1)).toBeLessThan(1e-4);
    }
  });

  it('rules give different losses: the oracle tells them apart', () => {
    const ends = Object.values(oracle.cells).map(({ float32 }) => float32[19]!.toFixed(3));
    expect(new Set(ends).size).toBe(ends.length);
  });
});

it('every rule has an oracle', async () => {
  const files = ['study.yaml', 'study-adam.yaml'].map((file) => openStudy(join(folder, file)));
  const ids = (await Promise.all(files)).flatMap(({ info }) =>
    info.rules.flatMap(({ labels }) => labels.map((label) => parseRule(label)[0]!.id)),
  );
  // It leaves out no step before its twentieth, whose loss is the last one here: fixtures/parity holds it.
  const known = Object.keys(RULES).filter((id) => id !== 'skip-step');
  expect([...new Set(ids)].sort()).toEqual(known.sort());
});
