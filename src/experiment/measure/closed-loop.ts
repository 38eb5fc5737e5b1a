/** Closed-loop replay of a capture with its model, with a state file that survives an interruption. */
import { createHash, type Hash } from 'node:crypto';
import { join } from 'node:path';
import type { Batch } from '../../differentiate/autodiff/objective.ts';
import type { MatchedObjective, OpenOptions } from '../../differentiate/autodiff/open-objective.ts';
import { diagError } from '../../model/errors.ts';
import type { TrainingMatrix } from '../../model/matrix.ts';
import { removeFile, writeFileAtomic } from '../../read/bytes/atomic-write.ts';
import { readChunks } from '../../read/bytes/chunks.ts';
import { kindOfPath, openFile, readText } from '../../read/bytes/source.ts';
import type { Capture } from '../../read/captures/read.ts';
import type { RuleChoice } from '../../step/rules/choice.ts';
import {
  type ClosedLoopResult,
  type ClosedLoopState,
  replayClosedLoop,
  type TrainingOptions,
} from '../replay/closed-loop.ts';
import { trainMatrix } from '../replay/matrix.ts';
import { captureBatch, openCaptureModel } from './point.ts';

export interface ClosedLoopRun extends OpenOptions {
  readonly rules: readonly RuleChoice[];
  /** Instead of the model that the capture names. */
  readonly model?: string;
  readonly steps?: number;
  readonly learningRateMultipliers?: readonly number[];
  /** File that keeps the state; if it is there, the training goes on from it. Removed at the end. */
  readonly stateFile?: string;
  /** Milliseconds between two writes of the state. Default 5,000; what a kill loses at most. */
  readonly interval?: number;
  /** Milliseconds now. */
  clock(): number;
  progress?(done: number, total: number): void;
}

/**
 * Replays a capture in closed loop.
 *
 * @throws capture-without-model, batch-empty, closed-loop-state (the file belongs to another replay), what the model throws
 */
export function runClosedLoop(capture: Capture, options: ClosedLoopRun): Promise<ClosedLoopResult> {
  const { rules, learningRateMultipliers = [1] } = options;
  return trainOn(capture, options, [], (training) =>
    replayClosedLoop({ ...training, rules, learningRateMultipliers }),
  );
}

/**
 * Trains each rule at each learning rate, with the recorded batches in several orders.
 *
 * @param seeds 0 is the recorded order of the batches
 * @throws as {@link runClosedLoop}
 */
export function runMatrix(
  capture: Capture,
  options: ClosedLoopRun & {
    readonly seeds: readonly number[];
    /** Where no backend is named: a faster way to the same losses and gradients, within rounding. */
    readonly faster?: (model: MatchedObjective) => MatchedObjective;
  },
): Promise<TrainingMatrix> {
  const { rules, seeds, learningRateMultipliers = [1] } = options;
  return trainOn(
    capture,
    options,
    ['matrix', seeds],
    (training) => trainMatrix({ ...training, rules, seeds, learningRateMultipliers }),
    options.backend === undefined ? options.faster : undefined,
  );
}

/** Opens the model, goes on from the state file and keeps it up; `more` distinguishes this training from others of its options. */
async function trainOn<T>(
  capture: Capture,
  options: ClosedLoopRun,
  more: readonly unknown[],
  train: (training: TrainingOptions) => Promise<T>,
  faster = (model: MatchedObjective): MatchedObjective => model,
): Promise<T> {
  const { stateFile, interval = 5000 } = options;
  const model = faster(await openCaptureModel(capture, options.model, options));
  const key =
    stateFile === undefined ? '' : await keyOf(capture, options, [model.objective.backend, ...more]);
  const resume = stateFile === undefined ? undefined : await readState(stateFile, key);
  // The first step writes: a place that cannot be written to shows before hours of work.
  let written = Number.NEGATIVE_INFINITY;
  try {
    const result = await train({
      capture,
      model,
      batch: keptBatches(capture),
      ...(options.steps === undefined ? {} : { steps: options.steps }),
      ...(resume === undefined ? {} : { resume }),
      ...(options.progress === undefined ? {} : { progress: options.progress }),
      checkpoint: async (state) => {
        if (stateFile === undefined || options.clock() - written < interval) return;
        const text = JSON.stringify(state(), encode);
        await writeFileAtomic(stateFile, `${JSON.stringify({ key, sha256: sha256(text) })}\n${text}`);
        written = options.clock();
      },
    });
    if (stateFile !== undefined) await removeFile(stateFile);
    return result;
  } finally {
    await model.objective.close();
  }
}

