/**
 * The weights of a layers model by name, and which of them a tensor of a file is.
 *
 * | where the tensor comes from | its name |
 * |---|---|
 * | Keras `.h5` | `model_weights/lstm/lstm/lstm_cell/kernel:0` |
 * | `.keras` | `layers/lstm/cell/vars/0`, layers counted by class in the order of the configuration |
 * | captures of Keras; tfjs | `lstm/lstm_cell/kernel`; `lstm/kernel` |
 */
import type { Variable } from '@tensorflow/tfjs-core';
import type * as Layers from '@tensorflow/tfjs-layers';
import { isJsonObject } from '../../model/json.ts';
import type { LayerConfig } from './layers-config.ts';

export interface LayersWeight {
  /** The layers around it and its own name: `bidirectional/forward_lstm/kernel`. */
  readonly name: string;
  /** As `.keras` has it: `layers/bidirectional/forward_layer/cell/vars/0`. */
  readonly path: string;
  readonly variable: {
    readonly shape: readonly (number | null)[];
    read(): Variable;
    write(x: Variable): void;
  };
  /** What the tape records: a variable of tfjs-core. */
  readonly value: Variable;
  /** `parameter`, frozen by `trainable: false`, a running average, or a scale or offset that the layer has not. */
  readonly role: 'parameter' | 'frozen' | 'running' | 'constant';
}

type Weight = LayersWeight['variable'] & { readonly originalName: string; readonly val: Variable };
/** A layer, model or cell of tfjs with the parts that it may have. */
interface Part {
  readonly name: string;
  readonly weights: readonly Weight[];
  readonly layers?: readonly Part[];
  readonly layer?: Part;
  readonly forwardLayer?: Part;
  readonly backwardLayer?: Part;
  readonly cell?: Part;
  readonly cells?: readonly Part[];
}

/** All weights of a model, layers in the order of its configuration. */
export const weightsOf = (model: Layers.LayersModel, topology: LayerConfig): LayersWeight[] =>
  weightsIn(model as unknown as Part, topology, { path: '', names: [], frozen: false });

/** Where a part lies in the model. */
interface Place {
  readonly path: string;
  readonly names: readonly string[];
  readonly frozen: boolean;
}

function weightsIn(part: Part, config: LayerConfig, { path, names, frozen }: Place): LayersWeight[] {
  const off = frozen || config.config.trainable === false;
  const inner = innerParts(part, config);
  if (inner === undefined) return ownWeights(part, config, { path, names, frozen: off });
  return inner.flatMap(({ inner: one, config: own, step, unnamed = false }) =>
    weightsIn(one, own, {
      path: path + step,
      names: unnamed ? names : [...names, one.name],
      frozen: off,
    }),
  );
}

/** A layer or cell in another, and what it adds to the path; a cell adds no name. */
interface Inner {
  readonly inner: Part;
  readonly config: LayerConfig;
  readonly step: string;
  readonly unnamed?: boolean;
}

/** The parts of a part; undefined of one that has weights itself. */
function innerParts(part: Part, { class_name, config }: LayerConfig): Inner[] | undefined {
  const { layers, layer, cell, cells } = config as Record<string, LayerConfig | LayerConfig[]>;
  if (Array.isArray(layers)) {
    const paths = countedNames(layers);
    return layers.flatMap((own, i) => {
      const inner = part.layers!.find(({ name }) => name === own.config.name);
      // A Sequential has no input layer of its own.
      return inner === undefined ? [] : { inner, config: own, step: `layers/${paths[i]}/` };
    });
  }
  if (class_name === 'Bidirectional')
    return [
      { inner: part.forwardLayer!, config: layer as LayerConfig, step: 'forward_layer/' },
      { inner: part.backwardLayer!, config: layer as LayerConfig, step: 'backward_layer/' },
    ];
  if (isJsonObject(layer)) return [{ inner: part.layer!, config: layer as LayerConfig, step: 'layer/' }];
  if (isJsonObject(cell))
    return [{ inner: part.cell!, config: cell as LayerConfig, step: 'cell/', unnamed: true }];
  if (!Array.isArray(cells)) return undefined;
  const paths = countedNames(cells);
  return cells.map((own, i) => ({ inner: part.cells![i]!, config: own, step: `cells/${paths[i]}/` }));
}

function ownWeights(part: Part, { config }: LayerConfig, { path, names, frozen }: Place): LayersWeight[] {
  const cell = part.cell === undefined ? '' : 'cell/';
  let index = 0;
  return (part.cell ?? part).weights.map((variable) => {
    const own = variable.originalName.split('/').at(-1)!;
    const constant =
      (own === 'gamma' && config.scale === false) || (own === 'beta' && config.center === false);
    const running = /^moving_(mean|variance)$/.test(own);
    return {
      name: [...names, own].join('/'),
      path: `${path}${cell}vars/${constant ? '-' : index++}`,
      variable,
      value: variable.val,
      role: constant ? 'constant' : running ? 'running' : frozen ? 'frozen' : 'parameter',
    };
  });
}

/** The model's name of a tensor of a file or capture; the tensor's own where no weight, or no single one, fits best. */
export function weightNamed(source: string, weights: readonly LayersWeight[]): string {
  const parts = source.replace(/:\d+$/, '').split('/');
  if (parts.at(-2) === 'vars') {
    const path = parts.join('/').replaceAll('_layer_checkpoint_dependencies/', 'layers/');
    return weights.find((weight) => weight.path === path)?.name ?? source;
  }
  const own = parts.pop()!;
  const around = new Set(parts);
  let best: string | undefined;
  let bestScore = 0;
  for (const { name } of weights) {
    const layers = name.split('/');
    const last = layers.pop()!;
    // Keras 3 calls the kernel of a depthwise convolution so.
    if (last !== own && !(own === 'kernel' && last === 'depthwise_kernel')) continue;
    const shared = layers.filter((layer) => around.has(layer)).length;
    // One layer more in common outweighs all those that the source does not mention.
    const score = shared === 0 ? 0 : 1000 * shared - layers.length;
    if (score > bestScore) best = name;
    else if (score === bestScore) best = undefined;
    bestScore = Math.max(score, bestScore);
  }
  return best ?? source;
}

/** `dense`, `dense_1` … by class, as Keras names what it saves. */
function countedNames(layers: readonly LayerConfig[]): string[] {
  const seen = new Map<string, number>();
  return layers.map(({ class_name }) => {
    const kind = snake(class_name);
    const count = seen.get(kind) ?? 0;
    seen.set(kind, count + 1);
    return count === 0 ? kind : `${kind}_${count}`;
  });
}

/** `BatchNormalization` → `batch_normalization`, `Conv2D` → `conv2d`, as Keras has it. */
const snake = (name: string): string =>
  name
    .replace(/(.)([A-Z][a-z0-9]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase();
