/**
 * Loads tfjs with a backend: the one asked for, else wasm, else cpu (faster-backend.ts asks for tfjs-node). Whatever runs has
 * to pass a self-test of its second derivatives first. wasm and cpu come with the program, and so does their tfjs-core;
 * tfjs-node brings a tfjs-core of its own, and then that one is used throughout.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import * as util from 'node:util';
import type { Tensor } from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';
import { diagError, firstLineOf } from '../../model/errors.ts';
import { formatNumber } from '../../model/format-number.ts';
import { type FusedMultiplyAdd, fusedMultiplyAdd } from '../../step/kernels/fused-multiply-add.ts';
import { productKernels } from '../../step/kernels/matrix-product.ts';
import { programFile } from '../../step/threads/start-thread.ts';
import { BACKENDS, type BackendName } from './backend-names.ts';
import { curedFunctions, cureGradients, type Tf } from './gradients.ts';
import { cureWasmKernels, multiplyFused, onHeap } from './wasm-kernels.ts';

export interface Backend {
  readonly name: BackendName;
  /** tfjs-core, cured. */
  readonly tf: Tf;
  readonly layers: typeof Layers;
  /** The numbers of a tensor of float32: on wasm not a copy, and good until the next operation. */
  valuesOf(tensor: Tensor): Float32Array;
  /** Why a better backend is not in use: at most one line for each. */
  readonly notes: readonly string[];
}

let loaded: Promise<Backend> | undefined;
let loadedFor: BackendName | undefined;
let loadedFast = false;

/**
 * Loads a backend, once for a process.
 *
 * @param wanted forces one; left out, the first that loads of those that come with the program
 * @param fastMath lets wasm multiply matrices with fused multiply-add, which rounds by processor; whoever asks next without
 *   it gets plain products, and so does every network from then on
 * @throws backend-unavailable, backend-wrong (its second derivatives fail the self-test)
 */
export function loadBackend(wanted?: BackendName, fastMath = false): Promise<Backend> {
  if (loaded !== undefined && (wanted === undefined || wanted === loadedFor) && fastMath === loadedFast)
    return loaded;
  loaded = load(wanted, fastMath);
  loadedFor = wanted;
  loadedFast = fastMath;
  // A failure is no state to stay in: the next call may ask for another backend.
  loaded.then(
    (backend) => {
      loadedFor = backend.name;
    },
    () => {
      loaded = undefined;
    },
  );
  return loaded;
}

const require = createRequire(import.meta.url);

/** What tfjs-packages.cjs exports. */
interface TfjsPackages {
  readonly core: Tf;
  readonly layers: typeof Layers;
  readonly registerCpu: () => unknown;
  readonly registerWasm: () => unknown;
}

/** What came of --fast-math. */
const FAST_MATH: Readonly<Record<FusedMultiplyAdd | 'other-backend', string>> = {
  fused:
    '--fast-math: matrix products rounded once (fused multiply-add), so another processor may give other last digits',
  'not-in-processor': '--fast-math changed nothing: this processor has no fused multiply-add',
  'not-in-node': '--fast-math changed nothing: this Node has no relaxed SIMD; Node 20 and later have it',
  'other-backend': '--fast-math changed nothing: it is for the backend wasm',
};

type Loaded = Pick<Backend, 'tf' | 'layers'>;

async function load(wanted: BackendName | undefined, fastMath: boolean): Promise<Backend> {
  const notes: string[] = [];
  let lastProblem = '';
  const names = wanted === undefined ? BACKENDS.filter((name) => name !== 'tfjs-node') : [wanted];
  for (const name of names) {
    let loaded: Loaded;
    const fused = fastMath && name === 'wasm' && fusedMultiplyAdd() === 'fused';
    try {
      // First of all, before tfjs's own module compiles: that must not see the flags of ours.
      if (name === 'wasm') productKernels(fused);
      loaded = await START[name]();
    } catch (error) {
      lastProblem = firstLineOf(error);
      notes.push(`backend ${name} does not load (${lastProblem})`);
      continue;
    }
    const { tf, layers } = loaded;
    if (fastMath) notes.push(FAST_MATH[name === 'wasm' ? fusedMultiplyAdd() : 'other-backend']);
    multiplyFused(fused);
    cureGradients(tf);
    const cured = curedFunctions(tf);
    const wrong = selfTest(cured);
    if (wrong !== undefined) {
      if (wanted !== undefined) throw diagError('backend-wrong', { backend: name, wrong });
      notes.push(`backend ${name} has wrong second derivatives (${wrong}) and is not used`);
      continue;
    }
    return {
      name,
      tf: cured,
      layers,
      valuesOf: name === 'wasm' ? onHeap(tf) : (tensor) => tensor.dataSync<'float32'>(),
      notes,
    };
  }
  throw diagError('backend-unavailable', { backend: wanted ?? names.join(', '), reason: lastProblem });
}

