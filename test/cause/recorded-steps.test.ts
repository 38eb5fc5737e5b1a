/** What recorded steps alone suggest, without a model: each sentence on a run of which it is true, and on twins of which it is not. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { causeOfCapture } from '../../src/experiment/cause/from-capture.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { normals } from '../detectors/runs.ts';

interface Made {
  readonly onset: number;
  /** By position; the step numbers are 100 more. */
  readonly loss: (i: number) => number;
  /** Times a gradient of noise, default 1. */
  readonly size?: (i: number) => number;
  readonly rate?: (i: number) => number;
  /** One value of the batch of the onset. */
  readonly value?: number;
  /** The onset and those after it are steps that a loss scaler skipped. */
  readonly skipped?: true;
}

const wavers = (i: number): number => 1 + 0.05 * Math.sin(3 * i);

/** Plain gradient descent from step 100 on, 40 steps. */
async function causeOf({ onset, loss, size = () => 1, rate = () => 0.1, value = 1, skipped }: Made) {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-steps-alone-'));
  try {
    const normal = normals(4);
    const writer = await createCapture(
      folder,
      {
        framework: 'pytorch',
        optimizer: { name: 'sgd', learningRate: 0.1 },
        parameters: [{ name: 'kernel', shape: [6, 10], layout: 'IO', embedding: false }],
      },
      [new Float32Array(60).fill(1)],
      [{}],
    );
    for (let i = 0; i < 40; i++)
      if (skipped === undefined || i < onset)
        await writer.step({
          step: 100 + i,
          learningRate: rate(i),
          loss: loss(i),
          gradients: [{ values: Float32Array.from({ length: 60 }, () => normal() * size(i)) }],
          batch: new Map([
            ['x', { shape: [2], dtype: 'F32', data: Float32Array.of(1, i === onset ? value : 1) }],
          ]),
        });
    await writer.finish();
    if (skipped !== undefined) {
      const path = join(folder, 'capture.json');
      const text = (one: number) => (Number.isFinite(one) ? one : String(one));
      const skips = [onset, onset + 1].map((i) => ({
        ...{ step: 100 + i, loss: text(loss(i)), scale: 1024, nonFinite: ['kernel'] },
      }));
      const manifest = { ...JSON.parse(readFileSync(path, 'utf8')), version: 2, skips };
      writeFileSync(path, JSON.stringify({ ...manifest, skipped: skips.map(({ step }) => step) }));
    }
    const capture = await openCapture(folder);
    return (await causeOfCapture({ capture, checkpointBefore: () => null }, 100 + onset, false))!.cause;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const jump = (i: number): number => (i >= 30 ? 50 : wavers(i));

describe('a loss that is far above those before it', () => {
  it('where the updates were usual: the batch is the likely cause', async () => {
    const cause = await causeOf({ onset: 30, loss: jump });
    expect(cause).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(cause.statement).toMatch(
      /^the loss is 50 at step 130 while the updates up to there are of the usual/,
    );
    expect(cause.statement).not.toContain('climbs');
  });
  it('where it grows at each step after: the batch or the rate, unless it stops to grow', async () => {
    const grows = (most: number) => (i: number) => (i < 28 ? wavers(i) : 50 * 3 ** Math.min(most, i - 28));
    const cause = await causeOf({ onset: 28, loss: grows(11) });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /^the loss is 50 at step 128 while .*, and grows at each of the 11 steps after it: steps are too long/,
    );
    expect(await causeOf({ onset: 28, loss: grows(9) })).toMatchObject({
      trigger: 'data',
      confidence: 'likely',
    });
  });
  it('where the step before it was longer than usual: nobody can tell what made it so long', async () => {
    const cause = await causeOf({ onset: 30, loss: jump, size: (i) => (i === 29 ? 20 : 1) });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /^the loss is 50 at step 130, after the update of step 129 was 1\d\.\d+, where/,
    );
  });
  it('where the rate rises as in a warm-up: the batch or the rate', async () => {
    const cause = await causeOf({ onset: 30, loss: jump, rate: (i) => 0.01 * 1.05 ** i });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /the learning rate rises from 0\.0162\d to 0\.0432\d in the 20 steps before/,
    );
  });
  it('among losses and updates that exploded before: seven steps tell nothing of what is usual', async () => {
    const loss = (i: number) => [5, 4e9, 1.3e7, 1.2e7, 1.1e7, 1e7, 9e6, 1e17][i] ?? Number.NaN;
    const cause = await causeOf({ onset: 7, loss, size: (i) => (i === 1 ? 1e6 : 100) });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /^the loss is 1\.?\d*e17 at step 107, and fewer steps were recorded before than/,
    );
  });
  it('soon after the first recorded step: nothing tells what was usual', async () => {
    const cause = await causeOf({ onset: 2, loss: (i) => (i >= 2 ? 50 : 1) });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /^the incident begins at step 102, so soon after the first step of the capture/,
    );
  });
});

