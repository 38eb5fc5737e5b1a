import { expect, it } from 'vitest';
import { contextFor } from '../../src/judge/detectors/detector.ts';
import { guardAlarm } from '../../src/judge/detectors/guard-alarm.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { Run } from '../../src/model/run.ts';
import { runOfCapture } from '../../src/read/captures/as-run.ts';
import { fallingLoss, makeRun } from './runs.ts';

const risky = (loss: (v: number, i: number) => number, risk: (i: number) => number, name = 'risk'): Run =>
  makeRun([
    { name: 'loss', values: fallingLoss(300).map(loss) },
    { name, values: fallingLoss(300).map((_, i) => risk(i)) },
  ]);
const found = (run: Run) => {
  const outcome = guardAlarm.detect(run, contextFor(guardAlarm, judgeRun(run)));
  return outcome.kind === 'fail'
    ? outcome.findings.map(({ steps, message }) => [...(steps ?? []), message])
    : outcome.kind;
};
const alarmAt =
  (...steps: number[]) =>
  (i: number) =>
    steps.includes(i) ? 0.97 : 0.01;

it('says how many steps ahead of the incident it was', () => {
  const run = risky((v, i) => (i >= 213 ? v * 20 : v), alarmAt(210, 211));
  expect(found(run)).toEqual([
    [210, 211, expect.stringMatching(/warned at step 210 to 211.*at step 213, 3 steps later\.$/)],
  ]);
});

it('does not credit itself with an incident that came before it', () => {
  const run = risky((v, i) => (i >= 200 && i < 205 ? v * 20 : v), alarmAt(210));
  expect(found(run)).toEqual([[210, 210, expect.stringMatching(/then stays in its usual range\.$/)]]);
});

it('names the same step where the batch was the news, and a healthy loss as such', () => {
  expect(found(risky((v, i) => (i >= 210 ? v * 20 : v), alarmAt(210)))).toEqual([
    [210, 210, expect.stringMatching(/at that same step\.$/)],
  ]);
  expect(found(risky((v) => v, alarmAt(50, 120)))).toHaveLength(2);
});

it('takes no column of another meaning for a risk', () => {
  expect(
    found(
      risky(
        (v) => v,
        (i) => i / 10,
      ),
    ),
  ).toBe('not-applicable');
  expect(found(risky((v) => v, alarmAt(9), 'asterisk'))).toBe('not-applicable');
  expect(
    found(
      risky(
        (v) => v,
        () => 0.2,
      ),
    ),
  ).toBe('pass');
});

it('is read from the entries of a capture as from a pulse', () => {
  const steps = fallingLoss(80).map((loss, step) => ({
    step,
    loss: step >= 60 ? loss * 50 : loss,
    tasks: new Map(),
    ...(step < 40 ? {} : { risk: step === 59 ? 0.99 : 0.001 }),
  }));
  const capture = { path: 'capture', manifest: { history: null, skips: [] }, steps };
  const run = runOfCapture(capture as unknown as Parameters<typeof runOfCapture>[0]);
  expect(found(run)).toEqual([[59, 59, expect.stringMatching(/at step 60, 1 step later\.$/)]]);
});

it('credits the guard with what its pulse says it did, and only then', () => {
  const acted = (scale: (i: number) => number, rate: (i: number) => number) =>
    found(
      makeRun([
        { name: 'loss', values: fallingLoss(300) },
        { name: 'risk', values: fallingLoss(300).map((_, i) => alarmAt(120, 121)(i)) },
        { name: 'guard_scale', values: fallingLoss(300).map((_, i) => scale(i)) },
        { name: 'guard_rate', values: fallingLoss(300).map((_, i) => rate(i)) },
      ]),
    );
  const never = () => 1;
  expect(acted((i) => (i === 120 ? 0 : i === 121 ? 0.2 : 1), never)[0]![2]).toContain(
    'Of 2 steps: 1 left out, 1 clipped.',
  );
  expect(acted(never, (i) => (i >= 121 && i < 131 ? 0.05 : 1))[0]![2]).toContain(
    'Of 11 steps: 10 taken at a lower rate, 1 taken unchanged.',
  );
  // A guard that only advises has let every step pass.
  expect(acted(never, never)[0]![2]).toContain('Of 2 steps: 2 taken unchanged.');
  expect(found(risky((v) => v, alarmAt(120)))[0]![2]).not.toContain('Of 1');
});