/** The tfjs that comes with the program. */
function ownTfjs(): TfjsPackages {
  const packages = require(
    fileURLToPath(programFile('differentiate/autodiff/tfjs-packages.cjs')),
  ) as TfjsPackages;
  packages.core.enableProdMode();
  return packages;
}

const START: Readonly<Record<BackendName, () => Promise<Loaded>>> = {
  'tfjs-node': async () => {
    // tfjs-node 4.22 calls these; Node 23 removed them.
    const shimmed = util as unknown as Record<string, unknown>;
    const target = (require('node:util') ?? shimmed) as Record<string, unknown>;
    target.isNullOrUndefined ??= (x: unknown): boolean => x === null || x === undefined;
    target.isArray ??= Array.isArray;
    // Its library greets on standard error otherwise.
    process.env.TF_CPP_MIN_LOG_LEVEL ??= '1';
    // It exports all of tfjs-core and of tfjs-layers, as `@tensorflow/tfjs` does.
    const tf = require('@tensorflow/tfjs-node') as Tf & typeof Layers;
    tf.enableProdMode();
    if (!(await tf.setBackend('tensorflow'))) throw new Error('its backend does not start');
    await tf.ready();
    return { tf, layers: tf };
  },
  wasm: async () => {
    const { core: tf, layers, registerCpu, registerWasm } = ownTfjs();
    registerCpu();
    registerWasm();
    // Kernels of the cpu backend replace those that wasm lacks.
    await tf.setBackend('cpu');
    // Its loader listens for uncaught exceptions and throws them again, which prints a page of minified source.
    const before = (['uncaughtException', 'unhandledRejection'] as const).map(
      (event) => [event, process.rawListeners(event)] as const,
    );
    if (!(await tf.setBackend('wasm'))) throw new Error('its backend does not start');
    await tf.ready();
    for (const [event, listeners] of before)
      for (const listener of process.rawListeners(event))
        if (!listeners.includes(listener)) process.off(event, listener as () => void);
    cureWasmOnce(tf);
    return { tf, layers };
  },
  cpu: async () => {
    const { core: tf, layers, registerCpu } = ownTfjs();
    registerCpu();
    if (!(await tf.setBackend('cpu'))) throw new Error('its backend does not start');
    await tf.ready();
    return { tf, layers };
  },
};

const curedWasm = new WeakSet<Tf>();
function cureWasmOnce(tf: Tf): void {
  if (curedWasm.has(tf)) return;
  curedWasm.add(tf);
  cureWasmKernels(tf);
}

/**
 * Hessian-vector products of Σ f(w) with v = 1, which are f″(w), for a sigmoid and a tanh; and of a product with a
 * transposed argument. Says what is wrong, undefined if nothing is.
 */
function selfTest(tf: Tf): string | undefined {
  const points = [-1.5, -0.3, 0.2, 0.9];
  const tests: readonly [
    string,
    (x: InstanceType<Tf['Tensor']>) => InstanceType<Tf['Tensor']>,
    (x: number) => number,
  ][] = [
    [
      'sigmoid',
      (x) => tf.sigmoid(x),
      (x) => {
        const s = 1 / (1 + Math.exp(-x));
        return s * (1 - s) * (1 - 2 * s);
      },
    ],
    ['tanh', (x) => tf.tanh(x), (x) => -2 * Math.tanh(x) * (1 - Math.tanh(x) ** 2)],
    // Σ over the outer product x·xᵀ squared: 12x² + 4Σ others, with v = 1.
    [
      'matMul',
      (x) => tf.square(tf.matMul(tf.reshape(x, [1, -1]), tf.reshape(x, [1, -1]), false, true)),
      (x) => {
        const total = points.reduce((sum, p) => sum + p * p, 0);
        const plain = points.reduce((sum, p) => sum + p, 0);
        return 4 * total + 8 * x * plain;
      },
    ],
  ];
  for (const [name, f, second] of tests) {
    const found = tf.tidy(() => {
      const gradient = tf.grad((x) => tf.sum(f(x)));
      return tf
        .grad((x) => tf.sum(gradient(x)))(tf.tensor1d(points))
        .dataSync();
    });
    for (const [i, x] of points.entries()) {
      const expected = second(x);
      if (!(Math.abs(found[i]! - expected) <= 1e-4 * (1 + Math.abs(expected))))
        return `${name}″(${x}) is ${found[i]}, not ${formatNumber(expected, 'exact')}`;
    }
  }
  return undefined;
}
