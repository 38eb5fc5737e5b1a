/**
 * The one table of words that trainers print: what each of them means. Readers, roles and detectors ask it, so a word
 * that one of them knows is known to all. A user extends it with {@link addWords}.
 */

/** What a word says of the number next to it. */
export type WordMeaning =
  /** What training makes small. */
  | 'loss'
  /** The same loss on another scale. */
  | 'perplexity'
  /** A measure of quality, of which more is better. */
  | 'metric'
  /** A measure of what is wrong, of which less is better. */
  | 'error'
  /** Counts steps, epochs, batches. */
  | 'step'
  | 'epoch'
  | 'batch'
  /** Counts processes that print side by side. */
  | 'rank'
  /** Which data it is of. */
  | 'train'
  | 'eval'
  /** A setting or norm that is logged next to losses. */
  | 'rate'
  | 'norm'
  /** Seconds, bytes, speeds, sizes: never a loss, whatever falls. */
  | 'resource'
  /** Things that are counted, each with a row of its own. */
  | 'thing'
  /** A level of a logger. */
  | 'level';

const TABLE: Readonly<Record<WordMeaning, string>> = {
  loss: `loss losses nll logloss mlogloss nloglik deviance crossentropy crossentropyloss ce xent bce elbo cost costs
    objf objective trl tel entropy`,
  perplexity: 'ppl perplexity',
  metric: `auc auroc auprc roc acc accuracy prec precision recall fscore r2 ndcg mrr hit hits bleu iou miou dice ap map
    score scores rew reward rewards return returns epret psnr ssim mcc kappa gauc ctr likelihood top f1 f2 hr`,
  error: `rmse rmsle mae mse mape mphe l1 l2 merror wer cer error err errors fid calibration bpb bpc misfit`,
  step: `step steps iter iters itr iteration iterations it update updates round rounds timestep timesteps episode
    episodes tick generation`,
  epoch: 'epoch epochs ep',
  batch: 'batch batches minibatch mb',
  rank: 'rank worker node gpu device proc process pid host replica shard',
  train: 'train training trn tr inner',
  eval: `val valid vali validation validate validating eval evaluation evaluate evaluating test testing tst dev
    heldout va`,
  rate: 'lr rate epsilon',
  norm: 'norm gnorm grad gradient',
  resource: `time times sec secs second seconds s ms us ns min mins minute minutes h hour hours day days eta elapsed
    duration speed throughput latency bandwidth bytes byte kb mb gb kib mib gib mem memory alloc allocated reserved
    cached size sizes length len count counts total tokens samples wps ups wpb bsz tflops flops mfu util utilization
    temperature power cpu ram disk io port line lines width height x y z lat lon latitude longitude price amount id
    year month date version seed num number qps rps hz fps packets weight ttl rtt load`,
  thing: `item items trial trials week day month year case player team place candidate user customer order row page
    request connection thread residual fitness hand lap hop pipe peak cable splice`,
  level: 'info warning warn debug error notice critical success fatal trace verbose',
};

const words = new Map<string, WordMeaning[]>();

/**
 * Adds words to the table; a word may have several meanings.
 *
 * @param meaning what they mean
 * @param list words in lower case
 */
export function addWords(meaning: WordMeaning, list: Iterable<string>): void {
  for (const word of list) {
    const found = words.get(word);
    if (found === undefined) words.set(word, [meaning]);
    else if (!found.includes(meaning)) found.push(meaning);
  }
}
for (const [meaning, list] of Object.entries(TABLE)) addWords(meaning as WordMeaning, list.split(/\s+/));

const NONE: readonly WordMeaning[] = [];

/** The meanings of one word in lower case; empty where it is not known. */
export const meaningsOf = (word: string): readonly WordMeaning[] => words.get(word) ?? NONE;

/** Whether a word in lower case has a meaning. */
export const means = (word: string, meaning: WordMeaning): boolean => meaningsOf(word).includes(meaning);

/** Every word with a meaning, for tables that are made from this one. */
export const wordsFor = (meaning: WordMeaning): string[] =>
  [...words].flatMap(([word, found]) => (found.includes(meaning) ? [word] : []));

/** Units behind numbers that are not the loss of a model: shares, seconds, weights, powers, money. */
export const NO_LOSS_UNIT =
  /^(?:\s?(?:%|secs?\b|seconds?\b|kg\b|g\b|lbs?\b|dBm?\b|k?Wh?\b|USD\b|EUR\b|\$(?!\d))|[mnuµ]s\b)/;
