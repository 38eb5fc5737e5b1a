/**
 * The packages of TensorFlow.js. CommonJS on purpose: it loads five times faster than the ES modules. The build bundles this
 * file with all that it requires, so that no user installs 97 MB of which 3 MB run.
 */
exports.core = require('@tensorflow/tfjs-core');
// tfjs-core alone registers no gradients; tfjs-layers does.
exports.layers = require('@tensorflow/tfjs-layers');
exports.registerCpu = () => require('@tensorflow/tfjs-backend-cpu');
exports.registerWasm = () => require('@tensorflow/tfjs-backend-wasm');
