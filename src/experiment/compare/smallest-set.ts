/**
 * The smallest set of changes that makes a difference: delta debugging (Zeller and Hildebrandt, 2002, "Simplifying and
 * isolating failure-inducing input") for changes that can be taken one by one, bisection for a history of commits.
 */

/** Which changes of each dimension are taken: ascending indices. Of an ordered dimension always the first ones. */
export type Chosen = readonly (readonly number[])[];

export interface DimensionSize {
  readonly size: number;
  /** Each change needs those before it, as commits do. */
  readonly ordered: boolean;
}

/** Whether the difference is there with these changes. */
export type Test = (chosen: Chosen) => Promise<'good' | 'bad' | 'unclear'>;

export interface Smallest {
  /** A set with the difference, none of whose parts can be left out. */
  readonly chosen: Chosen;
  /** Of each dimension the changes that matter; of an ordered one those that follow the last good state. */
  readonly needed: Chosen;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, k) => k);
const replaced = (chosen: Chosen, at: number, by: readonly number[]): Chosen =>
  chosen.map((own, k) => (k === at ? by : own));

/**
 * The difference must be there with all changes and not without any.
 *
 * @returns a set of which no change, and of which no single dimension, can be left out
 */
export async function smallestSet(dimensions: readonly DimensionSize[], test: Test): Promise<Smallest> {
  let chosen: Chosen = dimensions.map(({ size }) => upTo(size));
  for (const at of dimensions.keys()) {
    const without = replaced(chosen, at, []);
    // Without any change it is good: the last dimension that is left is needed.
    if (chosen[at]!.length === 0 || without.every((own) => own.length === 0)) continue;
    if ((await test(without)) === 'bad') chosen = without;
  }
  const needed = [...chosen];
  for (const [at, { ordered }] of dimensions.entries()) {
    if (chosen[at]!.length === 0) continue;
    const isBad = async (own: readonly number[]) => test(replaced(chosen, at, own));
    const found = ordered ? await firstBad(chosen[at]!, isBad) : await fewest(chosen[at]!, isBad);
    chosen = replaced(chosen, at, found.chosen);
    needed[at] = found.needed;
  }
  return { chosen, needed };
}

type Part = (own: readonly number[]) => Promise<'good' | 'bad' | 'unclear'>;

interface Found {
  readonly chosen: readonly number[];
  readonly needed: readonly number[];
}

/** The first state of a history that is bad; states that are unclear are skipped, as `git bisect skip` does. */
async function firstBad(all: readonly number[], test: Part): Promise<Found> {
  let [good, bad] = [0, all.length];
  const unclear = new Set<number>();
  for (;;) {
    const between = Array.from({ length: bad - good - 1 }, (_, k) => good + 1 + k).filter(
      (count) => !unclear.has(count),
    );
    if (between.length === 0) break;
    const middle = between[between.length >> 1]!;
    const outcome = await test(all.slice(0, middle));
    if (outcome === 'bad') bad = middle;
    else if (outcome === 'good') good = middle;
    else unclear.add(middle);
  }
  return { chosen: all.slice(0, bad), needed: all.slice(good, bad) };
}

/** Delta debugging: halves, then their complements, then smaller parts. */
async function fewest(all: readonly number[], test: Part): Promise<Found> {
  let current = all;
  for (let parts = 2; current.length > 1; ) {
    const chunks = chunksOf(current, parts);
    const part = await firstThat(chunks, test);
    if (part !== undefined) {
      [current, parts] = [part, 2];
      continue;
    }
    const rest =
      parts === 2
        ? undefined
        : await firstThat(
            chunks.map((chunk) => current.filter((one) => !chunk.includes(one))),
            test,
          );
    if (rest !== undefined) [current, parts] = [rest, Math.max(2, parts - 1)];
    else if (parts < current.length) parts = Math.min(current.length, 2 * parts);
    else break;
  }
  return { chosen: current, needed: current };
}

async function firstThat(
  sets: readonly (readonly number[])[],
  test: Part,
): Promise<readonly number[] | undefined> {
  for (const set of sets) if ((await test(set)) === 'bad') return set;
  return undefined;
}

function chunksOf(all: readonly number[], parts: number): number[][] {
  return Array.from({ length: parts }, (_, k) =>
    all.slice(Math.round((k * all.length) / parts), Math.round(((k + 1) * all.length) / parts)),
  ).filter((chunk) => chunk.length > 0);
}
