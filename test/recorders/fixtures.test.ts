/** What the shipped captures promise to those who build on them. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { projectRoot } from '../support/shared-data.ts';
import { readCapture } from './read-capture.ts';

interface Loop {
  verdict: string;
  loss: (number | string)[];
  minClipFactor: (number | string)[];
}
interface Oracle {
  steps: number[];
  rules: { rule: string; float32: Loop; float64: Loop }[];
}

const fixtures = join(projectRoot, 'fixtures');
const incident = join(fixtures, 'incident');
const captures = [
  {
    name: 'incident',
    folder: join(incident, 'capture'),
    oracle: join(fixtures, 'oracles/incident-closed-loop.json'),
    limit: 2,
  },
  ...readdirSync(join(fixtures, 'captures')).map((name) => {
    const folder = join(fixtures, 'captures', name);
    return { name, folder, oracle: join(folder, 'closed-loop.json'), limit: 1.5 };
  }),
];
const readOracle = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Oracle;
const incidents = ['incident', 'seed-2', 'embedding'];

describe.each(captures)('capture $name', ({ name, folder, oracle: path, limit }) => {
  const { manifest, initial, steps, extra } = readCapture(folder);
  const oracle = readOracle(path);

  it('is whole, small, and holds batches and state', () => {
    const bytes = readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
    expect(bytes).toBeLessThanOrEqual(limit * 1e6);
    expect(extra).toEqual([]);
    expect(steps.map((s) => s.step)).toEqual(steps.map((_, i) => steps[0]!.step + i));
    expect(manifest.history.steps.at(-1)).toBe(steps[0]!.step - 1);
    for (const parameter of manifest.parameters) {
      expect(initial.get(`param/${parameter.name}`)!.shape).toEqual(parameter.shape);
      expect(initial.get(`state/accumulator/${parameter.name}`)!.shape).toEqual(parameter.shape);
    }
    for (const step of steps)
      for (const task of ['click', 'watch', 'like'])
        expect(step.tensors.get(`batch/label/${task}`)!.shape).toEqual([
          step.tensors.get('batch/dense')!.shape[0],
        ]);
  });

  it('is followed by its closed loop without clipping', () => {
    expect(oracle.steps).toEqual(steps.map((s) => s.step));
    const none = oracle.rules.find((rule) => rule.rule === 'none')!;
    for (const { loss } of [none.float32, none.float64])
      steps.slice(0, 10).forEach((step, i) => {
        expect(Math.abs(Number(loss[i]) - Number(step.loss))).toBeLessThanOrEqual(1e-4 * Number(step.loss));
      });
  });

  it.runIf(incidents.includes(name))('diverges for good unless it is clipped enough', () => {
    const verdicts = oracle.rules.map(({ rule, float32, float64 }) => [
      rule,
      float32.verdict,
      float64.verdict,
    ]);
    const both = (rule: string, verdict: string) => [rule, verdict, verdict];
    expect(verdicts).toEqual([
      both('none', 'not-prevented'),
      both('value:0.1', 'prevented'),
      both('global-norm:1.0', 'prevented'),
      both('global-norm:100', 'not-prevented'),
      both('layer-norm:0.1', 'prevented'),
      both('agc:0.01', 'prevented'),
      both('clippy:paper', 'prevented'),
      both('clippy:tfrs', 'prevented'),
    ]);
    expect(steps.at(-1)!.step - 400).toBeGreaterThanOrEqual(34);
  });
});

describe('the shipped incident', () => {
  const { steps } = readCapture(join(incident, 'capture'));

  it('is one run: log, capture and checkpoints agree', () => {
    const log = readFileSync(join(incident, 'log.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { step: number; loss: number });
    expect(log.map((record) => record.step)).toEqual(Array.from({ length: 600 }, (_, i) => i));
    for (const step of steps) expect(step.loss).toBeCloseTo(log[step.step]!.loss, 2);
    expect(400 - steps[0]!.step).toBe(20);
    expect(readdirSync(join(incident, 'checkpoints')).sort()).toEqual(
      [200, 300, 380, 400, 420, 520].map((step) => `step-${step}.pt`),
    );
  });
});
