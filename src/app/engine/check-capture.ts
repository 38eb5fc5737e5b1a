/** What a capture allows, before it is needed: the answer to a drill. */

import { replayCapture } from '../../experiment/replay/replay.ts';
import { DiagError, diagError, reasonOf } from '../../model/errors.ts';
import type { CaptureCheck } from '../../model/inspection.ts';
import { isProgram } from '../../model/program.ts';
import { type Capture, openCapture } from '../../read/captures/read.ts';
import { type RecorderStatus, recorderStatus } from '../../read/captures/status.ts';

/**
 * Checks a capture: that it is whole, that the rebuilt run follows the recorded one, and what can be done with it.
 *
 * @throws what opening it throws
 */
export async function checkCapture(path: string): Promise<readonly CaptureCheck[]> {
  const capture = await openCapture(path);
  return [
    whole(capture),
    await follows(capture),
    finite(capture),
    await batches(capture),
    clipping(capture),
    ...(await recorder(capture)),
  ];
}

function whole({ steps, errors }: Capture): CaptureCheck {
  const range = `${steps.length} steps, ${steps[0]!.step} to ${steps.at(-1)!.step}`;
  return errors.length === 0
    ? { id: 'whole', ok: true, message: `${range}, all files whole` }
    : { id: 'whole', ok: false, message: `${range}; ${errors.map(({ message }) => message).join('; ')}` };
}

async function follows(capture: Capture): Promise<CaptureCheck> {
  const without = capture.manifest.optimizers.find(({ formula }) => !formula);
  if (without !== undefined)
    return {
      id: 'follows',
      ok: null,
      message: `the steps of ${without.name} have no formula: rules on gradients are exact, closed loops run in your own model`,
    };
  try {
    const { findings, snapshots } = await replayCapture(capture, { mode: 'as-recorded', rules: [] });
    const [missed] = findings;
    if (missed !== undefined) return { id: 'follows', ok: false, message: missed.message };
    return snapshots === 0
      ? { id: 'follows', ok: null, message: 'no snapshot of parameters to hold the rebuilt run against' }
      : { id: 'follows', ok: true, message: `the rebuilt parameters meet ${snapshots} snapshots` };
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    return {
      id: 'follows',
      ok: error.code === 'capture-gradients-missing' ? null : false,
      message: reasonOf(error),
    };
  }
}

function finite({ steps, manifest }: Capture): CaptureCheck {
  // Of a step that was skipped the loss may not be recorded.
  const skipped = manifest.skips.filter(({ loss }) => loss !== null);
  const broken = [...steps, ...skipped]
    .sort((a, b) => a.step - b.step)
    .filter(({ loss }) => loss === null || !Number.isFinite(loss));
  return broken.length === 0
    ? { id: 'finite', ok: true, message: 'all losses are finite' }
    : {
        id: 'finite',
        ok: null,
        message: `${broken.length} losses are not finite, from step ${broken[0]!.step} on`,
      };
}

async function batches(capture: Capture): Promise<CaptureCheck> {
  const { size } = await capture.batch(0);
  if (size === 0)
    return {
      id: 'batches',
      ok: null,
      message: 'no batches: no closed loop is possible (batches=True keeps them)',
    };
  const { model } = capture.manifest;
  if (model !== null && isProgram(model))
    return {
      id: 'batches',
      ok: null,
      message: `${size} batch tensors a step: closed loops are possible in your own model, and here once you have looked at ${model} and name it (${reasonOf(diagError('model-untrusted', { path: model }))})`,
    };
  return {
    id: 'batches',
    ok: true,
    message:
      model === null
        ? `${size} batch tensors a step: closed loops are possible in your own model (docs/recorders.md)`
        : `${size} batch tensors a step and a model: closed loops are possible here and in your own model`,
  };
}

function clipping({ manifest }: Capture): CaptureCheck {
  const rules = manifest.clipping.map(({ rule, options }) => [rule, ...Object.values(options)].join(':'));
  return {
    id: 'clipping',
    ok: null,
    message:
      rules.length === 0 || rules.join() === 'none'
        ? 'no clipping while recording: if the loop clips, say so to the recorder'
        : `clipping while recording: ${rules.join(', then ')}`,
  };
}

/** What the recorder of the Python package could not do, as its status.json has it. */
async function recorder({ path }: Capture): Promise<CaptureCheck[]> {
  let status: RecorderStatus | null;
  try {
    status = await recorderStatus(path);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return [{ id: 'recorder', ok: false, message: 'status.json is no JSON: it was cut or overwritten' }];
  }
  if (status === null) return [];
  const said = [...(status.stopped === null ? [] : [`stopped: ${status.stopped}`]), ...status.problems];
  return [
    said.length === 0
      ? { id: 'recorder', ok: true, message: 'the recorder has nothing to complain of' }
      : { id: 'recorder', ok: false, message: said.join('; ') },
  ];
}