describe('a loss that climbs', () => {
  it('blames no batch: none of its losses is far above those before', async () => {
    const cause = await causeOf({ onset: 30, loss: (i) => wavers(i) * 1.03 ** i, size: (i) => 1.03 ** i });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(
      /^the learning rate did not jump, and the loss climbs to step 130 without a jump/,
    );
  });
  it('with a jump right before its onset is one climb', async () => {
    const loss = (i: number) => (i < 29 ? wavers(i) : i === 29 ? 2 : 1.9 * 1.1 ** (i - 29));
    const cause = await causeOf({ onset: 30, loss: (i) => (i === 30 ? 1.2 : loss(i)) });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(/climbs to step 130 without a jump/);
  });
  it('after a jump that came back: the batch of the jump, not that of the onset', async () => {
    const loss = (i: number) => (i === 20 ? 1e6 : wavers(i) * 1.1 ** Math.max(0, i - 23));
    const cause = await causeOf({ onset: 30, loss });
    expect(cause).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(cause.statement).toMatch(
      /^the loss is 1e6 at step 120 while the updates .* the likely cause; the loss climbs from step 130 on/,
    );
  });
});

describe('a loss that is no number, where the updates were usual', () => {
  const lost = (i: number): number => (i >= 30 ? Number.NaN : wavers(i));
  it('may be the batch or the loss function', async () => {
    const cause = await causeOf({ onset: 30, loss: lost });
    expect(cause).toMatchObject({ trigger: 'none-found', confidence: null });
    expect(cause.statement).toMatch(/either its batch or the loss function gives no number there \(log\(0\)/);
  });
  it('is the batch where the batch holds what is no number', async () => {
    const cause = await causeOf({ onset: 30, loss: lost, value: Number.NaN });
    expect(cause).toMatchObject({ trigger: 'data', confidence: 'likely' });
    expect(cause.statement).toBe(
      'the batch of step 130 holds values that are no numbers: NaN in row 1 of "x", counted from 0',
    );
  });
  it('and a batch that is no number is not looked for where the loss is one', async () => {
    const cause = await causeOf({ onset: 30, loss: jump, value: Number.NaN });
    expect(cause.statement).toMatch(/^the loss is 50 at step 130/);
  });
});

describe('an incident that begins at a step which the loss scaler skipped', () => {
  const skipped = true;
  it('with a loss far above those before: the batch, and the overflow follows', async () => {
    const cause = await causeOf({ onset: 30, loss: (i) => (i >= 30 ? 1e9 : wavers(i)), skipped });
    expect(cause).toMatchObject({ trigger: 'data', alsoTriggers: ['precision'], mechanism: 'overflow' });
    expect(cause.statement).toMatch(
      /^the loss is 1e9 at step 130 while .* follows from it; the loss scaler skipped 2/,
    );
    expect(cause.evidence.map(({ id }) => id)).toEqual(['skipped-steps']);
  });
  it.each([
    ['a usual loss', { loss: wavers }],
    ['a loss that is no number', { loss: (i: number) => (i >= 30 ? Number.NaN : wavers(i)) }],
  ])('with %s: the precision', async (_, made) => {
    const cause = await causeOf({ onset: 30, skipped, ...made });
    expect(cause).toMatchObject({ trigger: 'precision', alsoTriggers: [], mechanism: 'overflow' });
    expect(cause.statement).toMatch(
      /^the loss scaler skipped 2 steps from step 130 on at a loss scale of 1024/,
    );
  });
  it('with a loss far above those before, after a step that was longer than usual: no overflow is blamed', async () => {
    const cause = await causeOf({
      onset: 30,
      skipped,
      loss: (i) => (i >= 30 ? 1e9 : wavers(i)),
      size: (i) => (i === 29 ? 20 : 1),
    });
    expect(cause).toMatchObject({ trigger: 'none-found', alsoTriggers: [], confidence: null });
    expect(cause.statement).toMatch(
      /^the loss is 1e9 at step 130 already, after the update before it was .* is usual; .* follows from it; the loss scaler skipped 2/,
    );
  });
});
