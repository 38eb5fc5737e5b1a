// npm install clippy-diag @tensorflow/tfjs-core @tensorflow/tfjs-layers @tensorflow/tfjs-backend-cpu
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-backend-cpu';
import { clippyRecorder } from 'clippy-diag/recorder';

const model = layers.sequential(); // yours
model.add(layers.layers.dense({ units: 16, inputShape: [4], activation: 'relu' }));
model.add(layers.layers.dense({ units: 1 }));
model.compile({ optimizer: tf.train.adam(1e-3), loss: 'meanSquaredError' });
const [x, y] = [tf.randomNormal([480, 4]), tf.randomNormal([480, 1])]; // yours

const variables = model.trainableWeights.map((weight) => weight.read());
const recorder = clippyRecorder({ variables, optimizer: model.optimizer, folder: 'capture' }).attach(model);
recorder.flush(); // a drill, to see that all works: take it out later
await model.fit(x, y, { batchSize: 8, epochs: 1, verbose: 0 });
// then: clippy-diag analyze capture
