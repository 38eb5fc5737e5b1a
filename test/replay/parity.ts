/** The oracle files of fixtures/parity: one start, one sequence of gradients, and where each combination ends. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Layout } from '../../src/model/checkpoint.ts';
import type { Options } from '../../src/model/options.ts';
import { chooseOptimizer } from '../../src/optimizers/registry.ts';
import { createStepper, freshTensor, type Gradient } from '../../src/replay/step.ts';
import { parseRule } from '../../src/rules/parse.ts';
import { allocate, elementsOf, type Precision, type Values } from '../../src/tensor/values.ts';
import { projectRoot } from '../support/shared-data.ts';

export interface ParityCase {
  readonly name: string;
  readonly optimizer: string;
  readonly options: Options;
  readonly learningRate: number;
  readonly rule: string;
  /** Whether the embedding's gradient is passed by rows. */
  readonly sparse?: boolean;
}
interface ParityFile {
  readonly steps: number;
  readonly parameters: readonly {
    name: string;
    shape: number[];
    layout: Layout;
    embedding: boolean;
  }[];
  readonly cases: readonly ParityCase[];
}

const folder = join(projectRoot, 'fixtures', 'parity');
const bytes = (name: string): ArrayBuffer => {
  const file = readFileSync(join(folder, name));
  return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) as ArrayBuffer;
};

export const readOracle = (name: string): ParityFile =>
  JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as ParityFile;

/** Final parameters of case `index`, all tensors in a row. */
export function readResults(name: string, precision: Precision): Values {
  return precision === 'float64'
    ? new Float64Array(bytes(`${name}.f64.bin`))
    : new Float32Array(bytes(`${name}.f32.bin`));
}

const recorded = new Float64Array(bytes('gradients.f64.bin'));

/** Our end of a case. */
export function replayCase(file: ParityFile, entry: ParityCase, precision: Precision): Values {
  const sizes = file.parameters.map(({ shape }) => elementsOf(shape));
  const total = sizes.reduce((sum, n) => sum + n, 0);
  const part = (offset: number, tensor: number): Values => {
    const start = offset + sizes.slice(0, tensor).reduce((sum, n) => sum + n, 0);
    const values = allocate(precision, sizes[tensor]!);
    values.set(recorded.subarray(start, start + sizes[tensor]!));
    return values;
  };
  const optimizer = chooseOptimizer(entry.optimizer, entry.options);
  const tensors = file.parameters.map((meta, t) => freshTensor(meta, part(0, t), optimizer, precision));
  const [rule] = parseRule(entry.rule);
  const stepper = createStepper({ rule: rule!, optimizers: [optimizer], precision });
  for (let step = 0; step < file.steps; step++) {
    const gradients = file.parameters.map((meta, t): Gradient => {
      const values = part(total * (step + 1), t);
      return entry.sparse && meta.embedding ? touchedRows(values, meta.shape[1]!) : { values };
    });
    stepper.step(tensors, gradients, [entry.learningRate]);
  }
  const end = allocate(precision, total);
  let at = 0;
  for (const { w } of tensors) {
    end.set(w, at);
    at += w.length;
  }
  return end;
}

/** The rows that are not all zero. */
function touchedRows(values: Values, width: number): Gradient {
  const rows: number[] = [];
  for (let row = 0; row * width < values.length; row++)
    if (values.subarray(row * width, (row + 1) * width).some((x) => x !== 0)) rows.push(row);
  const kept = allocate(values instanceof Float32Array ? 'float32' : 'float64', rows.length * width);
  rows.forEach((row, k) => {
    kept.set(values.subarray(row * width, (row + 1) * width), k * width);
  });
  return { values: kept, rows: Int32Array.from(rows) };
}

/** Largest difference relative to the size of the parameters: max |a − b| / max(|b|, mean |b|). */
export function relativeDifference(a: Values, b: Values): number {
  let mean = 0;
  for (const x of b) mean += Math.abs(x) / b.length;
  let worst = 0;
  for (let i = 0; i < b.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!) / Math.max(Math.abs(b[i]!), mean);
    if (!(difference <= worst)) worst = difference;
  }
  return worst;
}
