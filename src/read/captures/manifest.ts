/** `capture.json`: what it must hold, checked field by field, as typed values. */
import type { Layout } from '../../model/checkpoint.ts';
import { type DiagError, diagError } from '../../model/errors.ts';
import { isJsonObject, numberFromJson } from '../../model/json.ts';
import type { OptionValue } from '../../model/options.ts';
import { elementsOf, type TensorMeta } from '../../step/tensor/values.ts';
import { readStepRecord, readTraining, type StepRecord, type TrainingRecord } from './training.ts';

/**
 * Version 2 has what the Python package records: optimizers without a formula, steps without gradients, parameters that have none.
 * Version 3 adds what an audit needs of every step: options, modes, hashes of batches, checksums before and after it.
 */
export const CAPTURE_VERSIONS: readonly unknown[] = [1, 2, 3];

/** Optimizer of a parameter group, as recorded: names of options are not checked here. */
export interface RecordedOptimizer {
  readonly name: string;
  readonly learningRate: number | null;
  readonly options: Readonly<Record<string, OptionValue>>;
  /** Whether its steps can be computed; else `name` is its class, and steps hold the parameters before and after. */
  readonly formula: boolean;
}

/** A clipping rule, as recorded: id and options are not checked here. */
export interface RecordedRule {
  readonly rule: string;
  readonly options: Readonly<Record<string, OptionValue>>;
}

export interface CaptureParameter extends TensorMeta {
  readonly elements: number;
  /** Index into `optimizers`. */
  readonly group: number;
}

export interface ManifestStep {
  /** What an audit reads of it. */
  readonly record: StepRecord;
  readonly step: number;
  readonly file: string;
  /** One for each of `optimizers`. */
  readonly learningRates: readonly number[];
  readonly loss: number | null;
  readonly tasks: ReadonlyMap<string, number>;
  /** What `record(…, batch_id=)` was given. */
  readonly batchId?: number | string;
  /** Id of each row of the batch, in its order. */
  readonly rowIds?: readonly (number | string)[];
  /** What a guard made of the step before it was taken: the risk in [0, 1] that it harms the run. */
  readonly risk?: number;
  /** What the loss was multiplied by, in mixed precision. */
  readonly lossScale?: number;
  /** False where memory was too small for them: the batch is kept, from which they can be computed again. */
  readonly hasGradients: boolean;
}

/** A step that was not taken, because the loss scaler found gradients that are not finite. */
export interface SkippedStep {
  readonly step: number;
  /** Null where it was not recorded, as in version 1. */
  readonly loss: number | null;
  readonly lossScale: number | null;
  /** Parameters whose gradient was not finite. */
  readonly nonFinite: readonly string[];
}

export interface CaptureManifest {
  readonly version: 1 | 2 | 3;
  readonly training: TrainingRecord;
  readonly framework: string;
  /** Whose loop it was, such as `transformers`; null for one of the user's own. */
  readonly trainer: string | null;
  /** `optimizer`, then `groups`. */
  readonly optimizers: readonly RecordedOptimizer[];
  /** The rules that were active while recording, in the order in which they apply; empty without clipping. */
  readonly clipping: readonly RecordedRule[];
  readonly parameters: readonly CaptureParameter[];
  /** File of the model in its folder, if it names one. */
  readonly model: string | null;
  readonly steps: readonly ManifestStep[];
  /** Losses before the first recorded step. */
  readonly history: { readonly steps: readonly number[]; readonly loss: readonly number[] } | null;
  /** Steps that the loss scaler skipped, so that their absence is no gap. */
  readonly skipped: readonly number[];
  /** The same steps with what is known of them, in order. */
  readonly skips: readonly SkippedStep[];
  /** Entries computed in the user's own framework, as in a report; not checked. */
  readonly replay: readonly unknown[];
  readonly curvature: readonly unknown[];
  /** Loss of each step's batch at the first recorded state, computed with `replay`; empty without. */
  readonly batchLosses: readonly number[];
  /** Steps on whose batches harm is measured in `replay`. */
  readonly references: readonly number[];
}

const LAYOUTS: readonly string[] = ['OI', 'IO', 'OIHW', 'HWIO', 'none'] satisfies Layout[];

type Json = Readonly<Record<string, unknown>>;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * Checks a parsed `capture.json`.
 *
 * @throws capture-malformed, capture-version, capture-learning-rate
 */
