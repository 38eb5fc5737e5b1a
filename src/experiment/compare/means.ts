/** A log of means and a record of single steps: the losses of the steps are averaged over each interval of the log. */
import { medianOf, usualDistance } from '../../model/order-statistics.ts';
import type { Fact, RecordKind } from './facts.ts';
import { gapBetween } from './readings.ts';
import type { Losses, Side } from './side.ts';

/** Intervals at the start that show what a log has: means, or the losses of its own steps. */
const LOOKED_AT = 10;
const LEAST = 3;
/** Means fit if they are that many times closer than the losses of the steps. */
const CLOSER = 10;

interface Averaged {
  readonly record: RecordKind;
  readonly losses: Losses;
}

/**
 * The sides of a comparison, with the losses of single steps as means where the other side's log has means.
 *
 * Only unlike records need it: two logs of one program average alike. Sides whose records have one interval, or whose
 * losses are as close without it, come back as they were.
 */
export function asMeans(a: Side, b: Side): readonly [Side, Side] {
  const [ofA, ofB] = [leadingOf(a, b), leadingOf(b, a)];
  if (ofA === undefined || ofB === undefined) return [a, b];
  const averagedB = averagedLike(ofA.losses, ofB);
  if (averagedB !== null) return [a, withLosses(b, averagedB)];
  const averagedA = averagedLike(ofB.losses, ofA);
  return averagedA === null ? [a, b] : [withLosses(a, averagedA), b];
}

/** The finest record of a side's losses, where both do not have one of the same kind. */
function leadingOf(side: Side, other: Side): Averaged | undefined {
  const [first] = side.losses;
  const [record, losses] = [...side.losses].find(([kind]) => other.losses.has(kind)) ?? first ?? [];
  return record === undefined || losses === undefined ? undefined : { record, losses };
}

/** The losses of a record averaged over the intervals of a sparser one; null where they do not fit better so. */
function averagedLike(sparse: Losses, { record, losses: dense }: Averaged): Averaged | null {
  const steps = Float64Array.from(sparse.values.keys()).sort();
  const interval = usualDistance(steps);
  const each = usualDistance(Float64Array.from(dense.values.keys()).sort());
  if (!(interval >= 2 * each)) return null;
  const gap = (of: Losses['values']): number =>
    medianOf(
      [...steps.filter((step) => of.has(step)).subarray(0, LOOKED_AT)].map((step) => {
        const [mean, own] = [sparse.values.get(step)!, of.get(step)!];
        return gapBetween({ value: mean, unit: sparse.unit(mean) }, { value: own, unit: dense.unit(own) })
          .certain;
      }),
    );
  const single = gap(dense.values);
  // An interval ends with the step of its line, or, where steps are counted from 0, with the one before.
  const candidates = [0, each].map((late) => meansOf(dense.values, steps, interval, each, late));
  const best = candidates
    .filter(({ size }) => size >= LEAST)
    .sort((x, y) => gap(x) - gap(y))
    .at(0);
  return best !== undefined && gap(best) * CLOSER < single
    ? { record, losses: { values: best, unit: dense.unit } }
    : null;
}

/** Means over the intervals that end at the given steps, those that the record has every step of. */
function meansOf(
  values: Losses['values'],
  ends: Float64Array,
  interval: number,
  each: number,
  late: number,
): ReadonlyMap<number, number> {
  const count = Math.round(interval / each);
  const found = new Map<number, number>();
  for (const end of ends) {
    const own = Array.from({ length: count }, (_, k) => values.get(end - late - k * each));
    if (own.every((value) => value !== undefined))
      found.set(end, own.reduce((sum, value) => sum + value, 0) / count);
  }
  return found;
}

/** A side with other losses in one of its records. */
function withLosses(side: Side, { record, losses }: Averaged): Side {
  const isLoss = (fact: Fact): boolean => fact.record === record && fact.kind === 'numbers';
  return {
    ...side,
    losses: new Map([...side.losses].map(([kind, own]) => [kind, kind === record ? losses : own])),
    facts: async (step) => {
      const facts = new Map(await side.facts(step));
      const value = losses.values.get(step);
      const others = (facts.get('loss') ?? []).filter((fact) => !isLoss(fact));
      const own: Fact[] =
        value === undefined
          ? []
          : [{ record, kind: 'numbers', numbers: new Map([['', { value, unit: losses.unit(value) }]]) }];
      facts.set('loss', [...others, ...own]);
      return facts;
    },
  };
}
