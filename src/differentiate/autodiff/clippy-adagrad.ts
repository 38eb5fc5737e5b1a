/**
 * Clippy for tfjs users: `clippy-diag/tfjs`. The same rule as `--rule clippy`, as a tf.train.Optimizer to train with.
 *
 *     import * as tf from '@tensorflow/tfjs';
 *     import { ClippyAdagrad } from 'clippy-diag/tfjs';
 *     model.compile({ optimizer: new ClippyAdagrad(0.05), loss: 'meanSquaredError' });
 */
import * as tf from '@tensorflow/tfjs-core';
import { resolveOptions } from '../../model/options.ts';
import { clippy } from '../../step/rules/clippy.ts';

export interface ClippyAdagradOptions {
  /** λ_rel, λ_abs, τ, ≥ 0. Defaults 0.5, 1e-2, 0, as in the paper; TensorFlow Recommenders has 0.1, 1e-7, 0. */
  readonly variableRelativeThreshold?: number;
  readonly absoluteThreshold?: number;
  readonly accumulatorRelativeThreshold?: number;
  /** When G takes g²: before the step (default, as in the paper), after it, or after it with σg. */
  readonly accumulator?: 'standard' | 'delayed' | 'clipped';
  /** G₀, default 0.1. */
  readonly initialAccumulatorValue?: number;
  /** ε inside the root, default 1e-7. */
  readonly epsilon?: number;
}

/** tfjs's own NamedTensor, which it does not export. */
type Named = Awaited<ReturnType<tf.Optimizer['getWeights']>>[number];
type Complete = Required<ClippyAdagradOptions>;

/**
 * Adagrad whose update of each variable is scaled by one factor so that no coordinate moves further than its threshold:
 *
 *     r = g/√(G + ε);  σ = min(1, min_i (λ_rel|w_i| + τ/√(G_i + ε) + λ_abs)/(η|r_i|));  w ← w − ησr
 *
 * An entry with update 0 bounds nothing. A NaN gradient makes the variable NaN, as in every optimizer of tfjs. Every variable
 * takes part, embeddings too.
 *
 * Source: arXiv 2302.09178, Algorithm 1; TensorFlow Recommenders' ClippyAdagrad, whose defaults differ (see the options).
 *
 * @throws option-range for a threshold below 0 or NaN
 */
export class ClippyAdagrad extends tf.Optimizer {
  static readonly className = 'ClippyAdagrad';
  readonly options: Complete;
  private accumulators = new Map<string, tf.Variable>();
  private factors = new Map<string, tf.Scalar>();

  constructor(
    readonly learningRate: number,
    options: ClippyAdagradOptions = {},
  ) {
    super();
    const {
      initialAccumulatorValue = 0.1,
      epsilon = 1e-7,
      accumulator = 'standard',
      ...thresholds
    } = options;
    const checked = resolveOptions('ClippyAdagrad', clippy.options, { epsilon, accumulator, ...thresholds });
    this.options = { epsilon, accumulator, ...checked, initialAccumulatorValue };
  }

  /** σ of each variable at the last step, by name. */
  async clippingFactors(): Promise<Map<string, number>> {
    const entries = [...this.factors].map(
      async ([name, factor]) => [name, (await factor.data())[0]!] as const,
    );
    return new Map(await Promise.all(entries));
  }

  /** G of a variable by name; undefined before its first step. */
  accumulatorOf(name: string): tf.Variable | undefined {
    return this.accumulators.get(name);
  }

  override applyGradients(gradients: tf.NamedTensorMap | Named[]): void {
    const named: readonly [string, tf.Tensor][] = Array.isArray(gradients)
      ? gradients.map(({ name, tensor }) => [name, tensor])
      : Object.entries(gradients);
    for (const [name, gradient] of named) {
      if (gradient == null) continue;
      const variable = tf.engine().registeredVariables[name]!;
      const factor = tf.tidy(() => this.stepVariable(name, variable, gradient));
      this.factors.get(name)?.dispose();
      // Kept beyond the tidy of `minimize`.
      this.factors.set(name, tf.keep(factor));
    }
    this.incrementIterations();
  }

  private stepVariable(name: string, variable: tf.Variable, gradient: tf.Tensor): tf.Scalar {
    const { accumulator, epsilon, initialAccumulatorValue } = this.options;
    let G = this.accumulators.get(name);
    if (G === undefined) {
      G = tf.variable(tf.fill(variable.shape, initialAccumulatorValue), false);
      this.accumulators.set(name, G);
    }
    const square = tf.square(gradient);
    if (accumulator === 'standard') G.assign(tf.add(G, square));
    const inverseRoot = tf.rsqrt(tf.add(G, epsilon));
    const update = tf.mul(tf.mul(gradient, inverseRoot), this.learningRate);
    const bound = tf.addN([
      tf.mul(tf.abs(variable), this.options.variableRelativeThreshold),
      tf.mul(inverseRoot, this.options.accumulatorRelativeThreshold),
      tf.fill(variable.shape, this.options.absoluteThreshold),
    ]);
    const ratio = tf.where(tf.equal(update, 0), tf.onesLike(update), tf.div(bound, tf.abs(update)));
    const factor = tf.minimum(tf.min(ratio), 1) as tf.Scalar;
    variable.assign(tf.sub(variable, tf.mul(update, factor)));
    if (accumulator === 'delayed') G.assign(tf.add(G, square));
    if (accumulator === 'clipped') G.assign(tf.add(G, tf.mul(square, tf.square(factor))));
    return factor;
  }

  override dispose(): void {
    // Set by the first step only.
    if (this.iterations_ != null) tf.dispose(this.iterations_);
    for (const held of [this.accumulators, this.factors]) {
      tf.dispose([...held.values()]);
      held.clear();
    }
  }

  override async getWeights(): Promise<Named[]> {
    const accumulators = [...this.accumulators].map(([name, tensor]) => ({ name, tensor }) as Named);
    return [await this.saveIterations(), ...accumulators];
  }

  override async setWeights(weights: Named[]): Promise<void> {
    for (const { name, tensor } of await this.extractIterations(weights)) {
      this.accumulators.get(name)?.dispose();
      this.accumulators.set(name, tf.variable(tensor, false));
    }
  }

  override getConfig(): tf.serialization.ConfigDict {
    return { learningRate: this.learningRate, ...this.options };
  }

  static override fromConfig<T extends tf.serialization.Serializable>(
    type: tf.serialization.SerializableConstructor<T>,
    { learningRate, ...options }: tf.serialization.ConfigDict,
  ): T {
    return new type(learningRate, options);
  }
}
tf.serialization.registerClass(ClippyAdagrad);
