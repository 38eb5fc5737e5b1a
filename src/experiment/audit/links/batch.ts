/** What the record says of the batches: equal ones, constant columns, an order that begins again at a resume. */
import { createHash } from 'node:crypto';
import type { AuditLink } from '../../../model/audit.ts';
import type { BatchTensor, Capture } from '../../../read/captures/read.ts';
import { broken, cannotTell, holds } from '../link.ts';
import { LEAST_STEPS } from './ranks.ts';

/** Equal batches in a row that are no chance: epochs of two batches repeat one at most once. */
export const IN_A_ROW = 3;
/** Steps over which a column has to be constant. */
const STEPS = 5;
const LEAST_ROWS = 20;

/** Columns that are constant in healthy trainings. */
const CONSTANT_BY_NATURE = /mask|type|weight|position|length|scale|sigma|temperature|bias|size/i;
const LABELS = /label|target|^y$|(?:^|\W)y$/i;

export async function batchLinks(capture: Capture): Promise<AuditLink[]> {
  const { steps } = capture;
  const hashes: string[] = [];
  const columns = new Map<string, Column>();
  const parts: (number | null)[] = [];
  for (const [index] of steps.entries()) {
    const batch = await capture.batch(index);
    if (batch.size === 0) {
      hashes.push(steps[index]!.record.batchHash ?? '');
      continue;
    }
    const hash = createHash('sha256');
    for (const [name, tensor] of [...batch].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(name);
      const { data } = tensor;
      hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      lookAt(columns, name, tensor);
    }
    hashes.push(hash.digest('hex'));
    parts[index] = equalParts(batch);
  }
  if (hashes.every((hash) => hash === ''))
    return [cannotTell('batch', 'no batches were recorded', 'record(…, batch=batch)')];
  const known = hashes.map((hash) => (hash === '' ? null : hash));
  const stepAt = (k: number): number => steps[k]!.step;
  const found = [
    repeatedBatch(known, stepAt, '; a seed that is set in the loop repeats the draw'),
    ...constant(columns),
    again(capture) ?? repeatedOrder(known, stepAt),
    sameParts(capture, parts),
  ].filter((one) => one !== null);
  return found.length > 0
    ? found
    : [
        holds(
          'batch',
          steps.length,
          `the ${steps.length} recorded batches differ, and none of their columns is constant`,
        ),
      ];
}

/**
 * The longest row of equal batches, where it is too long for chance.
 *
 * @param hashes null where a step has none, which is equal to nothing
 * @param stepAt the step of an index
 * @param more what the advice says in addition
 */
export function repeatedBatch(
  hashes: readonly (string | null)[],
  stepAt: (index: number) => number,
  more = '',
): AuditLink | null {
  let best = { from: 0, length: 1 };
  let from = 0;
  for (let i = 1; i <= hashes.length; i++) {
    if (i < hashes.length && hashes[i] === hashes[from] && hashes[i] !== null) continue;
    if (i - from > best.length) best = { from, length: i - from };
    from = i;
  }
  if (best.length < IN_A_ROW) return null;
  return broken('batch', {
    checks: hashes.length,
    broken: best.length - 1,
    step: stepAt(best.from + 1),
    cause: 'repeated-batch',
    // Descent on the whole data set, or a test that one batch can be learnt, looks the same.
    confidence: 'likely',
    statement: `${best.length} batches in a row are equal to the last bit, from step ${stepAt(best.from)} on`,
    fix: `take the next batch of the loader in each step: next(iter(loader)) begins anew each time${more}`,
  });
}

/** How many times a few batches have to come in the same order before they are no chance. */
const TIMES = 3;

/**
 * The same few batches in the same order until the last step, where the run had others before: a loader that reads its data in a fixed
 * order has no others.
 *
 * @param hashes null where a step has none, which is equal to nothing
 * @param stepAt the step of an index
 */
export function repeatedOrder(
  hashes: readonly (string | null)[],
  stepAt: (index: number) => number,
): AuditLink | null {
  const end = hashes.length - 1;
  const before = hashes[end] == null ? -1 : hashes.lastIndexOf(hashes[end]!, end - 1);
  const period = end - before;
  if (before < 0 || period < 2) return null;
  let from = end;
  while (from >= period && hashes[from] !== null && hashes[from] === hashes[from - period]) from--;
  // The first step that repeats is the one after; the cycle begins a period before it.
  const first = from + 1;
  const begins = first - period;
  const cycle = new Set(hashes.slice(begins, first));
  const hasOthers = hashes.slice(0, begins).some((hash) => hash !== null && !cycle.has(hash));
  if (end + 1 - begins < TIMES * period || cycle.size === 1 || !hasOthers) return null;
  return broken('batch', {
    checks: hashes.length,
    broken: end + 1 - first,
    step: stepAt(first),
    cause: 'order-repeated',
    confidence: 'likely',
    statement: `the ${period} batches of steps ${stepAt(begins)} to ${stepAt(first - 1)} come again and again in the same order until step ${stepAt(end)}, equal to the last bit; before them there were others`,
    fix: 'look at what makes the loader: an iterator that is made anew every few steps, a seed that is set again, a buffer that is not filled; restore the position of the data loader when the run resumes',
  });
}

