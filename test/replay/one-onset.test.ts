/** A capture has one incident, whichever command is asked: `replay` takes its onset from the verdict that `analyze` gives. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { incidentOfCapture } from '../../src/experiment/replay/capture-incident.ts';
import { judgeLosses } from '../../src/judge/incidents/losses.ts';
import { judgeRun } from '../../src/judge/incidents/verdict.ts';
import type { ReplayEntry } from '../../src/model/replay.ts';
import type { Report } from '../../src/model/report.ts';
import { runOfCapture } from '../../src/read/captures/as-run.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { makeRun, normals, seeded } from '../detectors/runs.ts';
import { cli } from '../support/cli.ts';

const scratch = mkdtempSync(join(tmpdir(), 'clippy-diag-onset-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Made {
  readonly losses: readonly number[];
  /** How many of them lie before the first recorded step. */
  readonly before: number;
}

/** Falling, flat or rising losses with noise, jumps of any size that stay, pass or end non-finite, some below zero. */
const made: fc.Arbitrary<Made> = fc
  .record({
    seed: fc.nat(1e6),
    points: fc.integer({ min: 1, max: 160 }),
    before: fc.double({ min: 0, max: 0.9, noNaN: true }),
    fall: fc.constantFrom(0, 0.5, 2, 4, -1),
    noise: fc.constantFrom(0.002, 0.03, 0.1, 0.3),
    jumps: fc.integer({ min: 0, max: 3 }),
    shift: fc.constantFrom(0, 0, 0, 1),
  })
  .map(({ seed, points, before, fall, noise, jumps, shift }) => {
    const random = seeded(seed);
    const normal = normals(seed + 1);
    const losses = Array.from(
      { length: points },
      (_, i) => Math.exp((-fall * i) / points + noise * normal()) - shift,
    );
    for (let k = 0; k < jumps; k++) {
      const at = Math.floor(random() * points);
      const length = random() < 0.5 ? points : Math.ceil(30 * random());
      const factor = random() < 0.2 ? Number.NaN : 1.2 * 500 ** random();
      for (let i = at; i < Math.min(points, at + length); i++)
        losses[i] = factor * (losses[i]! + shift) - shift;
    }
    return { losses, before: Math.floor(before * points) };
  });

const FIRST = 200;
/** A capture of these losses, as far as its losses go. */
function captureOf({ losses, before }: Made) {
  const step = (index: number): number => FIRST - before + index;
  const history = losses.slice(0, before);
  return {
    path: 'capture',
    manifest: { history: { steps: history.map((_, i) => step(i)), loss: history }, skips: [] },
    steps: losses.slice(before).map((loss, i) => ({ step: step(before + i), loss, tasks: new Map() })),
  } as unknown as Parameters<typeof incidentOfCapture>[0];
}

describe('the onset that replay judges', () => {
  it('is that of the verdict on a run with the same losses', () => {
    let found = 0;
    fc.assert(
      fc.property(made, (one) => {
        const capture = captureOf(one);
        const { verdict } = judgeRun(
          makeRun([
            { name: 'loss', values: one.losses, steps: one.losses.map((_, i) => FIRST - one.before + i) },
          ]),
        );
        expect(judgeRun(runOfCapture(capture)).verdict).toEqual(verdict);
        const { onset, unknown } = incidentOfCapture(capture);
        const step = onset === null ? null : capture.steps[onset]!.step;
        if (verdict.onsetStep === null) expect(step).toBeNull();
        else if (verdict.onsetStep >= FIRST) {
          expect(step).toBe(verdict.onsetStep);
          found++;
        } else if (step !== null) expect(verdict.incidents.map(({ onsetStep }) => onsetStep)).toContain(step);
        if (onset !== null) expect(unknown).toBeNull();
        // A closed loop judges plain losses: those of the recorded run have the same onset.
        const { incident } = judgeLosses(one.losses.slice(one.before), one.losses.slice(0, one.before));
        const dead = one.losses.at(-1) === 0;
        if (!dead) expect(incident?.onset ?? null).toBe(onset);
      }),
      { numRuns: 2000 },
    );
    expect(found).toBeGreaterThan(300);
  });

  it('lies at the steps of the capture, also where they recorded no loss', () => {
    const steps = [400, 401, 402].map((step) => ({ step, loss: null, tasks: new Map() }));
    const run = runOfCapture({
      path: 'capture',
      manifest: { history: null, skips: [] },
      steps,
    } as unknown as Parameters<typeof runOfCapture>[0]);
    expect(run.attempts).toEqual([{ index: 0, firstStep: 400, lastStep: 402, reason: 'start' }]);
  });

  it('an incident that began before the recorded steps is not called absent', () => {
    const losses = Array.from({ length: 120 }, (_, i) => (i < 50 ? 1 : 20) * (1 + 0.01 * Math.sin(i)));
    const { onset, unknown } = incidentOfCapture(captureOf({ losses, before: 60 }));
    expect(onset).toBeNull();
    expect(unknown).toContain('begins at step 190, before the first recorded step 200');
    const back = losses.map((loss, i) => (i < 58 ? loss : loss / 20));
    expect(incidentOfCapture(captureOf({ losses: back, before: 90 }))).toEqual({
      onset: null,
      unknown: null,
    });
  });
});

describe('replay CAPTURE and analyze CAPTURE', () => {
  /** 100 steps of a loss that falls by e² and is eight times as large from step 66 on; the gradient of step 65 is 300 times the usual. */
  async function falling(): Promise<string> {
    const folder = join(scratch, 'falling');
    const writer = await createCapture(
      folder,
      {
        framework: 'test',
        optimizer: { name: 'sgd', learningRate: 0.01 },
        parameters: [{ name: 'w', shape: [4], layout: 'none', embedding: false }],
      },
      [Float32Array.of(1, 2, 3, 4)],
      [{}],
    );
    for (let step = 0; step < 100; step++)
      await writer.step({
        step,
        learningRate: 0.01,
        loss: Math.exp((-2 * step) / 100) * (step >= 66 ? 8 : 1),
        gradients: [{ values: new Float32Array(4).fill((step === 65 ? 300 : 1) * 0.3) }],
      });
    await writer.finish();
    return folder;
  }

  it('find the jump of a falling loss, at one step and with one verdict for each rule', async () => {
    const folder = await falling();
    expect((await openCapture(folder)).errors).toEqual([]);
    const rules = ['none', 'global-norm:1'];
    const replay = await cli(['replay', folder, '--json', ...rules.flatMap((rule) => ['--rule', rule])]);
    const { replay: entries } = JSON.parse(replay.out) as { replay: ReplayEntry[] };
    expect(
      entries.map(({ label, onsetStep, verdict, confidence }) => [label, onsetStep, verdict, confidence]),
    ).toEqual([
      ['none', 66, 'not-prevented', 'exact'],
      ['global-norm:1', 66, 'prevented', 'estimate'],
    ]);
    const report = JSON.parse((await cli(['analyze', folder, '--json'])).out) as Report;
    expect(report.verdict).toMatchObject({ series: 'loss', onsetStep: 66 });
    for (const { label, onsetStep, verdict } of entries)
      expect(report.runs[0]!.replay.find((entry) => entry.label === label)).toMatchObject({
        onsetStep,
        verdict,
      });
    expect((await cli(['replay', folder])).out).not.toContain('no incident');
  });
});
