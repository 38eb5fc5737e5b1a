import type { LossName } from '../../differentiate/autodiff/ranking-spec.ts';

/** A column of the data. */
export type StudyColumn =
  | { readonly name: string; readonly kind: 'dense' }
  | { readonly name: string; readonly kind: 'categorical'; readonly dim: number }
  | {
      readonly name: string;
      readonly kind: 'label';
      readonly task: string;
      readonly loss: LossName;
      readonly weight: number;
    };
