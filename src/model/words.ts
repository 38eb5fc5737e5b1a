/** The words of a name that was logged. */

/** Between the words of `trainLoss`, `valAUC`, `CELoss` and `LossPi`, not within `mIoU`. */
const HUMP = /(?<=[a-z]{2})(?=[A-Z][A-Za-z]{2})|(?<=[A-Z\d])(?=Loss)|(?<=(?:^|[^A-Za-z])Loss)(?=[A-Z])/;

/** `trainloss`, `validppl`: of which data, and what. */
const GLUED =
  /^(train|valid|val|test|eval|dev)(loss|losses|nll|ppl|acc|accuracy|auc|error|err|mse|rmse|mae)$/;

/**
 * `loss2`, `lossv2`, `nll1`, `losstotal`: which one of several follows the word without a mark. What is `lossy` or
 * `lossless` has another meaning.
 */
const COUNTED =
  /^([a-z]{0,16}?loss|losses|[a-z]{0,8}nll|bce|xent|ce|cost|elbo|ppl|deviance)(v?\d{1,4}[a-z]?)$/;
const BEGUN = /^(loss)(?!less$|lessly$|y$|es$)([a-z]{1,12}\d{0,2})$/;

/** The words that one is glued from. */
const unglued = (word: string): string[] => {
  const [, ...parts] = GLUED.exec(word) ?? COUNTED.exec(word) ?? BEGUN.exec(word) ?? [word, word];
  return parts.length > 1 && parts[0] !== word ? parts.flatMap((part) => unglued(part)) : parts;
};

/** What parts two words: any mark but those that belong to one, as in `ndcg@10`, `top5%` and `don't`. In `valid's l2` it is the `'s`. */
const BETWEEN = /(?:['’]s(?![a-z\d])|[\s/._:|#()[\]{}<>*+=~^&,;!?"`\\-])+/;

/** `train/ctr_loss`, `train.ctr-loss`, `trainCtrLoss` and "train ctr loss" are the same words; so are `loss#2` and `loss²`. */
export const wordsOf = (name: string): string[] =>
  name
    .normalize('NFKC')
    .split(HUMP)
    .flatMap((part) => part.toLowerCase().split(BETWEEN))
    .flatMap(unglued)
    .filter((word) => word !== '');

/**
 * Words for a term that holds back what is learnt: the divergence from a prior, a penalty of gradients or weights. `reg` is the
 * regression of a detector's boxes as often.
 */
export const REGULARIZER = /^(?:kl|kld|kldiv|penalty|gp|regulari[sz](?:ation|er)|r1|weightdecay)$/;

/** Words for the exponential of a loss. */
export const PERPLEXITY = /^(?:ppl|perplexity)$/;

/** Whether the levels of two losses may be compared by their names: a perplexity is on another scale than its loss. */
export const areOnOneScale = (a: string, b: string): boolean =>
  wordsOf(a).some((word) => PERPLEXITY.test(word)) === wordsOf(b).some((word) => PERPLEXITY.test(word));

/** Words for the players of a GAN. */
export const GENERATOR = /^(?:g|gen|generator|adv|adversarial)$/;
export const DISCRIMINATOR = /^(?:d|dis|disc|discriminator|discrim)$/;
