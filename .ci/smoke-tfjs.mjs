// A training with the user's own tfjs, of another version than the one in the bundle: the optimizer is one of that tfjs,
// and the recorder takes its tensors.
import { existsSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-backend-cpu';
import { clippyRecorder } from 'clippy-diag/recorder';
import { ClippyAdagrad } from 'clippy-diag/tfjs';

const optimizer = new ClippyAdagrad(0.05);
if (!(optimizer instanceof tf.Optimizer)) throw new Error('ClippyAdagrad is an optimizer of another tfjs');
const model = layers.sequential({ layers: [layers.layers.dense({ units: 1, inputShape: [2] })] });
// tfjs-layers refuses an optimizer of another tfjs-core.
model.compile({ optimizer, loss: 'meanSquaredError' });
const variables = model.trainableWeights.map((weight) => weight.read());
const recorder = clippyRecorder({ variables, optimizer, folder: 'user-capture', after: 2 }).attach(model);
const x = tf.tensor2d(
  Array.from({ length: 64 }, (_, i) => (i % 7) / 7 - 0.5),
  [32, 2],
);
const before = model.evaluate(x, tf.sum(x, 1, true)).dataSync()[0];
await model.fit(x, tf.sum(x, 1, true), { batchSize: 8, epochs: 20, shuffle: false, verbose: 0 });
const after = model.evaluate(x, tf.sum(x, 1, true)).dataSync()[0];
if (!(after < before / 2)) throw new Error(`trained from ${before} to ${after}`);
recorder.flush();
await model.fit(x, tf.sum(x, 1, true), { batchSize: 8, epochs: 1, shuffle: false, verbose: 0 });
if (!existsSync('user-capture/capture.json')) throw new Error('nothing was recorded');
console.log(`tfjs ${tf.version_core}: ${before.toFixed(4)} -> ${after.toFixed(4)}`);
