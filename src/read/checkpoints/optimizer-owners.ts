/**
 * Which parameter each tensor of a PyTorch optimizer belongs to. The optimizer saves numbers, in the order of its
 * groups; the names are those of a state_dict in the same file or in another one of its folder.
 *
 * Source: torch/optim/optimizer.py (`state_dict`).
 */
import type { SavedOptimizer, TensorInfo } from '../../model/checkpoint.ts';

/** Parameters that an optimizer may have been given. */
export interface OwnerCandidate {
  readonly parameters: readonly TensorInfo[];
  /** Whether they are in the order of `model.parameters()`; safetensors sorts its tensors. */
  readonly ordered: boolean;
}

const AVERAGED = /(?:^|[._/])(?:\w{0,64}ema|shadow|swa|target)\w{0,64}[._/]/i;

/**
 * The parameter of each tensor, by the tensor's name; what is not certain is left out.
 *
 * A candidate has as many parameters as the optimizer, with the shapes that its state has. One group, and a candidate
 * in order: they are in the same order. Otherwise only the order within a group is known, so a shape names a
 * parameter where one alone has it, or where the candidate is in order and all of that shape lie in one group. Where
 * several candidates name a tensor's parameter they must agree; averages of weights (`ema`) are no candidates where there are
 * others.
 */
export function ownersOf(
  optimizer: SavedOptimizer,
  candidates: readonly OwnerCandidate[],
): Map<string, string> {
  const fitting = candidates.flatMap((candidate) => {
    const names = namesOf(optimizer, candidate);
    return names === undefined ? [] : [{ names, averaged: candidate.parameters.some(isAveraged) }];
  });
  const first = fitting.filter(({ averaged }) => !averaged);
  const chosen = first.length > 0 ? first : fitting;
  const owners = new Map<string, string>();
  for (const { tensor, id } of optimizer.slots) {
    const told = new Set(chosen.flatMap(({ names }) => names.get(id) ?? []));
    if (told.size === 1) owners.set(tensor, [...told][0]!);
  }
  return owners;
}

const isAveraged = ({ name }: TensorInfo): boolean => AVERAGED.test(name);

/** Names of a candidate's parameters by the optimizer's ids; undefined where it does not fit. */
function namesOf(
  { groups, slots }: SavedOptimizer,
  { parameters, ordered }: OwnerCandidate,
): Map<string, string> | undefined {
  const ids = groups.flat();
  if (ids.length !== parameters.length) return undefined;
  const shapes = new Map<string, string>();
  for (const { id, shape } of slots) {
    // The count of steps has no shape, that of a parameter is the same in all its slots.
    if (shape.length === 0) continue;
    if (shapes.has(id) && shapes.get(id) !== shape.join()) return undefined;
    shapes.set(id, shape.join());
  }
  if (ordered && groups.length === 1) {
    const fits = ids.every((id, i) => [undefined, parameters[i]!.shape.join()].includes(shapes.get(id)));
    return fits ? new Map(ids.map((id, i) => [id, parameters[i]!.name])) : undefined;
  }
  const groupOf = new Map(groups.flatMap((group, index) => group.map((id) => [id, index] as const)));
  const names = new Map<string, string>();
  for (const shape of new Set(shapes.values())) {
    const owners = parameters.filter((info) => info.shape.join() === shape);
    const members = ids.filter((id) => shapes.get(id) === shape);
    if (members.length > owners.length) return undefined;
    const together = ordered && new Set(members.map((id) => groupOf.get(id))).size === 1;
    if (members.length === owners.length && (owners.length === 1 || together))
      for (const [i, id] of members.entries()) names.set(id, owners[i]!.name);
  }
  return names;
}
