/** Activations of a `ranking` spec on numbers, with their derivatives in the argument; relu is a kernel's. */
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';

type Name = RankingSpec['shared']['activation'];

interface Activation {
  value(z: number): number;
  derivative(z: number): number;
}

const SELU_SCALE = 1.0507009873554805;
const SELU_ALPHA = 1.6732632423543772;

/** Above 0 and below: neither overflows. */
export const sigmoid = (z: number): number => {
  const e = Math.exp(-Math.abs(z));
  return z >= 0 ? 1 / (1 + e) : e / (1 + e);
};
const softplus = (z: number): number => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

/** Abramowitz and Stegun 7.1.26, within 1.5e-7, as tfjs has it. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}
const cumulative = (z: number): number => 0.5 * (1 + erf(z / Math.SQRT2));

export const ACTIVATIONS: Readonly<Record<Exclude<Name, 'relu'>, Activation>> = {
  elu: {
    value: (z) => (z <= 0 ? Math.expm1(z) : z),
    derivative: (z) => (z <= 0 ? Math.exp(z) : 1),
  },
  selu: {
    value: (z) => SELU_SCALE * (z <= 0 ? SELU_ALPHA * Math.expm1(z) : z),
    derivative: (z) => SELU_SCALE * (z <= 0 ? SELU_ALPHA * Math.exp(z) : 1),
  },
  sigmoid: {
    value: sigmoid,
    derivative: (z) => sigmoid(z) * sigmoid(-z),
  },
  tanh: {
    value: Math.tanh,
    derivative: (z) => 1 - Math.tanh(z) ** 2,
  },
  softplus: {
    value: softplus,
    derivative: sigmoid,
  },
  swish: {
    value: (z) => z * sigmoid(z),
    derivative: (z) => sigmoid(z) * (1 + z * sigmoid(-z)),
  },
  gelu: {
    value: (z) => z * cumulative(z),
    derivative: (z) => cumulative(z) + z * (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)),
  },
  linear: { value: (z) => z, derivative: () => 1 },
};
