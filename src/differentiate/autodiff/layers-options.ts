/**
 * Which layers are built, with which of their options: those whose loss, gradient and Hessian product were compared with
 * Keras (fixtures/curvature/layers.py).
 *
 * tfjs-layers 4.22 ignores options that it does not know and computes something else for some that it does. So an
 * option is refused unless it is listed for its layer, has the one value that is listed, or is off (null or false).
 */
import { isDeepStrictEqual } from 'node:util';
import { diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import type { LayerConfig, Topology } from './layers-config.ts';

/** Options of every layer; initial values are never used, and constraints act on steps, not on the loss. */
const ANYWHERE =
  /^(?:name|trainable|batch_input_shape|build_input_shape|seed|noise_shape|momentum|renorm_momentum|implementation|unroll|unit_forget_bias|zero_output_for_mask|rate|stddev|(?:recurrent_)?dropout|\w+_(?:initializer|regularizer|constraint))$/;

/** The only values that are built of these options, wherever they are. */
const ONLY: ReadonlyMap<string, readonly unknown[]> = new Map([
  ['data_format', ['channels_last']],
  ['dilation_rate', [1]],
  ['groups', [1]],
  ['ReLU.negative_slope', [0]],
  ['ReLU.threshold', [0]],
  ['ELU.alpha', [1]],
  ['Softmax.axis', [-1]],
  ['Bidirectional.merge_mode', ['concat', 'sum', 'mul', 'ave']],
  ['Conv1D.padding', ['valid', 'same']],
  ['dtype', ['float32', 'int32', 'int64', 'mixed_float16', 'mixed_bfloat16']],
]);

const CONVOLUTION = ['kernel_size', 'strides', 'padding', 'activation', 'use_bias'];
const POOL = ['pool_size', 'strides', 'padding'];
const RECURRENT = ['units', 'activation', 'use_bias', 'return_sequences', 'return_state', 'go_backwards'];
const GATED = [...RECURRENT, 'recurrent_activation'];
const MODEL = ['layers', 'input_layers', 'output_layers'];

const OPTIONS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries({
    Model: MODEL,
    Functional: MODEL,
    Sequential: MODEL,
    InputLayer: [],
    Activation: ['activation'],
    Add: [],
    AlphaDropout: [],
    Average: [],
    AveragePooling1D: POOL,
    AveragePooling2D: POOL,
    BatchNormalization: ['axis', 'center', 'scale', 'epsilon'],
    Bidirectional: ['layer', 'backward_layer', 'merge_mode'],
    Concatenate: ['axis'],
    Conv1D: ['filters', ...CONVOLUTION],
    Conv2D: ['filters', ...CONVOLUTION],
    Conv2DTranspose: ['filters', ...CONVOLUTION],
    Cropping2D: ['cropping'],
    Dense: ['units', 'activation', 'use_bias'],
    DepthwiseConv2D: ['depth_multiplier', ...CONVOLUTION],
    Dot: ['axes', 'normalize'],
    Dropout: [],
    ELU: [],
    Embedding: ['input_dim', 'output_dim', 'input_length', 'mask_zero'],
    Flatten: [],
    GRU: GATED,
    GRUCell: GATED,
    GaussianDropout: [],
    GaussianNoise: [],
    GlobalAveragePooling1D: [],
    GlobalAveragePooling2D: [],
    GlobalMaxPooling1D: [],
    GlobalMaxPooling2D: [],
    LSTM: GATED,
    LSTMCell: GATED,
    LayerNormalization: ['axis', 'center', 'scale', 'epsilon'],
    LeakyReLU: ['alpha', 'negative_slope'],
    Masking: ['mask_value'],
    MaxPooling1D: POOL,
    MaxPooling2D: POOL,
    Maximum: [],
    Minimum: [],
    Multiply: [],
    PReLU: ['shared_axes'],
    Permute: ['dims'],
    RNN: ['cell', ...RECURRENT],
    ReLU: ['max_value'],
    RepeatVector: ['n'],
    Rescaling: ['scale', 'offset'],
    Reshape: ['target_shape'],
    SeparableConv2D: ['filters', 'depth_multiplier', ...CONVOLUTION],
    SimpleRNN: RECURRENT,
    SimpleRNNCell: RECURRENT,
    Softmax: [],
    SpatialDropout1D: [],
    StackedRNNCells: ['cells'],
    ThresholdedReLU: ['theta'],
    TimeDistributed: ['layer'],
    ZeroPadding2D: ['padding'],
  }),
);

const ACTIVATIONS =
  /^(?:linear|relu6?|elu|selu|sigmoid|hard_sigmoid|tanh|softmax|softplus|softsign|swish|silu|gelu|mish)$/;