/** Bytes of batches that are kept: each run takes all of them again. */
const KEPT_BYTES = 256 * 2 ** 20;

/** Reads the batch of a step, the first ones once. */
function keptBatches(capture: Capture): TrainingOptions['batch'] {
  const kept = new Map<number, Batch>();
  let room = KEPT_BYTES;
  return async (index) => {
    const found = kept.get(index);
    if (found !== undefined) return found;
    const batch = await captureBatch(capture, index);
    for (const { data } of batch.values()) room -= data.byteLength;
    if (room >= 0) kept.set(index, batch);
    return batch;
  };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Form of the state: a file that another version wrote in another form is of another replay. */
const STATE_FORM = 2;

/** What a state belongs to: every file that the training reads, and what was asked for. */
async function keyOf(capture: Capture, options: ClosedLoopRun, more: readonly unknown[]): Promise<string> {
  const { path, manifest, steps } = capture;
  const asked = [
    STATE_FORM,
    options.rules.map((rule) => rule.label),
    options.learningRateMultipliers ?? [1],
    options.steps ?? null,
    ...more,
  ];
  const hash = createHash('sha256').update(JSON.stringify(asked));
  const files = ['capture.json', 'initial.safetensors', ...steps.map(({ file }) => file)];
  for (const file of [...files.map((name) => join(path, name)), options.model ?? join(path, manifest.model!)])
    await hashFile(file, hash);
  return hash.digest('hex');
}

async function hashFile(path: string, hash: Hash): Promise<void> {
  const source = await openFile(path);
  try {
    for await (const chunk of readChunks(source)) hash.update(chunk);
  } finally {
    await source.close();
  }
}

async function readState(path: string, key: string): Promise<ClosedLoopState | undefined> {
  if ((await kindOfPath(path)) === 'missing') return undefined;
  const text = await readText(path).catch((error: unknown) => {
    throw diagError('closed-loop-state', { problem: (error as Error).message }, { path }, error);
  });
  const fail = (problem: string) => diagError('closed-loop-state', { problem }, { path });
  const end = text.indexOf('\n');
  const state = text.slice(end + 1);
  const found = headerOf(text.slice(0, Math.max(end, 0)));
  if (typeof found?.key !== 'string') throw fail('it is no state of a replay');
  if (found.key !== key)
    throw fail('it belongs to another replay: the capture, the model, the rules or the flags are others');
  if (found.sha256 !== sha256(state)) throw fail('it is damaged');
  return JSON.parse(state, decode) as ClosedLoopState;
}

function headerOf(line: string): { readonly key?: unknown; readonly sha256?: unknown } | null {
  try {
    return JSON.parse(line) as ReturnType<typeof headerOf>;
  } catch {
    return null;
  }
}

const encode = (_key: string, value: unknown): unknown =>
  value instanceof Float32Array
    ? { float32: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') }
    : typeof value === 'number' && !Number.isFinite(value)
      ? { number: String(value) }
      : value;

const decode = (_key: string, value: { float32?: string; number?: string } | null): unknown => {
  if (typeof value?.float32 === 'string') {
    const bytes = Buffer.from(value.float32, 'base64');
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  }
  return typeof value?.number === 'string' ? Number(value.number) : value;
};
