/**
 * What the tfjs recorder costs a training step on the wasm backend, while the loss is quiet.
 *
 *     node bench/recorder-overhead-tfjs.js
 *
 * A net of 256-512-256-128-4 under Adagrad, batch 256. Blocks of 10 steps with and without the recorder alternate; printed are
 * median and quartiles of the CPU time a step takes, and the median of the pairs' ratios.
 */
import { createRequire } from 'node:module';
import { clippyRecorder } from 'clippy-diag/recorder';

const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs-core');
require('@tensorflow/tfjs-layers');
require('@tensorflow/tfjs-backend-wasm');
await tf.setBackend('wasm');
await tf.ready();

const sizes = [256, 512, 256, 128, 4];
const variables = sizes
  .slice(1)
  .flatMap((size, i) => [
    tf.variable(tf.randomNormal([sizes[i], size], 0, 0.05), true, `${i}/kernel`),
    tf.variable(tf.zeros([size]), true, `${i}/bias`),
  ]);
const optimizer = tf.train.adagrad(0.01);
const recorder = clippyRecorder({ variables, optimizer, folder: '/nonexistent' });
const loss = (x, y) => {
  let h = x;
  for (let i = 0; i < 4; i++) {
    h = tf.add(tf.matMul(h, variables[2 * i]), variables[2 * i + 1]);
    if (i < 3) h = tf.relu(h);
  }
  return tf.mean(tf.square(tf.sub(h, y)));
};

const times = { without: [], with: [] };
let step = 0;
for (let block = 0; block < 18; block++) {
  const name = block % 2 === 1 ? 'with' : 'without';
  const start = process.cpuUsage();
  for (let k = 0; k < 10; k++)
    tf.tidy(() => {
      const [x, y] = [tf.randomNormal([256, 256]), tf.randomNormal([256, 4])];
      const { value, grads } = optimizer.computeGradients(() => loss(x, y));
      if (name === 'with') recorder.record(step++, value, grads);
      optimizer.applyGradients(Object.entries(grads).map(([id, tensor]) => ({ name: id, tensor })));
    });
  const { user, system } = process.cpuUsage(start);
  // The first of each is warm-up.
  if (block >= 2) times[name].push((user + system) / 1e4);
}
const quantile = (values, q) => values.toSorted((a, b) => a - b)[Math.round(q * (values.length - 1))];
for (const [name, values] of Object.entries(times)) {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((q) => quantile(values, q).toFixed(1));
  console.log(`${name} ${middle} ms (${low} to ${high})`);
}
const ratios = times.with.map((value, i) => value / times.without[i]);
console.log(`${(100 * (quantile(ratios, 0.5) - 1)).toFixed(1)} % (median of pairs)`);