/** Layers that do with a mask what they do in Keras; tfjs hands it on through others, too, and those do not use it. */
const MASKED =
  /^(?:Model|Functional|Sequential|InputLayer|Embedding|Masking|Activation|Dense|Dropout|ELU|Flatten|GRU|LSTM|LayerNormalization|LeakyReLU|PReLU|SimpleRNN)$/;

/** Every layer, model and cell of a model, outermost first. */
export function partsOf(part: LayerConfig): LayerConfig[] {
  const { layers, layer, backward_layer, cell, cells } = part.config;
  const inner = [layers, cells, layer, backward_layer, cell].flat().filter(isLayer);
  return [part, ...inner.flatMap(partsOf)];
}
const isLayer = (value: unknown): value is LayerConfig =>
  isJsonObject(value) && typeof value.class_name === 'string' && isJsonObject(value.config);

/**
 * @param leaveOutRegularizers whether their penalties are not to be part of the loss, instead of being refused
 * @throws model-layer, which names layer, class and option
 */
export function checkLayers(topology: Topology, leaveOutRegularizers: boolean, path: string): void {
  const parts = partsOf(topology);
  const masks = parts.some(({ class_name, config }) => class_name === 'Masking' || config.mask_zero === true);
  const model = { masks, leaveOutRegularizers, keras3: topology.keras3 === true };
  for (const part of parts) {
    const layer = { ...part, normalises: partsOf(part).some(isBatchNormalization) };
    for (const objection of OBJECTIONS) {
      const reason = objection(layer, model);
      if (reason === undefined) continue;
      const details = { layer: String(part.config.name), className: part.class_name, reason };
      throw diagError('model-layer', details, { path });
    }
  }
}

const isBatchNormalization = ({ class_name }: LayerConfig): boolean => class_name === 'BatchNormalization';

/** What is known of all of a model. */
interface WholeModel {
  /** Whether a layer makes a mask. */
  readonly masks: boolean;
  readonly leaveOutRegularizers: boolean;
  readonly keras3: boolean;
}

/** A layer, and whether it or one in it normalises over the batch. */
type CheckedLayer = LayerConfig & { readonly normalises: boolean };

/** Why a layer is refused, the first of them first; undefined where it is not. */
const OBJECTIONS: readonly ((layer: CheckedLayer, model: WholeModel) => string | undefined)[] = [
  ({ config }) => unconnected(config.layers),
  ({ class_name }) => (/^(?:Lambda|TFOpLambda|SlicingOpLambda)$/.test(class_name) ? 'it is code' : undefined),
  ({ class_name, registered_name, module }) =>
    OPTIONS.has(class_name) &&
    !String(registered_name).includes('>') &&
    /^(?:tf_)?keras\b(?!.*\.ops\.)/.test(module ?? 'keras')
      ? undefined
      : 'it is not one of the layers listed in docs/autodiff.md',
  unknownOption,
  unknownActivation,
  ({ inbound_nodes, normalises }) => {
    const call = callArguments(inbound_nodes).find(
      ([name, value]) => value !== null && (name !== 'training' || (value === false && normalises)),
    );
    return call === undefined ? undefined : `it is called with ${call[0]}`;
  },
  ({ config, normalises }) =>
    normalises && config.trainable === false
      ? 'it is frozen, and batch normalisation then takes running averages'
      : undefined,
  ({ class_name, normalises }) =>
    normalises && class_name === 'TimeDistributed' ? 'it normalises batches' : undefined,
  ({ class_name, config }, { masks }) =>
    masks && (!MASKED.test(class_name) || config.zero_output_for_mask === true)
      ? 'it may get a mask (of Masking, or an Embedding with mask_zero)'
      : undefined,
  ({ class_name, config }) =>
    class_name === 'Bidirectional' && !sameBackwards(config)
      ? settingOf(config, 'backward_layer')
      : undefined,
];

const settingOf = (config: LayerConfig['config'], option: string): string =>
  `its ${option} is ${JSON.stringify(config[option]).slice(0, 80)}`;

function unknownOption(
  { class_name, config }: LayerConfig,
  { leaveOutRegularizers }: WholeModel,
): string | undefined {
  const options = OPTIONS.get(class_name)!;
  for (const [option, value] of Object.entries(config)) {
    if (/_regularizer$/.test(option) && value !== null && !leaveOutRegularizers)
      return `${settingOf(config, option)}, and penalties are no part of the loss ("regularizers": "left-out" accepts that)`;
    const only = ONLY.get(`${class_name}.${option}`) ?? ONLY.get(option);
    const fits =
      only === undefined
        ? value === null || value === false || ANYWHERE.test(option) || options.includes(option)
        : [value].flat().every((entry) => entry === null || only.includes(entry));
    if (!fits) return settingOf(config, option);
  }
  return undefined;
}

