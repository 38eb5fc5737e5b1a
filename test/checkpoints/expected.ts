/** Compares a checkpoint with facts that the framework's own tools computed. */
import { expect } from 'vitest';
import type { Checkpoint, TensorData } from '../../src/model/checkpoint.ts';
import { numberToJson } from '../../src/model/json.ts';
import { StatisticsCollector } from '../../src/read/checkpoints/statistics.ts';

/** One tensor in an expected.json; see fixtures/checkpoints/facts.py. */
export interface TensorFacts {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly sum: number;
  readonly l2: number;
  readonly min: number | null;
  readonly max: number | null;
  readonly nan: number;
  readonly posInf: number;
  readonly negInf: number;
  readonly head: readonly (number | string)[];
  readonly role?: string;
  readonly slot?: string;
  readonly parameter?: string;
  readonly layout?: string;
}

/** The names, types, shapes, roles and values of every tensor, read whole and streamed. */
export async function expectTensors(
  checkpoint: Checkpoint,
  expected: Readonly<Record<string, TensorFacts>>,
): Promise<void> {
  expect(checkpoint.tensors.map((t) => t.name).sort()).toEqual(Object.keys(expected).sort());
  for (const info of checkpoint.tensors) {
    const { head, sum, l2, ...facts } = expected[info.name]!;
    const values = await checkpoint.read(info.name);
    const statistics = new StatisticsCollector();
    for await (const piece of checkpoint.stream(info.name)) statistics.add(piece);
    const found = statistics.result();
    const complex = info.dtype.startsWith('C') ? 2 : 1;
    expect([values.length, found.count], info.name).toEqual([
      info.elements * complex,
      info.elements * complex,
    ]);
    expect(firstNumbers(values), info.name).toEqual(head);
    expect({ ...info, ...found }, info.name).toMatchObject(facts);
    expect(Math.abs(found.sum - sum), `sum of ${info.name}`).toBeLessThanOrEqual(
      1e-12 * l2 * Math.sqrt(found.count),
    );
    expect(Math.abs(found.norm - l2), `norm of ${info.name}`).toBeLessThanOrEqual(1e-12 * l2);
  }
}

const firstNumbers = (values: TensorData): (number | string)[] =>
  Array.from({ length: Math.min(6, values.length) }, (_, i) => numberToJson(Number(values[i])));
