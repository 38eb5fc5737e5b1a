/** What a `ranking` document says once it is checked. It names no type of TensorFlow.js, so that public types may name it. */

export type Activation =
  | 'relu'
  | 'elu'
  | 'selu'
  | 'sigmoid'
  | 'tanh'
  | 'softplus'
  | 'swish'
  | 'gelu'
  | 'linear';

export type LossName = 'sigmoid-cross-entropy' | 'binary-cross-entropy' | 'mean-squared-error' | 'poisson';

export type Feature =
  | { readonly name: string; readonly type: 'categorical'; readonly vocabulary: number; readonly dim: number }
  | { readonly name: string; readonly type: 'dense'; readonly size: number };

export interface SharedBottom {
  readonly type: 'shared-bottom';
  readonly units: readonly number[];
  readonly activation: Activation;
  readonly layerNorm: boolean;
  /** ε of LayerNorm. */
  readonly epsilon: number;
}
export interface Mmoe {
  readonly type: 'mmoe';
  readonly experts: number;
  readonly units: readonly number[];
  readonly activation: Activation;
}
export interface Task {
  readonly name: string;
  readonly units: readonly number[];
  readonly loss: LossName;
  readonly weight: number;
}

export interface RankingSpec {
  readonly features: readonly Feature[];
  readonly crossLayers: number;
  readonly shared: SharedBottom | Mmoe;
  readonly tasks: readonly Task[];
}
