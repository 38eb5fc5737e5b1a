/** What `inspect` says about a checkpoint: its tensors with their statistics and what is odd about them. */
import { dirname } from 'node:path';
import type {
  Checkpoint,
  InspectedCheckpoint,
  InspectedTensor,
  TensorFlag,
  TensorInfo,
  TensorStatistics,
} from '../../model/checkpoint.ts';
import { DiagError } from '../../model/errors.ts';
import type { LossReason } from '../../model/log.ts';
import { type OwnerCandidate, ownersOf } from '../../read/checkpoints/optimizer-owners.ts';
import { type CheckpointFile, checkpointFile } from '../../read/checkpoints/registry.ts';
import { tensorStatistics } from '../../read/checkpoints/statistics.ts';
import { lossReasonOf } from '../../read/checkpoints/stored-bytes.ts';

/**
 * A parameter, gradient or first moment with an entry beyond this is called exploding, an accumulator of squares
 * beyond its square. Ours: half precision ends at 65,504, and weights of trained networks stay far below.
 */
const EXPLODING = 1e4;

const SQUARES = new Set(['accumulator', 'v', 'v_max']);

/**
 * Opens a checkpoint and streams its tensors.
 *
 * A tensor that cannot be read is listed without statistics, and its error is recorded.
 *
 * @param listOnly read the headers only
 * @param others the other inputs; an optimizer that was saved alone takes its parameters' names from those in its folder
 * @throws what opening throws
 */
export async function inspectCheckpoint(
  path: string,
  listOnly = false,
  others: readonly string[] = [],
): Promise<InspectedCheckpoint> {
  const file = checkpointFile(path);
  const files = others.map((other) => checkpointFile(other));
  try {
    return await inspectFile(file, listOnly, files);
  } finally {
    for (const one of [file, ...files]) await one.close();
  }
}

/** Called with the number of entries of a checkpoint that have been read, from 0 on. */
export type OnEntries = (path: string, done: number, total: number) => void;

/** As {@link inspectCheckpoint}, of a checkpoint that others look at too; it stays open. */
export async function inspectFile(
  file: CheckpointFile,
  listOnly: boolean,
  others: readonly CheckpointFile[],
  onEntries?: OnEntries,
): Promise<InspectedCheckpoint> {
  const checkpoint = await file.open();
  const owners = await ownersBeside(checkpoint, others);
  const errors = [...checkpoint.errors];
  const unreadable = new Map<string, LossReason>();
  const tensors: InspectedTensor[] = [];
  const total = checkpoint.tensors.reduce((sum, { elements }) => sum + elements, 0);
  let done = 0;
  const told = (count: number): void => {
    done += count;
    onEntries?.(file.path, done, total);
  };
  if (!listOnly) told(0);
  for (const stored of checkpoint.tensors) {
    const parameter = owners.get(stored.name);
    const info = parameter === undefined ? stored : { ...stored, parameter };
    if (listOnly) {
      tensors.push({ ...info, flags: [] });
      continue;
    }
    try {
      const { count, ...statistics } = await tensorStatistics(checkpoint, info.name, told);
      tensors.push({ ...info, ...statistics, flags: flagsOf(info, statistics, count) });
    } catch (error) {
      if (!(error instanceof DiagError)) throw error;
      errors.push({ ...error.toRecord(), tensor: info.name });
      unreadable.set(info.name, lossReasonOf(error.code));
      tensors.push({ ...info, flags: [] });
    }
  }
  try {
    if (!listOnly) await checkpoint.verify?.();
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    errors.push(error.toRecord());
  }
  return {
    path: file.path,
    kind: 'checkpoint',
    format: checkpoint.format,
    framework: checkpoint.framework,
    step: checkpoint.step,
    ...(checkpoint.withoutWeights === undefined ? {} : { withoutWeights: checkpoint.withoutWeights }),
    metadata: checkpoint.metadata,
    errors,
    account: await checkpoint.account(unreadable),
    tensors,
  };
}

/** Names for an optimizer that was saved alone, from the weights in its folder (`pytorch_model.bin` for `optimizer.pt`). */
async function ownersBeside(
  { path, unnamedOptimizers = [] }: Checkpoint,
  others: readonly CheckpointFile[],
): Promise<ReadonlyMap<string, string>> {
  if (unnamedOptimizers.length === 0) return new Map();
  const candidates: OwnerCandidate[] = [];
  for (const other of others.filter((one) => one.path !== path && dirname(one.path) === dirname(path)))
    try {
      const { stateDicts, tensors } = await other.open();
      if (tensors.some(({ role }) => role === 'optimizer_state')) continue;
      if (stateDicts === undefined)
        candidates.push({ parameters: tensors.filter(({ role }) => role === 'parameter'), ordered: false });
      else candidates.push(...stateDicts.map((parameters) => ({ parameters, ordered: true })));
    } catch (error) {
      // Reported where that file itself is inspected.
      if (!(error instanceof DiagError)) throw error;
    }
  return new Map(unnamedOptimizers.flatMap((optimizer) => [...ownersOf(optimizer, candidates)]));
}

function flagsOf(info: TensorInfo, statistics: Omit<TensorStatistics, 'count'>, count: number): TensorFlag[] {
  const { min, max, nan, posInf, negInf } = statistics;
  const finite = nan + posInf + negInf === 0;
  const flags: TensorFlag[] = finite ? [] : ['non-finite'];
  if (min === null || max === null) return flags;
  if (finite && min === 0 && max === 0) flags.push('all-zero');
  else if (finite && min === max && count > 1) flags.push('constant');
  const limit = SQUARES.has(info.slot ?? '') ? EXPLODING ** 2 : EXPLODING;
  const counted = info.role !== 'buffer' && info.slot !== 'step';
  if (counted && Math.max(Math.abs(min), Math.abs(max)) > limit) flags.push('exploding');
  return flags;
}

/** The layer that a tensor belongs to: its name without the last part (`encoder.0.weight` → `encoder.0`). */
export const layerOf = (name: string): string => /^(.*)[./][^./]+$/s.exec(name)?.[1] ?? name;
