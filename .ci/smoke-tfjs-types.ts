// What a program with its own tfjs names of clippy-diag/tfjs and of the recorder.
import * as tf from '@tensorflow/tfjs-core';
import { clippyRecorder } from 'clippy-diag/recorder';
import { ClippyAdagrad } from 'clippy-diag/tfjs';

const optimizer: tf.Optimizer = new ClippyAdagrad(0.05);
export const variable: tf.Variable = tf.variable(tf.scalar(1));
export const record = () => clippyRecorder({ variables: [variable], optimizer, folder: 'capture' });