export function readManifest(document: unknown, path: string): CaptureManifest {
  const fail: Fail = (problem) => diagError('capture-malformed', { problem }, { path });
  if (!isJsonObject(document)) throw fail('it is no JSON object');
  if (!CAPTURE_VERSIONS.includes(document.version))
    throw diagError(
      'capture-version',
      { found: String(document.version ?? 'none'), known: CAPTURE_VERSIONS.join(', ') },
      { path },
    );
  if (!isJsonObject(document.optimizer)) throw fail('"optimizer" is missing');
  // An optimizer that holds frozen parameters only has none to record: what the model has besides is known then.
  const isFrozen = Array.isArray(document.allParameters) && document.allParameters.length > 0;
  if (!Array.isArray(document.parameters) || (document.parameters.length === 0 && !isFrozen))
    throw fail('"parameters" is missing or empty');
  if (!Array.isArray(document.steps) || document.steps.length === 0)
    throw fail('"steps" is missing or empty');

  const optimizers = [
    readOptimizer(document.optimizer, '"optimizer"', fail),
    ...(Array.isArray(document.groups) ? document.groups : []).map((group, k) =>
      readOptimizer(group, `group ${k}`, fail),
    ),
  ];

  const names = new Set<string>();
  const parameters = document.parameters.map((value: unknown, k) => {
    const name = nameOfParameter(value, k, fail);
    if (names.has(name)) throw fail(`parameter "${name}" is listed twice`);
    names.add(name);
    return readParameter(value as Json, name, optimizers.length, fail);
  });
  let before = Number.NEGATIVE_INFINITY;
  const steps = document.steps.map((value: unknown, k) => {
    if (!isJsonObject(value) || !Number.isSafeInteger(value.step))
      throw fail(`entry ${k} of "steps" has no "step"`);
    const step = value.step as number;
    if (step <= before) throw fail(`step ${step} is listed after step ${before}`);
    before = step;
    return readStep(value, step, optimizers, fail, path);
  });
  const skipped = skipsOf(document);
  return {
    version: document.version as 1 | 2 | 3,
    training: readTraining(document),
    framework: typeof document.framework === 'string' ? document.framework : 'unknown',
    trainer: typeof document.trainer === 'string' ? document.trainer : null,
    optimizers,
    clipping: readClipping(document.clipping, fail),
    parameters,
    model: typeof document.model === 'string' ? document.model : null,
    steps,
    history: historyOf(document.history, fail),
    skipped: skipped.map(({ step }) => step),
    skips: skipped,
    replay: Array.isArray(document.replay) ? document.replay : [],
    curvature: Array.isArray(document.curvature) ? document.curvature : [],
    batchLosses: Array.isArray(document.batchLosses)
      ? document.batchLosses.map((loss) => numberFromJson(loss) ?? Number.NaN)
      : [],
    references: Array.isArray(document.references) ? document.references.filter(Number.isSafeInteger) : [],
  };
}

type Fail = (problem: string) => DiagError;

function readOptimizer(value: unknown, where: string, fail: Fail): RecordedOptimizer {
  if (!isJsonObject(value) || typeof value.name !== 'string') throw fail(`${where} has no "name"`);
  const { name, learningRate, betas, formula, ...rest } = value;
  // PyTorch users write the pair as PyTorch does.
  const pair = Array.isArray(betas) ? { beta1: betas[0], beta2: betas[1] } : {};
  return {
    name: name as string,
    learningRate: rateOf(learningRate, `${where}: "learningRate"`, fail) ?? null,
    options: readOptions({ ...pair, ...rest }, where, fail),
    formula: formula !== false,
  };
}

function rateOf(value: unknown, where: string, fail: Fail): number | undefined {
  if (value === undefined || value === null) return undefined;
  const rate = numberFromJson(value);
  // NaN and infinities are what broke the run: they are read as they were recorded.
  if (rate === undefined || rate < 0) throw fail(`${where} is ${String(value)}, not a number ≥ 0`);
  return rate;
}

function nameOfParameter(value: unknown, k: number, fail: Fail): string {
  if (!isJsonObject(value) || typeof value.name !== 'string') throw fail(`parameter ${k} has no "name"`);
  return value.name;
}

/** @param optimizers how many there are, that of no group among them */
function readParameter(
  { shape, layout = 'none', embedding = false, group }: Json,
  name: string,
  optimizers: number,
  fail: Fail,
): CaptureParameter {
  if (!Array.isArray(shape) || !shape.every(isCount)) throw fail(`parameter "${name}" has no shape`);
  const elements = elementsOf(shape);
  if (!Number.isSafeInteger(elements)) throw fail(`parameter "${name}" has ${elements} entries`);
  if (!LAYOUTS.includes(layout as string))
    throw fail(`parameter "${name}" has layout "${String(layout)}"; known are ${LAYOUTS.join(', ')}`);
  if (typeof embedding !== 'boolean') throw fail(`parameter "${name}": "embedding" is no flag`);
  // 0 is the first of `groups`; parameters of the main optimizer name none.
  const index = group === undefined || group === null ? 0 : isCount(group) ? group + 1 : -1;
  if (!(index >= 0 && index < optimizers))
    throw fail(`parameter "${name}" is in group ${String(group)}, of ${optimizers - 1}`);
  return { name, shape, layout: layout as Layout, embedding, elements, group: index };
}

