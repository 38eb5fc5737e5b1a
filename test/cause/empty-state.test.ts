/** A state of the optimizer that is that of a beginning where a run goes on: lost, or only not recorded. The runs are made here, so both are known. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { causeOfCapture } from '../../src/experiment/cause/from-capture.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor } from '../../src/experiment/replay/tensors.ts';
import type { Cause } from '../../src/model/cause.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { createCapture } from '../../src/read/captures/write.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { NO_CLIPPING } from '../../src/step/rules/choice.ts';
import { normals } from '../detectors/runs.ts';

interface Made {
  /** Steps that the optimizer took before the first recorded one, with its state as it was left. */
  readonly taken: number;
  /** Number of the first recorded step. */
  readonly from?: number;
  /** What of the state the recorder stores; default nothing. */
  readonly stores?: 'all' | 'count' | 'empty';
  /** Whether the parameters before the fourth recorded step are stored. */
  readonly snapshot?: boolean;
  readonly optimizer?: string;
}

const SHAPE = [6, 10];
const RATE = 0.01;

/** The cause of a loss that jumps at the sixth recorded step. */
async function causeOf({ taken, from = 150, stores, snapshot = false, optimizer = 'adam' }: Made) {
  const folder = mkdtempSync(join(tmpdir(), 'clippy-diag-empty-'));
  try {
    const meta = { name: 'kernel', shape: SHAPE, layout: 'IO', embedding: false } as const;
    const choice = chooseOptimizer(optimizer, {});
    const stepper = createStepper({ rule: NO_CLIPPING, optimizers: [choice], precision: 'float32' });
    const tensor = freshTensor(meta, new Float32Array(60).fill(1), choice, 'float32');
    const normal = normals(3);
    const gradient = () => ({ values: Float32Array.from({ length: 60 }, () => normal()) });
    for (let i = 0; i < taken; i++) stepper.step([tensor], [gradient()], [RATE]);
    const { step: _, ...slots } = { ...tensor.slots, step: undefined };
    const state =
      stores === 'all'
        ? { ...slots, step: Float32Array.of(tensor.stepsTaken) }
        : stores === 'count'
          ? { step: Float32Array.of(tensor.stepsTaken) }
          : stores === 'empty'
            ? { m: new Float32Array(60), v: new Float32Array(60) }
            : {};
    const writer = await createCapture(
      folder,
      { framework: 'pytorch', optimizer: { name: optimizer, learningRate: RATE }, parameters: [meta] },
      [tensor.w.slice()],
      [Object.fromEntries(Object.entries(state).map(([slot, values]) => [slot, values.slice()]))],
    );
    for (let i = 0; i < 30; i++) {
      const { values } = gradient();
      await writer.step({
        step: from + i,
        learningRate: RATE,
        loss: i < 5 ? 1 + 0.01 * (i % 3) : 9,
        gradients: [{ values: values.slice() }],
        ...(snapshot && i === 3 ? { parameters: [tensor.w.slice()] } : {}),
      });
      stepper.step([tensor], [{ values }], [RATE]);
    }
    await writer.finish();
    const capture = await openCapture(folder);
    const why = await causeOfCapture({ capture, checkpointBefore: () => null }, from + 5, false);
    return why!.cause;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const NOT_KNOWN = /^the capture stores no state of the optimizer before step 150, and cannot tell whether/;
const LEFT_OUT =
  /^from an optimizer that had taken no step before step 150 the recorded gradients do not give/;
const told = ({ trigger, confidence }: Cause) => [trigger, confidence];

describe.each(['adam', 'adagrad'])('%s, where nothing of the state is stored', (optimizer) => {
  it.each([0, 100])('and no later parameters are: after %i steps taken, nobody can tell', async (taken) => {
    const cause = await causeOf({ taken, optimizer });
    expect(told(cause)).toEqual(['none-found', null]);
    expect(cause.statement).toMatch(NOT_KNOWN);
    // What to record to know it.
    expect(cause.statement).toContain(
      'record state/<slot>/<name> in initial.safetensors, or param/<name> before a later step',
    );
  });
  it('and the recorded steps give later parameters from an empty one: it was lost', async () => {
    const cause = await causeOf({ taken: 0, snapshot: true, optimizer });
    expect(told(cause)).toEqual(['optimizer-state', 'likely']);
    expect(cause.statement).toMatch(
      /^the optimizer had taken no step at step 150, 5 steps before: from such a state/,
    );
    expect(cause.evidence[0]).toMatchObject({ id: 'optimizer-state', at: { step: 150 } });
  });
  it('and they do not: the recorder left it out, and nothing is blamed', async () => {
    const cause = await causeOf({ taken: 100, snapshot: true, optimizer });
    expect(told(cause)).toEqual(['none-found', null]);
    expect(cause.statement).toMatch(LEFT_OUT);
    expect(cause.evidence.map(({ id }) => id)).not.toContain('optimizer-state');
  });
});

it.each([
  ['a state in which no step was taken', 'all'],
  ['that no step was taken, as of an optimizer that makes its state at the first', 'count'],
] as const)('the capture stores %s: it was lost', async (_, stores) => {
  const cause = await causeOf({ taken: 0, stores });
  expect(told(cause)).toEqual(['optimizer-state', 'likely']);
  expect(cause.statement).toMatch(
    /^the optimizer had taken no step at step 150, 5 steps before; the steps count on/,
  );
});

it('the capture counts steps that were taken and has no more of the state: the recorder left it out', async () => {
  const cause = await causeOf({ taken: 100, stores: 'count' });
  expect(told(cause)).toEqual(['none-found', null]);
  expect(cause.statement).toMatch(
    /^the capture stores no state .* before step 150, though it had taken steps/,
  );
});

it('the recorder stores zeros whatever the state is: later parameters tell, and nothing is blamed', async () => {
  const cause = await causeOf({ taken: 100, stores: 'empty', snapshot: true });
  expect(told(cause)).toEqual(['none-found', null]);
  expect(cause.statement).toMatch(LEFT_OUT);
});

describe('nothing is said of the state', () => {
  it.each([
    ['where it is stored', { taken: 100, stores: 'all' as const, snapshot: true }],
    ['at the first step of a run that counts from 0', { taken: 0, from: 0 }],
    ['at the first step of one that counts from 1', { taken: 0, from: 1 }],
    ['of an optimizer that keeps none', { taken: 100, optimizer: 'sgd' }],
  ])('%s', async (_, made) => {
    const { statement, trigger } = await causeOf(made);
    expect(trigger).not.toBe('optimizer-state');
    expect(statement).not.toMatch(/state of the optimizer|had taken no step/);
  });
});
