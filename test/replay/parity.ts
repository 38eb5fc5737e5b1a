/** The oracles of fixtures/parity: one start, one sequence of gradients, and where each rule ends with each optimizer. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createStepper } from '../../src/experiment/replay/step.ts';
import { freshTensor, type Gradient } from '../../src/experiment/replay/tensors.ts';
import type { Layout } from '../../src/model/checkpoint.ts';
import type { Options } from '../../src/model/options.ts';
import { chooseOptimizer } from '../../src/step/optimizers/registry.ts';
import { parseRule } from '../../src/step/rules/parse.ts';
import { allocate, elementsOf, type Precision, type Values } from '../../src/step/tensor/values.ts';
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
interface ParityNet {
  readonly steps: number;
  readonly parameters: readonly {
    name: string;
    shape: number[];
    layout: Layout;
    embedding: boolean;
  }[];
}

const folder = join(projectRoot, 'fixtures', 'parity');
const json = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
const bytes = (name: string): ArrayBuffer => {
  const file = readFileSync(join(folder, name));
  return file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength) as ArrayBuffer;
};

export const net: ParityNet = json('net.json');

/** Rules that a library has an oracle of: one file each, so that two new rules do not meet. */
export const oracleRules = (library: string): string[] =>
  readdirSync(join(folder, library))
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -'.json'.length));

export const readCases = (library: string, rule: string): ParityCase[] =>
  json(`${library}/${rule}.json`).cases;

/** Final parameters of every case of a rule, one after the other, all tensors in a row. */
export function readResults(library: string, rule: string, precision: Precision): Values {
  return precision === 'float64'
    ? new Float64Array(bytes(`${library}/${rule}.f64.bin`))
    : new Float32Array(bytes(`${library}/${rule}.f32.bin`));
}

const recorded = new Float64Array(bytes('gradients.f64.bin'));

/** Our end of a case. */
export function replayCase(entry: ParityCase, precision: Precision): Values {
  const sizes = net.parameters.map(({ shape }) => elementsOf(shape));
  const total = sizes.reduce((sum, n) => sum + n, 0);
  const part = (offset: number, tensor: number): Values => {
    const start = offset + sizes.slice(0, tensor).reduce((sum, n) => sum + n, 0);
    const values = allocate(precision, sizes[tensor]!);
    values.set(recorded.subarray(start, start + sizes[tensor]!));
    return values;
  };
  const optimizer = chooseOptimizer(entry.optimizer, entry.options);
  const tensors = net.parameters.map((meta, t) => freshTensor(meta, part(0, t), optimizer, precision));
  const [rule] = parseRule(entry.rule);
  const stepper = createStepper({ rule: rule!, optimizers: [optimizer], precision });
  for (let step = 0; step < net.steps; step++) {
    const gradients = net.parameters.map((meta, t): Gradient => {
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
