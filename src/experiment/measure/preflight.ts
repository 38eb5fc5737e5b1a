/** The ladder of rates from a capture: its model, its batches, the optimizers and clipping that it recorded. */
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective, OpenOptions } from '../../differentiate/autodiff/open-objective.ts';
import type { Preflight } from '../../model/preflight.ts';
import { lossesBefore } from '../../read/captures/as-run.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import { incidentOfCapture } from '../replay/capture-incident.ts';
import { prepareReplay } from '../replay/from-capture.ts';
import { createStepper } from '../replay/step.ts';
import { copyTensors, type TensorState } from '../replay/tensors.ts';
import { isPreconditioned } from './curvature.ts';
import { climbLadder, type How, type Trial } from './ladder.ts';
import { captureBatch, openCaptureModel } from './point.ts';

/** Batches that losses are compared on and that steps are taken on, at least. */
const LEAST = 8;
/** Steps between an incident's onset and the last batch that is used. */
const MARGIN = 1;

interface PreflightOptions extends OpenOptions {
  /** Instead of the model that the capture names. */
  readonly model?: string;
  /** In place of the recorded learning rate of the first step. */
  readonly rate?: number;
  readonly seconds: number;
  readonly rules: readonly RuleChoice[];
  clock(): number;
}

/**
 * Which learning rate the training of a capture is stable at, from its first recorded state.
 *
 * @throws model-untrusted, batch-empty, what the model throws
 */
export async function preflightCapture(capture: Capture, options: PreflightOptions): Promise<Preflight> {
  const asked = options.rate ?? Math.max(...capture.steps[0]!.learningRates);
  const { onset } = incidentOfCapture(capture);
  const usable = onset === null ? capture.steps.length : Math.max(0, onset - MARGIN);
  const impossible = await whyNot(capture, options, asked);
  if (impossible !== null) return untold(asked, impossible);
  const model = await openCaptureModel(capture, options.model, options);
  try {
    if (usable < 2 * LEAST)
      return untold(
        asked,
        `The capture has ${usable} batches before its incident, and ${2 * LEAST} are needed: record with snapshot_every_steps=40.`,
      );
    const trial = await trialOf(capture, model, usable, asked);
    const [untrained] = capture.steps[0]!.step <= 1 ? [] : lossesBefore(capture);
    return await climbLadder(trial, {
      seconds: options.seconds,
      rules: options.rules,
      clock: options.clock,
      ...(untrained === undefined || !Number.isFinite(untrained) ? {} : { untrained }),
    });
  } finally {
    await model.objective.close();
  }
}

/** Why no step can be taken from a capture, with what to record; null where one can. */
async function whyNot(capture: Capture, { model }: PreflightOptions, asked: number): Promise<string | null> {
  const { manifest } = capture;
  if (model === undefined && manifest.model === null)
    return 'The capture names no model: give --model, or call clippy_diag.preflight(model, optimizer, batches) in Python.';
  const unknown = manifest.optimizers.find(({ formula }) => !formula);
  if (unknown !== undefined)
    return `Steps of ${unknown.name} have no formula here: call clippy_diag.preflight(model, optimizer, batches) in Python.`;
  if ((await capture.batch(0)).size === 0)
    return 'The capture has no batches: record with batches=True, or pass batch= to record.';
  return asked > 0 ? null : 'The recorded learning rate is 0: give the rate of the run with --rate.';
}

const untold = (asked: number, why: string): Preflight => ({
  asked,
  stableRate: null,
  ratio: null,
  verdict: 'cannot-tell',
  limitedBy: { kind: 'unknown', tensor: null },
  underRules: [],
  batchScaling: null,
  warmup: null,
  gradients: 0,
  seconds: 0,
  ladder: [],
  statement: `The largest stable learning rate is unknown. ${why}`,
});

/** Steps of the closed loop, from copies of the capture's first state. */
async function trialOf(
  capture: Capture,
  model: MatchedObjective,
  usable: number,
  asked: number,
): Promise<Trial<readonly TensorState[]>> {
  const { setup, tensors: initial } = await prepareReplay(capture, 'float32');
  const fixedFrom = usable - Math.max(LEAST, Math.floor(usable / 3));
  const fixed: Batch[] = [];
  for (let i = fixedFrom; i < usable; i++) fixed.push(await captureBatch(capture, i));
  const recorded = capture.steps[0]!.learningRates;
  const largest = Math.max(...recorded);
  const shares = recorded.map((rate) => (largest > 0 ? rate / largest : 1));
  let tensors = copyTensors(initial);
  let gradients = 0;
  const flat = () => model.flatten(tensors.map(({ w }) => w));
  const buffers = tensors.map(({ w }) => ({ values: new Float32Array(w.length) }));
  return {
    asked,
    adapts: isPreconditioned({ optimizers: setup.optimizers, tensors: initial }),
    get gradients() {
      return gradients;
    },
    keep: () => copyTensors(tensors),
    put(state) {
      tensors = copyTensors(state);
    },
    async train(rate, steps, first, how) {
      const rule = how.rule ?? setup.clipping;
      const stepper = createStepper({
        rule,
        optimizers: setup.optimizers,
        precision: 'float32',
        learningRateMultiplier: 1,
      });
      const rates = shares.map((share) => rate * share);
      for (let k = 0; k < steps; k++) {
        const batches = await batchesOf(capture, fixedFrom, first + k, how);
        const { loss, gradient } = await model.objective.gradient(flat(), batches);
        gradients += batches.length;
        if (!Number.isFinite(loss)) return false;
        model.unflatten(
          gradient,
          buffers.map(({ values }) => values),
        );
        const slowed = tensors.find(({ name }) => name === how.slowed?.tensor);
        const before = slowed?.w.slice();
        const { finite } = stepper.step(tensors, buffers, rates, false, undefined, loss);
        if (!finite) return false;
        for (const [i, value] of before?.entries() ?? [])
          slowed!.w[i] = value + how.slowed!.part * (slowed!.w[i]! - value);
      }
      return true;
    },
    async losses() {
      const found: number[] = [];
      const now = flat();
      for (const batch of fixed) found.push((await model.objective.loss(now, [batch])).loss);
      return found;
    },
    moved: (since) =>
      new Map(
        tensors.map(({ name, w }, t) => {
          let [square, size] = [0, 0];
          for (let i = 0; i < w.length; i++) {
            square += (w[i]! - since[t]!.w[i]!) ** 2;
            size += since[t]!.w[i]! ** 2;
          }
          return [name, Math.sqrt(square) / (Math.sqrt(size) + 1e-3 * Math.sqrt(w.length))] as const;
        }),
      ),
  };
}

/** The training batches of a step; where there are fewer they come again. */
function batchesOf(capture: Capture, count: number, step: number, { batches = 1 }: How): Promise<Batch[]> {
  return Promise.all(
    Array.from({ length: batches }, (_, j) => captureBatch(capture, (step * batches + j) % count)),
  );
}
