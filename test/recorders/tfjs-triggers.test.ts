/** What makes the recorder of tfjs write a capture beside the judge of losses: each trigger with its healthy twin. */
import { describe, expect, it } from 'vitest';
import { clippyRecorder } from '../../src/experiment/recorder/tfjs-recorder.ts';
import { finiteWatch, normWatch } from '../../src/experiment/recorder/triggers.ts';
import { random } from '../support/random.ts';

class Sgd {
  static readonly className = 'SGD';
  readonly iterations = 0;
  readonly learningRate = 0.1;
  computeGradients(): never {
    throw new Error('not called');
  }
  getConfig() {
    return { learningRate: 0.1 };
  }
}

interface Step {
  readonly loss: number;
  readonly gradient?: number;
  readonly weight?: number;
}

/** Records so many steps of two variables; what was written of each capture: its reason, and its steps. */
function captures(count: number, stepOf: (step: number) => Step, maxCaptures = 3) {
  const written = new Map<string, Uint8Array>();
  const names = new Map<string, string>();
  let now: Step = { loss: 0 };
  const tensor = (name: string, value: () => number) => ({
    name,
    shape: [2],
    dataSync: () => Float32Array.of(value(), 1),
  });
  const recorder = clippyRecorder({
    variables: [tensor('a', () => now.weight ?? 1), tensor('b', () => 1)],
    optimizer: new Sgd() as never,
    every: 10,
    after: 4,
    maxCaptures,
    files: {
      exists: (folder) => [...names.values()].includes(folder),
      write: (path, bytes) => void written.set(path, bytes),
      rename: (from, to) => void names.set(from, to),
    },
  });
  for (let step = 0; step < count; step++) {
    now = stepOf(step);
    const gradient = now.gradient ?? 1;
    recorder.record(step, now.loss, { a: tensor('a', () => gradient), b: tensor('b', () => 1) });
  }
  expect(recorder.stopped).toBeNull();
  return [...names].map(([from, to]) => {
    // The manifest of a capture is written again, under its last name, as steps are added.
    const bytes = written.get(`${to}/capture.json`) ?? written.get(`${from}/capture.json`);
    const { flushed, steps } = JSON.parse(new TextDecoder().decode(bytes)) as {
      flushed: { step: number; reason: string };
      steps: { step: number }[];
    };
    return { ...flushed, first: steps[0]!.step, last: steps.at(-1)!.step };
  });
}

/** A loss that falls, with noise. */
const drawn = random(5);
const noise = Array.from({ length: 1200 }, () => drawn() - 0.5);
const falling = (step: number): number => 2 * Math.exp(-step / 150) + 0.3 + 0.05 * noise[step]!;

describe('triggers of the tfjs recorder', () => {
  it('a healthy run writes nothing', () => {
    const step = (k: number) => ({ loss: falling(k), gradient: 1 + 0.5 * noise[1199 - k]! });
    expect(captures(1100, step)).toEqual([]);
  });

  it('losses that explode before there is a band', () => {
    const [one] = captures(12, (k) => ({ loss: k < 5 ? 2 + noise[k]! : 2 * 30 ** (k - 4) }));
    expect(one).toMatchObject({
      step: 5,
      first: 0,
      reason: expect.stringMatching(/^loss 60 after at most 2\.\d+ in the first/),
    });
  });

  it('a run that learns nothing leaves its first steps, once', () => {
    const flat = (k: number) => ({ loss: 2.3 + 0.05 * noise[k]! });
    const all = captures(1100, flat);
    expect(all).toHaveLength(1);
    expect(all[0]).toMatchObject({ first: 0, last: 4, step: 4 });
    expect(all[0]!.reason).toMatch(
      /^nothing was learnt in 500 steps: the loss is 2\.\d+, and was 2\.\d+ at first$/,
    );
  });

  it('a norm of the gradient that is several times as large from a step on, and never the last capture', () => {
    const step = (k: number) => ({ loss: falling(k), gradient: (k < 300 ? 1 : 9) * (1 + 0.1 * noise[k]!) });
    expect(captures(400, step)).toMatchObject([
      { step: 304, reason: expect.stringMatching(/^the norm of the gradient is 9/) },
    ]);
    expect(captures(400, step, 1)).toEqual([]);
  });

  it('a norm that falls, or leaps for three steps, is no change', () => {
    for (const norm of [
      (k: number) => 0.2 + Math.exp(-k / 40),
      (k: number) => (k >= 300 && k < 303 ? 100 : 1),
    ]) {
      const add = normWatch();
      const told = noise.slice(0, 600).map((n, k) => add(norm(k) * Math.exp(0.6 * n)));
      expect(told.filter((reason) => reason !== null)).toEqual([]);
    }
  });

  it('a gradient that is not finite under a finite loss', () => {
    const step = (k: number) => ({ loss: falling(k), gradient: k === 57 || k === 59 ? Number.NaN : 1 });
    expect(captures(60, step)).toMatchObject([{ step: 57, reason: 'gradients of a are not finite' }]);
  });

  it('a weight that is not finite under a finite loss, at the next snapshot', () => {
    const step = (k: number) => ({ loss: falling(k), weight: k < 33 ? 1 : Number.POSITIVE_INFINITY });
    expect(captures(60, step)).toMatchObject([{ step: 40, reason: 'weights of a are not finite' }]);
  });

  it('an optimizer state that is not finite is told once, until it is well again', () => {
    const add = finiteWatch();
    const state = (value: number) => ({ 'state/m/a': { data: Float32Array.of(value) } });
    const gradient = { 'grad/a': { data: Float32Array.of(1) } };
    const told = [
      gradient,
      state(1),
      state(Number.NaN),
      gradient,
      state(Number.NaN),
      state(1),
      state(Number.NaN),
    ];
    const reason = 'optimizer state of a are not finite';
    expect(told.map(add)).toEqual([null, null, reason, null, null, null, reason]);
  });
});
