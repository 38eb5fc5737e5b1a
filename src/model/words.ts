/** The words of a name that was logged. */

/** Between the words of `trainLoss`, `valAUC`, `CELoss` and `LossPi`, not within `mIoU`. */
const HUMP = /(?<=[a-z]{2})(?=[A-Z][A-Za-z]{2})|(?<=[A-Z\d])(?=Loss)|(?<=(?:^|[^A-Za-z])Loss)(?=[A-Z])/;

/** `trainloss`, `validppl`: of which data, and what. */
const GLUED =
  /^(train|valid|val|test|eval|dev)(loss|losses|nll|ppl|acc|accuracy|auc|error|err|mse|rmse|mae)$/;

/** `train/ctr_loss`, `train.ctr-loss`, `trainCtrLoss` and "train ctr loss" are the same words. */
export const wordsOf = (name: string): string[] =>
  name
    .split(HUMP)
    .flatMap((part) => part.toLowerCase().split(/[\s/._:|-]+/))
    .flatMap((word) => GLUED.exec(word)?.slice(1) ?? word)
    .filter((word) => word !== '');

/**
 * Words for a term that holds back what is learnt: the divergence from a prior, a penalty of gradients or weights. `reg` is the
 * regression of a detector's boxes as often.
 */
export const REGULARIZER = /^(?:kl|kld|kldiv|penalty|gp|regulari[sz](?:ation|er)|r1|weightdecay)$/;

/** Words for the players of a GAN. */
export const GENERATOR = /^(?:g|gen|generator|adv|adversarial)$/;
export const DISCRIMINATOR = /^(?:d|dis|disc|discriminator|discrim)$/;
