/** A replay without a rule is the unclipped step that is measured anyway: taken over or measured again, it says the same. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { follow } from '../../src/experiment/replay/follow.ts';
import { prepareReplay } from '../../src/experiment/replay/from-capture.ts';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { createTrack, type Track } from '../../src/experiment/replay/track.ts';
import { openCapture } from '../../src/read/captures/read.ts';
import { NO_CLIPPING } from '../../src/step/rules/choice.ts';
import { projectRoot } from '../support/shared-data.ts';

const tells = (track: Track) => ({
  minClipFactor: track.minClipFactor,
  updateNorm: track.updateNorm,
  kept: track.kept,
  cosine: track.cosine,
  engaged: track.engaged,
  bottleneck: track.bottleneck(),
  tensors: track.tensors(3),
  ownMembers: track.ownMembers(),
  finite: track.finite(),
});

it.each(['incident/capture', 'captures/nan', 'captures/embedding', 'captures/micro-divergence'])(
  '%s',
  async (name) => {
    const capture = await openCapture(join(projectRoot, 'fixtures', name));
    const precision = 'float32';
    const prepared = await prepareReplay(capture, precision, null);
    const { optimizers } = prepared.setup;
    const track = (): Track =>
      createTrack(createStepper({ rule: NO_CLIPPING, optimizers, precision }), 1, prepared, capture);
    const [taken, measured, doubled] = [track(), track(), track()];
    const unclipped = createStepper({ rule: NO_CLIPPING, optimizers, precision });
    await follow(capture, prepared, {
      precision,
      visit: (_, step, tensors) => {
        const dry = measured.dryStep(step, tensors);
        const record = unclipped.step(tensors, step.gradients, step.learningRates, true, {
          unclipped: (t, what) => dry.tensor(t, what),
        });
        dry.end();
        taken.take(record);
        doubled.take({ ...record, updateNorm: 2 * record.updateNorm });
      },
    });
    expect(taken.updateNorm.length).toBeGreaterThan(3);
    expect(tells(taken)).toEqual(tells(measured));
    // The control: what is handed over is what is told.
    expect(tells(doubled)).not.toEqual(tells(measured));
  },
);

it('the update of each tensor is its share of the whole', async () => {
  for (const name of ['incident/capture', 'captures/embedding']) {
    const capture = await openCapture(join(projectRoot, 'fixtures', name));
    const prepared = await prepareReplay(capture, 'float32', null);
    const { recorded } = await follow(capture, prepared, { precision: 'float32', visit: () => {} });
    expect(recorded.length).toBeGreaterThan(3);
    for (const { updateNorm, updateNorms } of recorded) {
      expect(updateNorms).toHaveLength(prepared.tensors.length);
      expect(Math.hypot(...updateNorms)).toBeCloseTo(updateNorm, 6);
      expect(Math.max(...updateNorms)).toBeLessThanOrEqual(updateNorm);
    }
    // One buffer for all steps would tell the last of them at each.
    expect(recorded[0]!.updateNorms).not.toEqual(recorded.at(-1)!.updateNorms);
  }
});
