/**
 * The largest top eigenvalue at which an optimizer's step is stable on a quadratic. A risk, not a verdict: networks
 * train at the edge of it for long (Cohen et al. 2021).
 */

/** What decides the limit. */
export interface StabilityOptions {
  readonly optimizer: string;
  /** η > 0. */
  readonly learningRate: number;
  /** β of SGD with momentum, in [0, 1). */
  readonly momentum?: number;
  readonly nesterov?: boolean;
  /** β₁ of Adam, in [0, 1). Default 0.9. */
  readonly beta1?: number;
}

export interface StabilityLimit {
  /** Against λ_max of the operator below. */
  readonly limit: number;
  /** Which eigenvalue it is compared with; comparing plain λ_max with 2/η for Adagrad or Adam would be wrong. */
  readonly operator: 'hessian' | 'preconditioned-hessian';
  /** The formula and its source. */
  readonly rule: string;
}

const PRECONDITIONED: ReadonlySet<string> = new Set(['adagrad', 'rmsprop', 'adam', 'adamw', 'lamb']);

/** Whether the optimizer divides its step by a preconditioner P. */
export const isPreconditioned = (optimizer: string): boolean => PRECONDITIONED.has(optimizer);

/**
 * Gradient descent 2/η; heavy ball (2+2β)/η; Nesterov (2+2β)/((1+2β)η); on P⁻¹H: Adagrad and RMSProp 2/η, Adam
 * (2+2β₁)/((1−β₁)η), 38/η at β₁ = 0.9 (Cohen et al., arXiv 2207.14484, section 3).
 *
 * @returns undefined for an optimizer without a known limit
 */
export function stabilityLimit(options: StabilityOptions): StabilityLimit | undefined {
  const { optimizer, learningRate: eta, momentum = 0, nesterov = false, beta1 = 0.9 } = options;
  switch (optimizer) {
    case 'sgd':
      if (momentum === 0) return { limit: 2 / eta, operator: 'hessian', rule: '2/η (gradient descent)' };
      return nesterov
        ? {
            limit: (2 + 2 * momentum) / ((1 + 2 * momentum) * eta),
            operator: 'hessian',
            rule: '(2+2β)/((1+2β)η) (Nesterov)',
          }
        : { limit: (2 + 2 * momentum) / eta, operator: 'hessian', rule: '(2+2β)/η (heavy ball)' };
    case 'adagrad':
    case 'rmsprop':
      // RMSProp with momentum is a heavy ball on the preconditioned problem.
      return {
        limit: (2 + 2 * momentum) / eta,
        operator: 'preconditioned-hessian',
        rule: momentum === 0 ? '2/η on P⁻¹H' : '(2+2β)/η on P⁻¹H',
      };
    case 'adam':
    case 'adamw':
      return {
        limit: (2 + 2 * beta1) / ((1 - beta1) * eta),
        operator: 'preconditioned-hessian',
        rule: '(2+2β₁)/((1−β₁)η) on P⁻¹H (arXiv 2207.14484)',
      };
    default:
      return undefined;
  }
}
