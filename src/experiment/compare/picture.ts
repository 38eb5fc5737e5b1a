/** What a page draws of a comparison: the losses, their difference, and the size of each tensor's difference by step. */
import {
  COMPARED_LINKS,
  type ComparedLink,
  type ComparisonPicture,
  type RunDifference,
  type TensorPicture,
} from '../../model/comparison.ts';
import { largest } from '../../model/order-statistics.ts';
import { type TensorSizes, tensorSizes } from './facts.ts';
import { nameOf } from './first-difference.ts';
import type { LossPair } from './floor.ts';
import { onlyAlike, type Side } from './side.ts';

/** Buckets of the losses, columns and rows of a heat map: what a page of 1,000 pixels shows. */
const BUCKETS = 300;
const COLUMNS = 48;
const ROWS = 40;
/** Steps that are looked at to find {@link COLUMNS} with tensors. */
const LOOKED_AT = 4096;

interface Marks {
  readonly differsAt: RunDifference | null;
  readonly partsAt: RunDifference | null;
  readonly limit: (step: number) => number | undefined;
}

/** @throws what reading the tensors of a side throws */
export async function pictureOf(
  a: Side,
  b: Side,
  pair: LossPair,
  steps: readonly number[],
  marks: Marks,
): Promise<ComparisonPicture> {
  return { losses: lossesOf(pair, marks.limit), tensors: await tensorsOf(a, b, steps, marks) };
}

/** Five digits are finer than a pixel. */
const short = (value: number): number => (Number.isFinite(value) ? Number(value.toPrecision(5)) : value);

function lossesOf(pair: LossPair, limit: Marks['limit']): ComparisonPicture['losses'] {
  const size = Math.max(1, Math.ceil(pair.steps.length / BUCKETS));
  const starts = Array.from({ length: Math.ceil(pair.steps.length / size) }, (_, k) => k * size);
  const last = (values: Float64Array): number[] =>
    starts.map((from) => short(values[Math.min(from + size, values.length) - 1]!));
  return {
    steps: starts.map((from) => pair.steps[from]!),
    a: last(pair.a),
    b: last(pair.b),
    difference: starts.map((from) => short(Math.expm1(largest(pair.distance.subarray(from, from + size))))),
    floor: starts.map((from) => {
      const at = limit(pair.steps[from]!);
      return at === undefined || !Number.isFinite(at) ? null : short(at);
    }),
  };
}

/** Steps spread evenly over all, with those of the first differences among them. */
function spread(steps: readonly number[], count: number, wanted: readonly number[]): number[] {
  if (steps.length <= count) return [...steps];
  const even = Array.from(
    { length: count },
    (_, k) => steps[Math.round((k * (steps.length - 1)) / (count - 1))]!,
  );
  const there = wanted.filter((step) => steps.includes(step));
  return [...new Set([...even, ...there])].sort((x, y) => x - y);
}

async function tensorsOf(a: Side, b: Side, steps: readonly number[], marks: Marks): Promise<TensorPicture[]> {
  const wanted = [marks.differsAt, marks.partsAt].flatMap((one) =>
    one === null ? [] : [one.step - 1, one.step, one.step + 1],
  );
  const both = steps.filter((step) => a.hasTensors(step) && b.hasTensors(step));
  const shown = spread(both.length > LOOKED_AT ? spread(both, LOOKED_AT, wanted) : both, COLUMNS, wanted);
  const found = new Map<ComparedLink, Map<number, TensorSizes>>();
  for (const step of shown) {
    const [x, y] = [await a.facts(step), await b.facts(step)];
    for (const link of COMPARED_LINKS) {
      const sizes =
        link === 'batch' ? undefined : await tensorSizes(x.get(link), y.get(link), onlyAlike(a, b, link));
      if (sizes === undefined) continue;
      const own = found.get(link) ?? new Map<number, TensorSizes>();
      found.set(link, own.set(step, sizes));
    }
  }
  return [...found].map(([link, byStep]) => heatOf(link, byStep));
}

function heatOf(link: ComparedLink, byStep: ReadonlyMap<number, TensorSizes>): TensorPicture {
  const steps = [...byStep.keys()];
  const order: string[] = [];
  const rows = new Map<string, (number | null)[]>();
  for (const [column, { names, sizes }] of [...byStep.values()].entries())
    for (const [k, name] of names.entries()) {
      if (!rows.has(name)) {
        rows.set(name, new Array<number | null>(steps.length).fill(null));
        order.push(name);
      }
      rows.get(name)![column] = short(sizes[k]!);
    }
  const most = (name: string): number => largest(rows.get(name)!.filter((size) => size !== null));
  const kept = new Set([...order].sort((x, y) => most(y) - most(x)).slice(0, ROWS));
  return {
    link,
    steps,
    tensors: order
      .filter((name) => kept.has(name))
      .map((name) => ({ name: nameOf(name)!, sizes: rows.get(name)! })),
    left: order.length - kept.size,
  };
}
