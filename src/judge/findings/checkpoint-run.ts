/** The checkpoints of one run in order, and what several findings need to know of them. */

import type { InspectedCheckpoint, InspectedTensor } from '../../model/checkpoint.ts';
import type { Finding } from '../../model/finding.ts';
import { counted } from '../../model/format-number.ts';

/** Checkpoints of one run: by step, or by name where one has no step. */
export type CheckpointRun = readonly InspectedCheckpoint[];

function inOrder(checkpoints: readonly InspectedCheckpoint[]): CheckpointRun {
  // `ckpt-9` comes before `ckpt-10`. Made here: its rules take 7 ms to load, and most runs have no checkpoints.
  const byName = new Intl.Collator('en', { numeric: true }).compare;
  const bySteps = checkpoints.every(({ step }) => step !== null);
  return [...checkpoints].sort((a, b) => (bySteps ? a.step! - b.step! : 0) || byName(a.path, b.path));
}

/**
 * Sorts checkpoints into runs: those whose parameters (or, without any, whose tensors) have the same names and
 * shapes. Files without weights are left out.
 */
export function checkpointRuns(checkpoints: readonly InspectedCheckpoint[]): CheckpointRun[] {
  const runs = new Map<string, InspectedCheckpoint[]>();
  for (const checkpoint of checkpoints) {
    if (checkpoint.withoutWeights !== undefined || checkpoint.tensors.length === 0) continue;
    const parameters = checkpoint.tensors.filter(({ role }) => role === 'parameter');
    const key = JSON.stringify(
      (parameters.length > 0 ? parameters : checkpoint.tensors)
        .map(({ name, shape }) => [name, shape])
        .sort(),
    );
    runs.set(key, [...(runs.get(key) ?? []), checkpoint]);
  }
  return [...runs.values()].map(inOrder);
}

/** Entries that are not finite; null of a tensor whose values were not read. */
export const nonFiniteOf = ({ nan, posInf, negInf }: InspectedTensor): number | null =>
  nan === undefined || posInf === undefined || negInf === undefined ? null : nan + posInf + negInf;

export const isTrained = ({ role }: InspectedTensor): boolean =>
  role === 'parameter' || role === 'optimizer_state';

/** Whether a tensor that training goes on from is known to hold a value that is not finite. */
export const isBroken = ({ tensors }: InspectedCheckpoint): boolean =>
  tensors.some((tensor) => isTrained(tensor) && (nonFiniteOf(tensor) ?? 0) > 0);

/** Whether every tensor that training goes on from was read and is finite. */
export const isWhole = ({ tensors }: InspectedCheckpoint): boolean =>
  tensors.every((tensor) => !isTrained(tensor) || nonFiniteOf(tensor) === 0);

/** How the norm of all parameters grew. */
export interface Growth {
  readonly ratio: number;
  /** The tensor with most of the growth, its share of it, and by how much its own norm grew; null where none grew. */
  readonly most: { readonly tensor: InspectedTensor; readonly share: number; readonly ratio: number } | null;
}

/**
 * Growth of the norm of all parameters between two checkpoints, over the finite entries of the tensors that were read
 * in both; null where there is none to grow from.
 */
export function growthBetween(before: InspectedCheckpoint, now: InspectedCheckpoint): Growth | null {
  const old = new Map(before.tensors.map((tensor) => [tensor.name, tensor.norm]));
  let was = 0;
  let is = 0;
  let most: { tensor: InspectedTensor; more: number; ratio: number } | null = null;
  for (const tensor of now.tensors) {
    const { name, role, norm } = tensor;
    const first = old.get(name);
    if (role !== 'parameter' || norm === undefined || first === undefined) continue;
    was += first * first;
    is += norm * norm;
    const more = norm * norm - first * first;
    if (more > (most?.more ?? 0)) most = { tensor, more, ratio: norm / first };
  }
  if (!(was > 0)) return null;
  return {
    ratio: Math.sqrt(is / was),
    most: most === null ? null : { tensor: most.tensor, share: most.more / (is - was), ratio: most.ratio },
  };
}

const label = ({ path, step }: InspectedCheckpoint): string => (step === null ? path : `step ${step}`);

/** What is found between each checkpoint and the next. */
export const betweenEach = <Found>(
  run: CheckpointRun,
  find: (before: InspectedCheckpoint, now: InspectedCheckpoint) => readonly Found[],
): Found[] => run.slice(1).flatMap((now, i) => find(run[i]!, now));

/** When something happened that a checkpoint shows and the one before does not. */
export const between = (before: InspectedCheckpoint | undefined, now: InspectedCheckpoint): string =>
  before === undefined
    ? `in the first checkpoint (${label(now)})`
    : `between ${label(before)} and ${label(now)}`;

/** The steps of two checkpoints; null where one has no step. */
export const stepsBetween = (
  before: InspectedCheckpoint | undefined,
  now: InspectedCheckpoint,
): Finding['steps'] => (before?.step != null && now.step !== null ? [before.step, now.step] : null);

/** Where tensors lie: the first five. */
export const placesOf = (path: string, tensors: readonly InspectedTensor[]): Finding['locations'] =>
  tensors.slice(0, 5).map(({ name }) => ({ path, tensor: name }));

/** The user's name of a tensor: the layer and its variable where the file has them, else its name in the file. */
export const userNameOf = ({ label, name }: InspectedTensor): string => label ?? name;

/** `"dense.weight" and 2 more tensors`. */
export const namesOf = ([first, ...more]: readonly InspectedTensor[], noun = 'tensor'): string =>
  `"${first === undefined ? '' : userNameOf(first)}"${more.length === 0 ? '' : ` and ${counted(more.length, `more ${noun}`)}`}`;