function unknownActivation({ config }: LayerConfig, { keras3 }: WholeModel): string | undefined {
  for (const option of ['activation', 'recurrent_activation'] as const) {
    const name = config[option] ?? 'linear';
    // Keras 3 has another function of this name: relu6(x + 3)/6 instead of 0.2·x + 0.5 between 0 and 1.
    const other = keras3 && name === 'hard_sigmoid';
    if (other || typeof name !== 'string' || !ACTIVATIONS.test(name)) return settingOf(config, option);
  }
  return undefined;
}

/**
 * Why the layers of a model cannot be connected: a name occurs twice, or the inputs of a layer never come, which
 * tfjs-layers would look for without end.
 */
function unconnected(layers: unknown): string | undefined {
  if (!Array.isArray(layers)) return undefined;
  const named = (layers as LayerConfig[]).filter((layer) => Array.isArray(layer?.inbound_nodes));
  const nameOf = (layer: LayerConfig): string => String((layer as { name?: unknown }).name);
  // Inputs and models have their first node from the start.
  const made = new Map(
    named.map((layer) => [
      nameOf(layer),
      Number(/^(?:InputLayer|Model|Functional|Sequential)$/.test(layer.class_name)),
    ]),
  );
  if (made.size < named.length) return 'two of its layers have the same name';
  let open = named.flatMap((layer) =>
    (layer.inbound_nodes as unknown[]).map((node) => ({
      name: nameOf(layer),
      from: [node].flat(1) as unknown[],
    })),
  );
  while (open.length > 0) {
    const left = open.filter(({ name, from }) => {
      const waits = from.some(
        (input) => Array.isArray(input) && !((made.get(String(input[0])) ?? 0) > Number(input[1])),
      );
      if (!waits) made.set(name, made.get(name)! + 1);
      return waits;
    });
    if (left.length === open.length) return `nothing leads to its layer "${left[0]!.name}"`;
    open = left;
  }
  return undefined;
}

/** Whether the backward layer is the forward one turned round, which is all that tfjs builds. */
function sameBackwards({ layer, backward_layer }: LayerConfig['config']): boolean {
  if (backward_layer === undefined || backward_layer === null) return true;
  const turned = (value: unknown): unknown => {
    if (!isLayer(value)) return value;
    const { name: _, go_backwards: __, zero_output_for_mask: ___, ...rest } = forTfjs(value).config;
    return [value.class_name, rest];
  };
  return isDeepStrictEqual(turned(layer), turned(backward_layer));
}

/** What a layer is called with in addition to its input: `[layer, node, tensor, { mask: … }]`, at any depth. */
function callArguments(nodes: unknown): [name: string, value: unknown][] {
  if (!Array.isArray(nodes)) return [];
  const given = nodes.length === 4 && typeof nodes[0] === 'string' ? nodes[3] : undefined;
  return isJsonObject(given) ? Object.entries(given) : nodes.flatMap(callArguments);
}

/** What tfjs-layers builds: the same layers in its names, without initial values to draw, and nothing random. */
export function forTfjs(part: LayerConfig): LayerConfig {
  const config: Record<string, unknown> = {};
  for (const [option, value] of Object.entries(part.config))
    config[option === 'negative_slope' ? 'alpha' : option] = valueForTfjs(option, value);
  if (part.class_name === 'SeparableConv2D')
    for (const kind of ['initializer', 'regularizer', 'constraint']) delete config[`kernel_${kind}`];
  if (part.class_name === 'Bidirectional' && isLayer(config.layer)) {
    const { layer } = config;
    const name = String(layer.config.name).replace(/^forward_/, '');
    config.layer = { ...layer, config: { ...layer.config, name } };
    delete config.backward_layer;
  }
  return { ...part, config };
}

function valueForTfjs(option: string, value: unknown): unknown {
  if (/_initializer$/.test(option))
    return { class_name: /gamma|variance/.test(option) ? 'Ones' : 'Zeros', config: {} };
  if (/^(?:rate|stddev|(?:recurrent_)?dropout)$/.test(option)) return 0;
  if (/activation$/.test(option) && value === 'silu') return 'swish';
  if (option === 'dtype') return String(value).startsWith('int') ? 'int32' : 'float32';
  if (/_regularizer$/.test(option)) return null;
  // The initial value of the one leaks tensors, the other only makes tfjs write warnings.
  if (option === 'unit_forget_bias' || option === 'unroll') return false;
  // tfjs fails without: the weights are there, and stay 1 and 0.
  if (/^(?:scale|center)$/.test(option) && value === false) return true;
  if (option === 'negative_slope') return value;
  if (Array.isArray(value) && value.some(isLayer)) return value.map((v) => (isLayer(v) ? forTfjs(v) : v));
  return isLayer(value) ? forTfjs(value) : value;
}
