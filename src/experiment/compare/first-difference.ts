/** The first step, link and tensor in which two runs differ. */
import { COMPARED_LINKS, type ComparedLink, type RunDifference } from '../../model/comparison.ts';
import { differenceOf } from './facts.ts';
import { onlyAlike, type Side } from './side.ts';

/** What was found at the steps that both runs have. */
export interface FirstDifference {
  readonly first: RunDifference | null;
  /** First difference in what a training computes: weights, loss, gradient, clip, state or update. */
  readonly consequence: RunDifference | null;
  /** What of the size of the consequence no rounding of a record explains. */
  readonly certain: number;
  /** Links that both have at one step or more, up to where the search ended. */
  readonly links: readonly ComparedLink[];
}

/** Links that are given to a step, and not computed by it. */
const GIVEN: readonly ComparedLink[] = ['batch', 'rng', 'options'];

/** Steps that both runs know something of. */
export function commonSteps(a: Side, b: Side, until: number): number[] {
  const there = new Set(b.steps);
  return a.steps.filter((step) => step <= until && there.has(step));
}

/**
 * Looks for the first difference, step by step from the first on.
 *
 * Where the weights before a step are the first to differ, and nothing that is known of the step before it did, the step
 * before made the difference: it is named as its update.
 */
export async function firstDifference(a: Side, b: Side, steps: readonly number[]): Promise<FirstDifference> {
  const seen = new Set<ComparedLink>();
  let first: RunDifference | null = null;
  let updateBefore: boolean | undefined;
  for (const [k, step] of steps.entries()) {
    const [x, y] = [await a.facts(step), await b.facts(step)];
    let here: RunDifference | null = null;
    let certain = 0;
    let update: boolean | undefined;
    for (const link of COMPARED_LINKS) {
      const found = await differenceOf(x.get(link), y.get(link), onlyAlike(a, b, link));
      if (found === undefined) continue;
      seen.add(link);
      if (link === 'update') update = found !== null;
      if (found === null || !comesBefore(link, here)) continue;
      const size = GIVEN.includes(link) ? null : found.size;
      const difference = { step, link, tensor: nameOf(found.tensor), size };
      first ??= difference;
      here = difference;
      certain = found.certain ?? found.size ?? 0;
    }
    if (here !== null && !GIVEN.includes(here.link)) {
      const before = steps[k - 1];
      const made =
        here.link === 'weights' &&
        before === step - 1 &&
        updateBefore === undefined &&
        !a.starts.has(step) &&
        !b.starts.has(step);
      const consequence = made ? { ...here, step: before, link: 'update' as const } : here;
      const isFirst = first === here || (first !== null && consequence.step < first.step);
      return {
        first: isFirst ? consequence : first,
        consequence,
        certain,
        links: COMPARED_LINKS.filter((link) => seen.has(link)),
      };
    }
    updateBefore = update;
  }
  return { first, consequence: null, certain: 0, links: COMPARED_LINKS.filter((link) => seen.has(link)) };
}

/** Whether a difference in a link is the first of its step, or the first that a given difference leads to. */
const comesBefore = (link: ComparedLink, here: RunDifference | null): boolean =>
  here === null || (GIVEN.includes(here.link) && !GIVEN.includes(link));

/** Names of tensors of a ledger carry their shape after a line break. */
export const nameOf = (name: string | null): string | null => name?.split('\n')[0] ?? null;
