/**
 * Records the gradient steps of a TensorFlow.js training around a divergence, so that `clippy-diag` can replay them under
 * other clipping rules.
 *
 *     import { clippyRecorder } from './clippy-recorder.js';
 *     const recorder = clippyRecorder({ variables, optimizer, folder: 'capture' });
 *     // your own loop:
 *     const { value, grads } = optimizer.computeGradients(() => loss(batch));
 *     recorder.record(step, value, grads, { batch: { dense: batch.x, 'label/click': batch.y } });
 *     optimizer.applyGradients(grads);
 *     // or, once, before model.fit (which takes no batches and counts the steps by itself):
 *     clippyRecorder({ variables: model.trainableWeights.map((w) => w.read()), optimizer: model.optimizer, folder: 'capture' }).attach();
 *
 * In memory are the gradients since the older of two snapshots of variables and optimizer state, which are renewed every K
 * steps, so a capture begins K to 2K steps before the incident. When the loss leaves its band (clippy-judge.js, which lies beside this file), or after `flush()`, what is in memory is
 * written, and each of the next `after` steps is added as it comes. Every file appears whole or not at all. Apache-2.0.
 */
import * as fs from 'node:fs';
import { lossStream } from './clippy-judge.js';

/** What the classes of tf.train are in a capture: name, slots by the list that holds their variables, options. */
const OPTIMIZERS = {
  Adagrad: {
    name: 'adagrad',
    slots: { accumulatedGrads: 'accumulator' },
    options: ({ initialAccumulatorValue, epsilon }) => ({
      initialAccumulatorValue,
      // AdagradOptimizer has no option for it: it takes the backend's ε.
      epsilon: epsilon ?? 1e-7,
      epsilonInside: true,
      accumulator: 'standard',
    }),
  },
  SGD: { name: 'sgd', slots: {}, options: () => ({}) },
  Momentum: {
    name: 'sgd',
    slots: { accumulations: 'momentum' },
    options: ({ momentum, useNesterov }) => ({ momentum, nesterov: useNesterov }),
  },
  Adam: {
    name: 'adam',
    slots: { accumulatedFirstMoment: 'm', accumulatedSecondMoment: 'v' },
    options: ({ beta1, beta2, epsilon }) => ({ beta1, beta2, epsilon }),
  },
  RMSProp: {
    name: 'rmsprop',
    slots: { accumulatedMeanSquares: 'v', accumulatedMoments: 'momentum', accumulatedMeanGrads: 'm' },
    options: ({ decay, momentum, epsilon, centered }) => ({
      rho: decay,
      momentum,
      epsilon,
      centered,
      epsilonInside: true,
      learningRateInside: true,
    }),
  },
};

/**
 * @param {object} options
 * @param options.variables tf.Variable[] that are trained
 * @param options.optimizer a tf.train optimizer: Adagrad, SGD, Momentum, Adam or RMSProp
 * @param options.folder where the capture goes; a second incident goes to `<folder>-2`, up to `maxCaptures`
 * @param options.every K
 * @param options.after steps recorded after the jump
 * @param options.clipping clipping that you do yourself, e.g. {rule: 'global-norm', maxNorm: 1}; pass gradients from before it
 * @param options.modelFile the capture's model description, copied into the folder
 * @param options.framework what the manifest names as framework, e.g. `tfjs ${tf.version.tfjs}`
 * @throws where the optimizer cannot be replayed
 */