function readStep(
  value: Json,
  step: number,
  optimizers: readonly RecordedOptimizer[],
  fail: Fail,
  path: string,
): ManifestStep {
  if (typeof value.file !== 'string') throw fail(`step ${step} has no "file"`);
  const others = Array.isArray(value.groupLearningRates) ? (value.groupLearningRates as unknown[]) : [];
  const learningRates = optimizers.map((recorded, k) => {
    const own = k === 0 ? value.learningRate : others[k - 1];
    const rate = rateOf(own, `the learning rate of step ${step}`, fail) ?? recorded.learningRate;
    const group = k === 0 ? 'the optimizer' : `group ${k - 1}`;
    if (rate === null) throw diagError('capture-learning-rate', { step, group }, { path });
    return rate;
  });
  const tasks = isJsonObject(value.tasks) ? Object.entries(value.tasks) : [];
  return {
    step,
    file: value.file,
    learningRates,
    loss: numberFromJson(value.loss) ?? null,
    ...batchIdOf(value),
    ...(isJsonObject(value.guard) && isRisk(value.guard.risk) ? { risk: value.guard.risk } : {}),
    ...(typeof value.scale === 'number' && value.scale > 0 ? { lossScale: value.scale } : {}),
    tasks: new Map(tasks.map(([task, loss]) => [task, numberFromJson(loss) ?? Number.NaN])),
    hasGradients: value.gradients !== false,
    record: readStepRecord(value),
  };
}

const isId = (value: unknown): value is number | string =>
  typeof value === 'string' || Number.isFinite(value);

/** One id for the batch, or a list with one for each row. */
const batchIdOf = ({ batchId }: Json): Pick<ManifestStep, 'batchId' | 'rowIds'> => {
  if (isId(batchId)) return { batchId };
  return Array.isArray(batchId) && batchId.length > 0 && batchId.every(isId) ? { rowIds: batchId } : {};
};

/** Skipped steps in order, each once: those of `skips`, and of `skipped` what it does not name. */
function skipsOf({ skipped, skips }: Json): SkippedStep[] {
  const known = new Map<number, SkippedStep>();
  for (const step of Array.isArray(skipped) ? skipped : [])
    if (Number.isSafeInteger(step)) known.set(step, { step, loss: null, lossScale: null, nonFinite: [] });
  for (const value of Array.isArray(skips) ? skips : []) {
    if (!isJsonObject(value) || !Number.isSafeInteger(value.step)) continue;
    const { nonFinite } = value;
    known.set(value.step as number, {
      step: value.step as number,
      loss: numberFromJson(value.loss) ?? null,
      lossScale: numberFromJson(value.scale) ?? null,
      nonFinite: Array.isArray(nonFinite) ? nonFinite.filter((name) => typeof name === 'string') : [],
    });
  }
  return [...known.values()].sort((a, b) => a.step - b.step);
}

const isRisk = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 1;

/** Options by name; null means the default. */
function readOptions(given: Json, where: string, fail: Fail): Record<string, OptionValue> {
  const options: Record<string, OptionValue> = {};
  for (const [key, value] of Object.entries(given)) {
    const plain = numberFromJson(value) ?? value;
    if (plain === null) continue;
    if (typeof plain === 'object') throw fail(`${where}: "${key}" is not a number, text or flag`);
    options[key] = plain as OptionValue;
  }
  return options;
}

/** One rule, or a list of rules that apply one after the other. */
function readClipping(value: unknown, fail: Fail): RecordedRule[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : value == null ? [] : [value];
  return list.flatMap((one, k): RecordedRule[] => {
    const where = Array.isArray(value) ? `entry ${k} of "clipping"` : '"clipping"';
    if (!isJsonObject(one)) throw fail(`${where} is no object with a "rule"`);
    const { rule, ...options } = one;
    if (rule === undefined && Object.keys(options).length === 0) return [];
    if (typeof rule !== 'string') throw fail(`${where} has no "rule"`);
    return [{ rule, options: readOptions(options, where, fail) }];
  });
}

function historyOf(value: unknown, fail: Fail): CaptureManifest['history'] {
  if (value === undefined || value === null) return null;
  if (!isJsonObject(value) || !Array.isArray(value.steps) || !Array.isArray(value.loss))
    throw fail('"history" has no "steps" and "loss"');
  if (value.steps.length !== value.loss.length)
    throw fail(`"history" has ${value.steps.length} steps and ${value.loss.length} losses`);
  if (!value.steps.every(Number.isSafeInteger)) throw fail('a step of "history" is no whole number');
  return {
    steps: value.steps as number[],
    loss: value.loss.map((loss) => numberFromJson(loss) ?? Number.NaN),
  };
}