/** Parts into which a batch may fall: the ranks of one machine. */
const MOST_PARTS = 8;

/** Into how many parts of equal rows a batch falls, all of its tensors alike; null where it does not, or where all rows are the same. */
function equalParts(batch: ReadonlyMap<string, BatchTensor>): number | null {
  const tensors = [...batch.values()];
  const rows = tensors[0]?.shape[0] ?? 0;
  if (tensors.some(({ shape }) => shape[0] !== rows)) return null;
  const isRepeated = (from: number, count: number): boolean =>
    tensors.every(({ data }) => {
      const width = data.byteLength / rows;
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      return bytes.subarray(0, count * width).equals(bytes.subarray(from * width, (from + count) * width));
    });
  for (let parts = 2; parts <= MOST_PARTS; parts++) {
    const count = rows / parts;
    if (!Number.isInteger(count) || count < 2 || isRepeated(1, 1)) continue;
    if (Array.from({ length: parts - 1 }, (_, k) => (k + 1) * count).every((from) => isRepeated(from, count)))
      return parts;
  }
  return null;
}

/** Steps in a row, up to the last, whose batches fall into equal parts, where those before did not: some losses want each row twice. */
function sameParts({ steps }: Capture, parts: readonly (number | null)[]): AuditLink | null {
  const last = parts.at(-1) ?? null;
  const first = parts.findLastIndex((one) => one !== last) + 1;
  const count = parts.length - first;
  if (last === null || first === 0 || count < LEAST_STEPS) return null;
  return broken('ranks', {
    checks: steps.length,
    broken: count,
    step: steps[first]!.step,
    cause: 'same-data-on-ranks',
    confidence: 'likely',
    statement: `from step ${steps[first]!.step} on each batch holds the same rows ${last} times, part by part, in ${count} steps of ${count}; before it did not`,
    fix: 'give each rank its own part of the data: DistributedSampler, or split_dataset_by_node, with set_epoch at every epoch, and another seed of the draw on each rank',
  });
}

interface Column {
  readonly value: number | bigint;
  rows: number;
  steps: number;
  constant: boolean;
  readonly whole: boolean;
}

function lookAt(columns: Map<string, Column>, name: string, { data, dtype, shape }: BatchTensor): void {
  if (data.length === 0 || dtype === 'BOOL') return;
  const known = columns.get(name);
  const value = known?.value ?? data[0]!;
  const constant =
    known?.constant !== false &&
    (data as ArrayLike<number | bigint> & Iterable<number | bigint>) &&
    isConstant(data, value);
  const rows = shape[0] ?? 1;
  if (known === undefined)
    columns.set(name, { value, rows, steps: 1, constant, whole: !dtype.startsWith('F') && dtype !== 'BF16' });
  else {
    known.rows += rows;
    known.steps++;
    known.constant = constant;
  }
}

function isConstant(data: ArrayLike<number | bigint>, value: number | bigint): boolean {
  for (let i = 0; i < data.length; i++) if (data[i] !== value) return false;
  return true;
}

function constant(columns: ReadonlyMap<string, Column>): AuditLink[] {
  const names = [...columns.keys()];
  return [...columns].flatMap(([name, { value, rows, steps, constant: same, whole }]) => {
    if (!same || steps < STEPS || rows < LEAST_ROWS || CONSTANT_BY_NATURE.test(name)) return [];
    // A batch is given as (inputs, labels): the last of several that have numbers for names are the labels.
    const last = /^\d+$/.test(name) && names.length > 1 && name === names.at(-1);
    const labels = LABELS.test(name) || last;
    // Whole numbers that are no labels may be a mask or types of tokens; features that are all 1 as well.
    if (!labels && (whole || value === 1)) return [];
    return [
      broken('batch', {
        id: `batch:constant-input:${name}`,
        checks: steps,
        broken: steps,
        tensor: `batch/${name}`,
        cause: 'constant-input',
        confidence: labels ? 'shown' : 'likely',
        statement: `${labels ? 'the labels' : 'the inputs'} "${name}" are ${String(value)} in all ${rows} rows of ${steps} batches`,
        fix: `look at what fills "${name}": a column that is missing, a map that knows no value, a tensor that is made with zeros and never written`,
      }),
    ];
  });
}

/** Batches after a resume that the run had seen at its start, in the same order. */
function again({ steps, manifest }: Capture): AuditLink | null {
  const since = manifest.training.run?.before?.step;
  if (since === undefined) return null;
  const seen = steps.flatMap(({ step, record: { repeats } }) =>
    step > since && repeats !== null ? [{ step, repeats }] : [],
  );
  const inOrder = seen.filter(({ repeats }, k) => k > 0 && repeats === seen[k - 1]!.repeats + 1);
  if (inOrder.length < IN_A_ROW || seen[0]!.repeats > since / 2) return null;
  return broken('batch', {
    checks: steps.length,
    broken: seen.length,
    step: seen[0]!.step,
    cause: 'order-repeated',
    confidence: 'likely',
    statement: `after the resume at step ${since} the batches are those of step ${seen[0]!.repeats} on, in the same order`,
    fix: 'restore the position of the data loader (or seed its shuffle by epoch and skip what was seen) when the run resumes',
  });
}