export function clippyRecorder({
  variables,
  optimizer,
  folder = 'capture',
  every = 20,
  after = 34,
  clipping = { rule: 'none' },
  modelFile = null,
  framework = 'tfjs',
  maxCaptures = 3,
}) {
  const className = optimizer.constructor.className;
  const kind = Object.hasOwn(OPTIMIZERS, className) ? OPTIMIZERS[className] : undefined;
  if (kind === undefined)
    throw new Error(
      `clippy-recorder: ${className} cannot be replayed; known are ${Object.keys(OPTIMIZERS).join(', ')}`,
    );
  /** Steps since the older of the two snapshots. */
  let ring = [];
  let losses = [];
  let since = 0;
  let captures = 0;
  let steps = 0;
  let wanted = null;
  const judge = lossStream();
  /** A jump at the last step of a capture, for which nothing was in memory. */
  let late = null;
  let open = null;
  let disabled = null;

  const state = () => {
    const tensors = {};
    for (const [list, slot] of Object.entries(kind.slots))
      for (const { originalName, variable } of optimizer[list] ?? []) {
        const owner = originalName.slice(0, originalName.lastIndexOf('/'));
        if (variable) tensors[`state/${slot}/${owner}`] = copy(variable);
      }
    for (const { name } of variables)
      tensors[`state/step/${name}`] = {
        dtype: 'F32',
        shape: [],
        data: Float32Array.of(optimizer.iterations),
      };
    return tensors;
  };

  const append = (record, last) => {
    const file = `step-${String(record.step).padStart(8, '0')}.safetensors`;
    writeSafetensors(`${open.path}/${file}`, { ...record.tensors, ...record.parameters });
    const { step, learningRate, loss, tasks } = record;
    const named = Object.entries(tasks).map(([task, value]) => [task, number(value)]);
    open.manifest.steps.push({
      step,
      file,
      learningRate,
      loss: number(loss),
      ...(named.length > 0 ? { tasks: Object.fromEntries(named) } : {}),
    });
    if (!last) return;
    writeAtomically(`${open.path}/capture.json`, [JSON.stringify(open.manifest, null, 1)]);
    if (--open.left === 0) {
      open = null;
      since = 0;
    }
  };

  const begin = (step, reason) => {
    captures++;
    wanted = null;
    let target = folder;
    for (let n = 2; fs.existsSync(target); n++) target = `${folder}-${n}`;
    const [first] = ring;
    const before = losses.filter((point) => point.step < first.step).slice(-500);
    const manifest = {
      version: 1,
      framework,
      optimizer: {
        name: kind.name,
        learningRate: first.learningRate,
        weightDecay: 0,
        ...kind.options(optimizer.getConfig()),
      },
      clipping,
      parameters: variables.map(({ name, shape }) => ({ name, shape, ...layoutOf(name, shape.length) })),
      ...(modelFile ? { model: modelFile.split('/').at(-1) } : {}),
      flushed: { step, reason },
      history: { steps: before.map((point) => point.step), loss: before.map((point) => number(point.loss)) },
      steps: [],
    };
    open = { path: `${target}.partial`, manifest, left: after + 1 };
    fs.rmSync(open.path, { recursive: true, force: true });
    fs.mkdirSync(open.path, { recursive: true });
    if (modelFile) fs.copyFileSync(modelFile, `${open.path}/${manifest.model}`);
    writeSafetensors(`${open.path}/initial.safetensors`, { ...first.parameters, ...first.state });
    first.parameters = {};
    const opened = open;
    ring.forEach((record, i) => {
      append(record, i === ring.length - 1);
    });
    fs.renameSync(opened.path, target);
    opened.path = target;
    ring = [];
  };

  const take = (step, loss, grads, { tasks, batch }) => {
    const tensors = {};
    for (const [name, tensor] of Object.entries(batch)) tensors[`batch/${name}`] = copy(tensor);
    for (const { name } of variables) {
      if (grads[name] == null) throw new Error(`${name} has no gradient`);
      tensors[`grad/${name}`] = copy(grads[name]);
    }
    const record = { step, loss, learningRate: optimizer.learningRate, tasks, tensors, parameters: {} };
    if (since % every === 0) {
      for (const variable of variables) record.parameters[`param/${variable.name}`] = copy(variable);
      if (open === null) {
        record.state = state();
        const snapshots = ring.flatMap((held, i) => (held.state ? [i] : []));
        if (snapshots.length > 1) ring = ring.slice(snapshots.at(-1));
      }
    }
    since++;
    if (open === null) ring.push(record);
    else append(record, true);
    const incident = judge.add(loss);
    const jump = incident?.begins ? reasonOf(loss, incident) : null;
    // After the last step of a capture nothing is in memory: what asks for another then has it a step later.
    const ended = open === null && ring.length === 0;
    const asked = wanted || (captures < maxCaptures && (late || jump));
    if (open === null && !ended && asked) begin(step, asked);
    late = ended ? jump : null;
    losses.push({ step, loss });
    if (losses.length > 1000 + 4 * every) losses = losses.slice(-500 - 2 * every);
  };

  const recorder = {
    /**
     * Takes one step, before `applyGradients`. It never stops the training: what it cannot do is a warning, and it records
     * no more.
     *
     * @param loss a number or a scalar tensor
     * @param grads gradients by variable name, before any clipping
     * @param extra task losses by name; tensors of the batch for closed-loop replay
     */
    record(step, loss, grads, { tasks = {}, batch = {} } = {}) {
      if (disabled) return;
      try {
        take(step, typeof loss === 'number' ? loss : loss.dataSync()[0], grads, { tasks, batch });
      } catch (error) {
        disabled = error;
        process.emitWarning(`clippy-recorder: stopped, training goes on: ${error.message}`);
      }
    },
    /** Writes a capture at the next step, jump or not, and records on for `after` steps. */
    flush(reason = 'requested') {
      wanted = reason;
    },
    /** Records every `optimizer.minimize`, which model.fit and model.trainOnBatch call. */
    attach() {
      const computeGradients = optimizer.computeGradients.bind(optimizer);
      optimizer.computeGradients = (f, variableList) => {
        const result = computeGradients(f, variableList);
        recorder.record(steps++, result.value, result.grads);
        return result;
      };
      return recorder;
    },
  };
  return recorder;
}

const copy = (tensor) => {
  const data = tensor.dataSync();
  return { dtype: data instanceof Float32Array ? 'F32' : 'I32', shape: tensor.shape, data: data.slice() };
};

const layoutOf = (name, rank) => {
  // Variables of a second model get names such as dense/kernel_1.
  const last = name.split('/').at(-1).replace(/_\d+$/, '');
  const layout = last === 'kernel' && rank === 2 ? 'IO' : last === 'kernel' && rank === 4 ? 'HWIO' : 'none';
  return { layout, embedding: last === 'embeddings' };
};

const number = (value) => (Number.isFinite(value) ? value : String(value));

/** Why a capture begins at this loss. */
const reasonOf = (loss, { before }) =>
  Number.isFinite(loss) ? `loss ${loss} after a median of ${before}` : `loss is ${loss}`;

/** u64 length of the header, JSON header padded with spaces to 8 bytes, the tensors row by row, little-endian. */
function writeSafetensors(path, tensors) {
  const header = {};
  let offset = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  let text = Buffer.from(JSON.stringify(header));
  text = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const bytes = Object.values(tensors).map(
    ({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
  writeAtomically(path, [size, text, ...bytes]);
}

/** Bytes or text to a temporary file beside the path, synced, renamed. */
function writeAtomically(path, parts) {
  const file = fs.openSync(`${path}.tmp`, 'w');
  for (const part of parts) fs.writeSync(file, part);
  fs.fsyncSync(file);
  fs.closeSync(file);
  fs.renameSync(`${path}.tmp`, path);
}
