import { expect, test } from 'vitest';
import { lossesApart, onsetOf } from '../../src/app/engine/which-run.ts';
import type { Run } from '../../src/model/run.ts';
import type { Capture } from '../../src/read/captures/read.ts';

test('a step of a capture is no epoch of the log beside it: a fit that is NaN in its first epoch', () => {
  const losses = [1.2, 1.1, 1, ...new Array<number>(30).fill(Number.NaN)];
  const capture = {
    path: 'capture',
    manifest: { history: null, skips: [] },
    steps: losses.map((loss, step) => ({ step, loss, tasks: new Map() })),
  } as unknown as Capture;
  const logged = (stepUnit: string) =>
    ({
      stepUnit,
      series: [{ role: 'loss', step: Float64Array.of(0), value: Float64Array.of(Number.NaN) }],
    }) as unknown as Run;
  const apart = lossesApart(logged('epoch'), capture);
  expect(apart?.shift).toBeNull();
  expect(apart?.note).toMatch(/^the log counts epochs, and the capture capture steps/);
  expect(onsetOf(capture, apart!.shift, 0)).toBe(3);
  expect(lossesApart(logged('step'), capture)).toBeNull();
});
