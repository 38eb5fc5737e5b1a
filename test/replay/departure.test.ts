import { expect, test } from 'vitest';
import { departureOf, judgedLoops } from '../../src/experiment/replay/recorded-loops.ts';

const STEPS = 40;
const ONSET = 25;
const computed = Array.from({ length: STEPS }, (_, i) => 1 + 0.1 * Math.sin(i));

/** Recorded losses that are those of the training, times something. */
const departs = (times: (i: number) => number, length = STEPS) => {
  const steps = computed.map((loss, step) => ({ step, loss: loss * times(step) }));
  const loop = { mode: 'closed-loop', rule: 'none', loss: computed.slice(0, length) };
  return departureOf({ steps, manifest: { clipping: [] } } as never, [loop] as never, ONSET);
};

test('a training that gives another loss all at once departs there', () => {
  expect(departs((i) => (i < ONSET ? 1 : 2))).toEqual({ at: ONSET, computed: computed[ONSET] });
  expect(departs((i) => (i < ONSET - 1 ? 1 : 0.5))?.at).toBe(ONSET - 1);
});

test('so does one whose loss is a number where none was recorded', () => {
  for (const lost of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(departs((i) => (i < ONSET ? 1 : lost))).toEqual({ at: ONSET, computed: computed[ONSET] });
});

test.each([
  ['follows to the end', () => 1],
  ['comes off little by little, as rounding does', (i: number) => 1 + 1e-5 * 1.6 ** i],
  ['departs after the onset, where the run is another one', (i: number) => (i <= ONSET ? 1 : 2)],
  ['never followed', (i: number) => (i < 2 ? 1 : 2)],
] as const)('a training that %s does not', (_, times) => {
  expect(departs(times)).toBeNull();
});

test('nor does one that was stored in part', () => {
  expect(departs((i) => (i < ONSET ? 1 : 2), STEPS - 1)).toBeNull();
});

test('no experiment is held against a training that has a number where none was recorded', () => {
  const judged = (recorded: number, own: number) => {
    const at = (other: number) => computed.map((loss, i) => (i < ONSET ? loss : other));
    const steps = at(recorded).map((loss, step) => ({ step, loss }));
    const loop = { mode: 'closed-loop', rule: 'none', loss: at(own), referenceLoss: computed };
    const manifest = { clipping: [], batchLosses: [], references: [], history: null };
    return judgedLoops({ steps, manifest } as never, [loop] as never, ONSET);
  };
  expect(judged(Number.NaN, 1)).toBeNull();
  expect(judged(Number.NaN, Number.NaN)).not.toBeNull();
});

test('a loop that lacks an option which was written at the onset says nothing', () => {
  const judged = (own: number, written: number) => {
    const at = (other: number) => computed.map((loss, i) => (i <= ONSET ? loss : other));
    const steps = at(9).map((loss, step) => ({
      ...{ step, loss },
      record: { options: step === 0 || step === written ? new Map([[0, { weightDecay: step }]]) : null },
    }));
    const loop = { mode: 'closed-loop', rule: 'none', loss: at(own), referenceLoss: computed };
    const manifest = { clipping: [], batchLosses: [], references: [], history: null };
    return judgedLoops({ steps, manifest } as never, [loop] as never, ONSET);
  };
  expect(judged(1, ONSET)).toBeNull();
  expect(judged(9, ONSET)).not.toBeNull();
  // Trainings are chaotic after an incident.
  expect(judged(1, ONSET + 5)).not.toBeNull();
});

test('what is usual of a batch takes the losses of the run too, where only two batches came before', () => {
  const loss = [1, 1.1, 1.2, Number.NaN, Number.NaN];
  const steps = loss.map((one, step) => ({ step, loss: one }));
  const loop = { mode: 'closed-loop', rule: 'none', loss, referenceLoss: [1, 1, 1, 1, 1] };
  const manifest = { clipping: [], batchLosses: loss, references: [0], history: null };
  expect(judgedLoops({ steps, manifest } as never, [loop] as never, 3)?.references.usual?.[1]).toBeCloseTo(
    1.15,
  );
});
