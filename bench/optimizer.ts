/**
 * Adagrad + Clippy over 10 million float32 parameters in 20 tensors, one thread each, in one run: the WebAssembly SIMD
 * kernel, the plain loops of the replay, PyTorch's foreach Adagrad with the same clipping; and the memory bandwidth beside
 * them.
 *
 *     npx tsx bench/optimizer.ts
 */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createStepper } from '../src/experiment/replay/step.ts';
import { freshTensor } from '../src/experiment/replay/tensors.ts';
import { createFusedAdagradClippy } from '../src/step/kernels/fused-adagrad-clippy.ts';
import { chooseOptimizer } from '../src/step/optimizers/registry.ts';
import { parseRule } from '../src/step/rules/parse.ts';
import { pythonWith } from '../test/support/python.ts';

const TENSORS = 20;
const SIZE = 500_000;
const REPEATS = 15;
const RATE = 0.05;

const random = (): Float32Array => Float32Array.from({ length: SIZE }, () => Math.random() - 0.5);
const timed = (step: () => void): number[] => {
  step();
  return Array.from({ length: REPEATS }, () => {
    const start = performance.now();
    step();
    return performance.now() - start;
  });
};
const summary = (times: readonly number[]): string => {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): string =>
    sorted[Math.round(share * (sorted.length - 1))]!.toFixed(1).padStart(6);
  return `median ${at(0.5)} ms, quartiles ${at(0.25)} to ${at(0.75)} ms, best ${at(0)} ms`;
};

const kernel = createFusedAdagradClippy(new Array<number>(TENSORS).fill(SIZE), {
  variableRelativeThreshold: 0.5,
  absoluteThreshold: 1e-2,
  epsilon: 1e-10,
  epsilonInside: false,
  accumulator: 'standard',
});
for (const tensor of kernel.tensors) {
  tensor.parameters.set(random());
  tensor.gradient.set(random());
  tensor.accumulator.fill(0.1);
}
const adagrad = chooseOptimizer('adagrad', { epsilon: 1e-10, epsilonInside: false });
const tensors = Array.from({ length: TENSORS }, (_, t) =>
  freshTensor(
    { name: String(t), shape: [SIZE], layout: 'none', embedding: false },
    random(),
    adagrad,
    'float32',
  ),
);
const gradients = tensors.map(() => ({ values: random() }));
const stepper = createStepper({ rule: parseRule('clippy')[0]!, optimizers: [adagrad], precision: 'float32' });
const source = new Float32Array(TENSORS * SIZE).fill(1);
const target = new Float32Array(source.length);

console.log(
  `${cpus()[0]!.model}, ${cpus().length} cores, Node ${process.version}; ${TENSORS} tensors of ${SIZE} float32, one thread`,
);
// Three rounds of each in turn: a neighbour on the machine slows all alike.
const rounds = [1, 2, 3];
const torch = pythonWith('torch');
const peer = (): { torch: string; clippy: number[]; adagrad: number[] } | null => {
  if (torch === undefined) return null;
  const script = fileURLToPath(new URL('optimizer.py', import.meta.url));
  const { stdout } = spawnSync(torch, [script, String(TENSORS), String(SIZE), String(REPEATS)], {
    encoding: 'utf8',
  });
  return JSON.parse(stdout) as { torch: string; clippy: number[]; adagrad: number[] };
};
for (const round of rounds) {
  console.log(`round ${round}`);
  console.log(`  WebAssembly SIMD kernel   ${summary(timed(() => kernel.step(RATE)))}`);
  console.log(
    `  plain loops of the replay ${summary(timed(() => stepper.step(tensors, gradients, [RATE])))}`,
  );
  const found = peer();
  if (found === null) console.log('  PyTorch is not installed here');
  else {
    console.log(`  PyTorch ${found.torch} + Clippy ${summary(found.clippy)}`);
    console.log(`  PyTorch, without clipping ${summary(found.adagrad)}`);
  }
  const copy = [...timed(() => target.set(source))].sort((a, b) => a - b)[REPEATS >> 1]!;
  const bandwidth = (2 * source.byteLength) / copy / 1e6;
  // Measure reads g, G, w; apply reads them again and writes G and w.
  const bytes = 8 * source.byteLength;
  console.log(
    `  memory: copy at ${bandwidth.toFixed(1)} GB/s; the step's ${(bytes / 1e6).toFixed(0)} MB at that rate ${(bytes / bandwidth / 1e6).toFixed(1)} ms`,
  );
}
