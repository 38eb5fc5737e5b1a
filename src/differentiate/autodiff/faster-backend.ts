/** Whether a net runs on tfjs-node, where the user installed it: only if it is faster for that net, measured at the start. */
import { createRequire } from 'node:module';
import { firstLineOf } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import { rowsOf } from '../../step/tensor/batch-rows.ts';
import type { Batch, Objective } from './objective.ts';

/** Below so many parameters loading tfjs-node takes longer than it saves (docs/tfjs-node.md). */
const NATIVE_FROM = 2 ** 17;
/** What a gradient has to take less there: a choice that other work on the machine decides would change from run to run. */
const WORTH = 0.8;
/** Gradients that are timed on each side, fewer where they take long: a second is enough to tell. */
const ROUNDS = 5;
const ENOUGH = 1000;

const require = createRequire(import.meta.url);

function hasTfjsNode(): boolean {
  try {
    require.resolve('@tensorflow/tfjs-node');
    return true;
  } catch {
    return false;
  }
}

/** What was found for a net, by its model, size and rows: it is opened again for every checkpoint. */
const known = new Map<string, Choice>();
interface Choice {
  readonly native: boolean;
  readonly note: string;
}

/**
 * @param objective as it runs without tfjs-node
 * @param path of its model
 * @param sample batches as it will be asked about
 * @param openNative the same on tfjs-node
 * @returns one of both, open, with a note on what was measured; the other one is closed
 */
export async function fasterObjective(
  objective: Objective,
  path: string,
  sample: (objective: Pick<Objective, 'inputs'>) => Promise<readonly Batch[]>,
  openNative: () => Promise<Objective>,
): Promise<Objective> {
  if (objective.size < NATIVE_FROM || !hasTfjsNode()) return objective;
  let batches: readonly Batch[];
  try {
    batches = await sample(objective);
    await objective.check(batches);
  } catch {
    // A later call with these batches reports what is wrong with them.
    return objective;
  }
  if (batches.length === 0) return objective;
  const key = JSON.stringify([path, objective.size, batches.map(rowsOf)]);
  let choice = known.get(key);
  if (choice?.native === false) return noted(objective, choice.note);
  let native: Objective;
  try {
    native = await openNative();
  } catch (error) {
    return noted(objective, `tfjs-node is not used: ${firstLineOf(error)}`);
  }
  if (choice === undefined) {
    choice = await choose(objective, native, batches);
    known.set(key, choice);
  }
  await (choice.native ? objective : native).close();
  return noted(choice.native ? native : objective, choice.note);
}

const noted = (objective: Objective, note: string): Objective => ({
  ...objective,
  notes: [...objective.notes, note],
});

async function choose(objective: Objective, native: Objective, batches: readonly Batch[]): Promise<Choice> {
  // Small and not zero: nothing is skipped, nothing overflows.
  const w = Float32Array.from({ length: objective.size }, (_, i) => 0.01 * Math.sin(i));
  const sides = [objective, native].map((one) => ({ one, times: [] as number[] }));
  const begin = performance.now();
  for (let round = 0; round < ROUNDS && (round < 2 || performance.now() - begin < ENOUGH); round++)
    for (const { one, times } of sides) {
      const start = performance.now();
      await one.gradient(w, batches);
      times.push(performance.now() - start);
    }
  // The first of each side compiles; the shortest is the least disturbed one.
  const [ours, its] = sides.map(({ times }) => Math.min(...times)) as [number, number];
  const faster = its < WORTH * ours;
  const took = `a gradient of this net takes ${formatNumber(ours)} ms on ${objective.backend} and ${formatNumber(its)} ms on tfjs-node`;
  return { native: faster, note: `${took}, so ${faster ? 'tfjs-node' : objective.backend} runs` };
}
