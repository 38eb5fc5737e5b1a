import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { analyze } from '../../src/app/engine/analyze.ts';
import { beforeOf } from '../../src/app/engine/before-capture.ts';
import { type Capture, openCapture } from '../../src/read/captures/read.ts';
import { makeRun, makeSeries } from '../support/make-report.ts';
import { scratchFolders } from '../support/scratch.ts';

const scratch = scratchFolders('before-capture');
/** As Python writes it. */
const spelled = (loss: number): string =>
  Number.isFinite(loss) ? String(loss) : loss > 0 ? 'Infinity' : 'NaN';

const recorded = (first: number, clipping: readonly unknown[] = []) =>
  ({ manifest: { clipping }, steps: [{ step: first }] }) as unknown as Capture;
const globalNorm = (maxNorm: number) => ({ rule: 'global-norm', options: { maxNorm } });
const logged = Array.from({ length: 40 }, (_, i) => i + 1);
const run = (settings: Record<string, number> = {}) => ({
  ...makeRun('log.jsonl', [
    makeSeries('loss', 'loss', logged),
    makeSeries('lr', 'learning_rate', [0.1, 0.2]),
  ]),
  hyperparameters: new Map(Object.entries(settings)),
});

it('the last twenty logged values before the first recorded step', () => {
  const { loss, learningRate, clipping } = beforeOf(run(), [], recorded(31));
  expect(loss).toEqual(logged.slice(10, 30));
  expect(learningRate).toEqual([0.1, 0.2]);
  expect(clipping).toBeNull();
  expect(beforeOf(makeRun('log.jsonl', []), [], recorded(31))).toMatchObject({ loss: [], learningRate: [] });
});

it('the clipping of the newest earlier capture, else of the settings, where the capture itself has none', () => {
  const captures = [
    recorded(5, [globalNorm(3)]),
    recorded(20, [globalNorm(2)]),
    recorded(40, [globalNorm(4)]),
  ];
  const labelOf = (...given: Parameters<typeof beforeOf>) => beforeOf(...given).clipping?.label;
  const own = recorded(31);
  expect(labelOf(run({ max_grad_norm: 7 }), [own, ...captures], own)).toBe('global-norm:2');
  expect(labelOf(run({ max_grad_norm: 7 }), [own, recorded(5)], own)).toBe('global-norm:7');
  expect(labelOf(run({ clipnorm: 0.5 }), [own], own)).toBe('layer-norm:0.5');
  // A rule that is not known here.
  const unknown = recorded(25, [{ rule: 'of-tomorrow', options: {} }]);
  expect(labelOf(run(), [own, unknown, ...captures], own)).toBe('global-norm:2');
  expect(labelOf(run({ max_grad_norm: 7 }), captures, recorded(31, [globalNorm(1)]))).toBeUndefined();
});

it('a capture that holds no step before the incident: the answer says so, and asks for no capture', async () => {
  const capture = 'fixtures/captures/nan';
  const { steps } = await openCapture(capture);
  const told = async (before: (step: number) => number) => {
    const log = join(scratch(), 'log.jsonl');
    const lines = Array.from({ length: 440 }, (_, step) => JSON.stringify({ step, loss: before(step) }));
    const held = steps.map(({ step, loss }) => `{"step":${step},"loss":${spelled(loss!)}}`);
    writeFileSync(log, [...lines, ...held].join('\n'));
    const { runs } = await analyze([log, capture], { toolVersion: '0', now: () => new Date(0) });
    return runs[0]!.cause!.statement;
  };
  // It grows to the level of the capture, and is lost there.
  expect(await told((step) => 0.03 * Math.exp(step / 160))).toMatch(
    /^the log does not show what changed: .*; the capture holds steps 440 to 453, and the incident begins at step \d{1,3}: a capture of the steps up to \d{1,3} would tell$/,
  );
  expect(await told((step) => 0.45 + 0.1 * Math.sin(step))).not.toMatch(/would tell/);
});
