/**
 * What a series measures, by its name: the conventions of TensorBoard, Keras, Lightning, Hugging Face, timm, AlgoPerf,
 * fairseq, Megatron and llm.c. First match wins; `--map role=NAME` overrides.
 */
import type { Column } from '../../model/column.ts';
import type { Role } from '../../model/run.ts';
import { DISCRIMINATOR, GENERATOR, PERPLEXITY, REGULARIZER, wordsOf } from '../../model/words.ts';
import { type BareSplits, bareSplits, TRAINING } from './bare-splits.ts';
import { inEnglish } from './in-english.ts';

export interface NamedRole {
  readonly role: Role;
  readonly task?: string;
  /** See {@link TimeSeries.lossLike}. */
  readonly lossLike?: 'same' | 'part' | 'objective';
}

export const EVAL_WORDS = new Set([
  'val',
  'valid',
  'vali',
  'validation',
  'validate',
  'validating',
  'eval',
  'evaluation',
  'evaluate',
  'evaluating',
  'test',
  'testing',
  'tst',
  'tel',
  'dev',
  'heldout',
]);
export const TRAIN_WORDS = new Set([
  'train',
  'training',
  'trn',
  'batch',
  'epoch',
  'step',
  'running',
  'avg',
  'average',
  'mean',
  'inner',
]);
/** Words that make a quantity a loss by themselves. */
const LOSS_WORDS = new Set([
  'loss',
  'losses',
  'nll',
  'logloss',
  'mlogloss',
  'nloglik',
  'deviance',
  'crossentropy',
  'ce',
  'xent',
  'bce',
  'elbo',
  'cost',
]);
/** A loss written as one word with its subject: `dloss`, `closs`, `trainloss`. */
const GLUED_LOSS = /^[a-z\d]{1,16}loss(?:es)?$/;
/** A setting of the loss or its spread, not its value. The best value so far is a record that never rises. */
const LOSS_SETTING =
  /^(scale|scaling|factor|weights?|coef|coeff|coefficient|ratio|lambda|fn|type|name|best|prev|previous|num|count|std|stddev|stdev|variance)$/;
/** The axis that a chart logs with its values: `train/loss.step`. */
const OWN_AXIS = /\.(?:step|timestamp)$/i;
/** Seconds or bytes that something cost; Paddle's `batch_cost` is a time, also with `_sum`. */
const TIME_COST =
  /(?:^|[\s/._-])(?:time|reader|data|comm|mem(?:ory)?)[\s._-]?costs?(?:_sum)?$|(?:^|_)batch_cost(?:_sum)?$|^costs?[\s._-]?(?:time|mem(?:ory)?)$/i;
/** Losses that are not a model's error. */
const OTHER_LOSS = /^(?:heat|packet|path|return|insertion|hearing|stop|weight|power|tyre|tire) loss(?:es)?$/i;
const METRIC_WORD =
  /^(auc|auroc|auprc|roc|acc|accuracy|top(?:\d+(?=@))?|prec|precision|recall|f\d|fscore|rmse|rmsle|mae|mse|mape|mphe|l1|l2|merror|r2|ndcg|mrr|hit|hits|bleu|rouge\w*(?=@|$)|wer|cer|iou|miou|dice|ap|map|score|scores|error|err|rew|rewards?|returns?|epret|psnr|ssim|fid|mcc|kappa|calibration|gauc|ctr|bpb|bpc|objective|objf|likelihood)(@?\d+)?$/;
/** Bookkeeping columns logged with metrics, also under an evaluation's prefix: not metrics. */
const BOOKKEEPING =
  /^(runtime|time|duration|seconds|sec|ms|wall|num|number|count|examples|samples|steps|step|updates|epoch|iteration|iter|size|bsz|wps|ups|wpb|throughput|tokens|flos|timestamp|per|second|total|duration|memory|mem|eta)$/;

const GRAD_NORM =
  /(^|[\s/._-])(grad(ient)?s?[\s/._-]?norm|norm[\s/._-]?(of[\s/._-])?grad(ient)?s?|gnorm|l2_norm\/grad|grad_[\d.]+(inf)?_norm|global_grad_norm|total_grad_norm|grad_l2)/i;
const PARAM_NORM =
  /(^|[\s/._-])((param(eter)?|weight)s?[\s/._-]?norm|params[\s/._-]norm|l2_norm\/(param|weight)|pnorm)/i;
const UPDATE_NORM = /(^|[\s/._-])(update|step|delta)s?[\s/._-]?norm|l2_norm\/update/i;
const CLIP =
  /(^|[\s/._-])(grad(ient)?s?[\s/._-]?)?clip(ped|ping)?([\s/._-]?(factor|coef|coefficient|scale|frac|fraction|rate|ratio|value|threshold|norm|count|pct|percent|lambda))?s?$/i;
const RATE_NAME = /(^|[\s/._-])(lr|learning[\s_-]?rate)($|[\s/._-]|\d)/i;
/** Settings of a rate's schedule, not its value: `lr_warmup_steps`, `lr_decay_style`, `min_lr_ratio`. */
const OF_SCHEDULE = /[\s/._-](?:warmup|decay|scheduler?)[\s/._-]|[\s/._-](?:ratio|style|type)$/i;
const LEARNING_RATE = {
  test: (name: string): boolean => RATE_NAME.test(name) && !OF_SCHEDULE.test(name),
} as const;

/** Names of the total loss, best first, as joined words without the training words in front. */
const TOTAL_NAMES = [
  'loss',
  'total_loss',
  'loss_total',
  'overall_loss',
  'lm_loss',
  'reduced_train_loss',
  'losses',
];
const TRAIN_NAMES = [
  'nll',
  'nll_loss',
  'cross_entropy',
  'crossentropy',
  'cross_entropy_loss',
  'ce',
  'ce_loss',
  'xent',
  'logloss',
  'log_loss',
  'trl',
  'learn',
  'l_total',
  'l_g_total',
  'l_pix',
  'l_g_pix',
];

/** Points of a series that is only a summary of the run. */
const SUMMARY = 2;
/** Points of a loss that a summary does not outrank. */
const MANY_POINTS = 100;
/** A regularizer is the loss only where there is no other. */
const REGULARIZER_RANK = 150;
const PERPLEXITY_RANK = 200;
/** Candidates up to this rank name the whole loss; the others may be a part of it. */
const PART_RANK = 100;

/** Loss names of llm.c, BasicSR and pix2pix, and of the losses that CatBoost trains on and logs. */
const NAMED_LOSS =
  /^(?:trl|learn|l_(?:g_)?(?:pix|percep|style|total)|G_L1|MultiClass(?:OneVsAll)?|YetiRank(?:Pairwise)?|PairLogit(?:Pairwise)?|Query(?:RMSE|SoftMax|CrossEntropy)|Quantile|Poisson|Tweedie|Huber|Expectile)$/i;

/** Losses named in several words, or in several written as one: `CrossEntropyLoss`, `SmoothL1`. */
const COMPOUND = /cross[\s_-]?entropy|log[\s_-]loss|smooth[\s_-]?l1(?!\d)/i;

/** A TensorBoard group that holds all losses (`Loss/total_loss`) is not part of their names. */
const withoutGroup = (name: string): string => name.replace(/^loss(?:es)?\/(?=.*loss)/i, '');

/**
 * The prefix that a loss shares with its parts and that names no task, in lower case: `PPYoloELoss/` of
 * `PPYoloELoss/loss` and `PPYoloELoss/loss_cls`. Undefined where no prefix or several qualify.
 */
function groupOfLosses(names: readonly string[]): string | undefined {
  const small = names.map((name) => name.toLowerCase());
  const groups = new Set(
    small.filter((name) => name.endsWith('/loss')).map((name) => name.slice(0, -'loss'.length)),
  );
  const [group, ...more] = [...groups].filter(
    (one) =>
      small.filter(
        (name) => name.startsWith(`${one}loss_`) || (name.startsWith(one) && name.endsWith('_loss')),
      ).length > 1,
  );
  return more.length === 0 ? group : undefined;
}

/** The rank of a name as the one loss of a run; smaller is better, undefined if it is not a candidate. */
function lossRank(name: string): number | undefined {
  const words = wordsOf(withoutGroup(name));
  if (name.toLowerCase() === 'loss') return 0;
  const core = words.filter((word) => !TRAIN_WORDS.has(word)).join('_');
  const train = words.length !== core.split('_').length;
  const rank = [...TOTAL_NAMES, ...TRAIN_NAMES].indexOf(core);
  const reduced = TOTAL_NAMES.indexOf(words.join('_'));
  if (rank >= 0) return 1 + 2 * rank + (train ? 0 : 1);
  if (reduced >= 0) return 1 + 2 * reduced;
  if (words.some((word) => LOSS_WORDS.has(word)) && words.some((word) => REGULARIZER.test(word)))
    return REGULARIZER_RANK;
  if (words.some((word) => LOSS_WORDS.has(word)))
    // `Loss/scores/fake` is in the group of the losses: it ranks after a loss like `Loss/G/loss`.
    return wordsOf(name.replace(/^loss(?:es)?\//i, '')).some((word) => LOSS_WORDS.has(word)) ? 100 : 101;
  if (words.some((word) => PERPLEXITY.test(word))) return PERPLEXITY_RANK;
  return COMPOUND.test(name) || NAMED_LOSS.test(name) || words.some((word) => GLUED_LOSS.test(word))
    ? PART_RANK
    : undefined;
}

/** The text between `task/` and the ending. One expression instead of two would take quadratic time on long names. */
function namedTask(name: string, ending: RegExp): string | undefined {
  const start = /(?:^|[/.])tasks?[/.]/i.exec(name);
  const end = ending.exec(name);
  if (start === null || end === null) return undefined;
  return name.slice(start.index + start[0].length, end.index) || undefined;
}

/** Words for how a loss was measured, not for what. */
const MEASURED = new Set(
  'current last latest now previous moving rolling smooth smoothed ema cumulative accumulated raw scaled unscaled weighted unweighted normalized reduced global local printed final initial sum per iter iteration interval minibatch mini sample samples token tokens dataset data set model network'.split(
    ' ',
  ),
);
const MEAN_OVER = new Set([...MEASURED, 'rank', 'ranks', 'slice', 'gpu', 'device', 'worker']);
/** Parts of reinforcement learning: their losses are logged together and are not tasks. */
const POLICY_PART = /^(?:policy|pi|pg|surrogate|entropy|values?|vf?|critic|actor|q\d?)$/;
/** `ctr loss`, `ClassLoss`; `loss ctr`, `LossPi`. */
const SPOKEN_TASK =
  /^(?:(?<before>.+?)(?: loss|(?<=[a-z\d])Loss)|loss (?<after>.+)|Loss(?<behind>[A-Z].*))$/i;
const HAS_HUMP = /[a-z\d]Loss$|^Loss[A-Z]/;

/**
 * The task in a loss name of several words or in camel case. Undefined where the words say how the loss was measured,
 * or name a player of a GAN or a part of a policy.
 */
function spokenTask(name: string): string | undefined {
  if (!name.includes(' ') && !HAS_HUMP.test(name)) return undefined;
  const { before, after, behind } = SPOKEN_TASK.exec(name)?.groups ?? {};
  const task = before ?? after ?? behind;
  const isTold = (word: string): boolean =>
    MEASURED.has(word) ||
    GENERATOR.test(word) ||
    DISCRIMINATOR.test(word) ||
    POLICY_PART.test(word) ||
    /[^a-z\d]/.test(word);
  return task === undefined || wordsOf(task).some(isTold) ? undefined : task.replace(/^tasks? /i, '');
}

/** The task in `task/<t>/loss`, `<t>_loss`, `<t>/loss`, `loss_<t>` or `loss2`; undefined for other forms. */
function taskOf(name: string): { task: string; explicit: boolean } | undefined {
  const explicit = namedTask(name, /[/._-](?:loss|nll|logloss|bce)$/i);
  if (explicit !== undefined) return { task: explicit, explicit: true };
  const bare = withoutGroup(name).replace(/^(?:train(?:ing)?|val(?:id(?:ation)?)?|eval|test)[/._-]/i, '');
  const found =
    /^(.+)[/._-](?:loss)$/i.exec(bare) ?? /^loss[/._-](.+)$/i.exec(bare) ?? /^loss(\d{1,4})$/i.exec(bare);
  const task = found === null ? spokenTask(bare) : found[1]!;
  if (task === undefined) return undefined;
  const words = wordsOf(task);
  const isSplit = (word: string): boolean => TRAIN_WORDS.has(word) || EVAL_WORDS.has(word);
  if (words.every(isSplit)) return undefined;
  // `loss_avg_rank`, `loss_avg_slice` say what a mean is over. A `rank_loss` is a loss of ranking.
  if (words.some(isSplit) && words.every((word) => isSplit(word) || MEAN_OVER.has(word))) return undefined;
  if (['total', 'overall', 'lm', 'reduced_train', 'nll', 'min', 'max', 'scale'].includes(words.join('_')))
    return undefined;
  return { task, explicit: false };
}

/** A total in a group of its own: `info/learner/default_policy/learner_stats/total_loss`. */
const TOTAL_OF_GROUP = /[/.](?:total|overall)[_-]loss$/i;
/** Ranks after every name that is a total by itself. */
const TOTAL_OF_GROUP_RANK = 99;

/** Whether a name is for values of a loss (`val_loss`), not for something about a loss (`loss_fn`, `loss.weight`). */
export const namesLossValue = (name: string): boolean => LOSS_WORDS.has(wordsOf(name).at(-1) ?? '');

/**
 * The names that are splits of one thing: `train` and `val`, or `a/train` and `a/val`. `test-run-1` and `test-run-2`
 * are not: without the words for splits they differ.
 */
export function splitsAmong(names: readonly string[]): ReadonlySet<string> {
  const rest = (name: string): string =>
    wordsOf(name)
      .filter((word) => !EVAL_WORDS.has(word) && !TRAIN_WORDS.has(word))
      .join(' ');
  const rests = names.map(rest);
  return new Set(
    names.filter((name) => rest(name) === '' || rests.filter((one) => one === rest(name)).length > 1),
  );
}

/** A perplexity is the same loss on another scale: it is judged only where there is nothing else. */
const lossLikeOf = (rank: number): Pick<NamedRole, 'lossLike'> =>
  rank >= PERPLEXITY_RANK ? {} : { lossLike: rank < PART_RANK ? 'same' : 'part' };

/**
 * Quantities that training maximises or regularises by, logged as losses. The surrogate of a policy is
 * near zero by construction, the negative entropy rises as a policy learns, and an actor's loss is the negative of a
 * value that should grow. So is the evidence lower bound that begins below zero. Their level does not show how well
 * training goes. A policy trained by cross-entropy has an ordinary loss above zero.
 */
const OBJECTIVE = /^(?:policy|pi|pg|surrogate|entropy)$/;
function isObjective(name: string, values: Column): boolean {
  const words = wordsOf(name);
  if (words.includes('actor')) return true;
  // The bound itself, which training raises. What begins above zero is its negative, under the same name.
  if (words.includes('elbo') && !words.includes('loss') && values.find(Number.isFinite)! < 0) return true;
  return (
    !/cross[\s_-]?entropy/i.test(name) &&
    words.some((word) => OBJECTIVE.test(word)) &&
    values.some((value) => value <= 0)
  );
}

/** Errors of a regression; and shares of errors, where the name says of which data, as in boosting (`train-error`). */
const ERROR_WORD = /^(?:mse|rmse|rmsle|mae|mape|mphe)$/;
const ERROR_SHARE = /^(?:error|merror|l1|l2)$/;

/** Whether a name is an error that training minimises; used where no loss is logged. */
export function isErrorMeasure(name: string): boolean {
  const words = wordsOf(name);
  const isSplit = (word: string): boolean =>
    EVAL_WORDS.has(word) || TRAINING.test(word) || /^(?:training|valid)/.test(word);
  const at = words.findIndex((word) => ERROR_WORD.test(word) || ERROR_SHARE.test(word));
  // `rmse_e_trn` is an error, `rmse budget` is not.
  return (
    at >= 0 &&
    words.slice(at + 1).every((word) => isSplit(word) || word.length === 1) &&
    (ERROR_WORD.test(words[at]!) || words.some(isSplit))
  );
}

/** Some recommenders and rankers print no loss, only an AUC or a ranking gain. */
const RANKING = /(?:^|[\s/._-])(?:au(?:ro)?c|ndcg|mrr)(?:[\s/._@-]|$)/i;
export const isRankingMeasure = (name: string): boolean => RANKING.test(name);

const isEval = (words: readonly string[]): boolean => words.some((word) => EVAL_WORDS.has(word));

const roles = new Map<string, Role | 'loss-like'>();
/** Names whose role is kept: more than a run has. The limit keeps made-up names from filling the memory. */
const MOST_ROLES_KEPT = 1000;

/**
 * The role by the name alone. `loss-like` is a training loss, of which a run has one or several tasks. The role is
 * kept, as printed lines ask for every line.
 */
export function roleByName(name: string): Role | 'loss-like' {
  let role = roles.get(name);
  if (role === undefined) {
    role = roleOf(inEnglish(name));
    if (roles.size >= MOST_ROLES_KEPT) roles.clear();
    roles.set(name, role);
  }
  return role;
}

/** Outputs of a discriminator in the group of the losses (`Loss/scores/fake`): not losses. */
const NO_LOSS_OF_GROUP = /^(?:scores?|signs?|logits?|prob(?:s|ability)?)$/;
function isNoLossOfGroup(name: string): boolean {
  const group = /^loss(?:es)?\//i.exec(name);
  if (group === null) return false;
  const words = wordsOf(name.slice(group[0].length));
  return words.some((word) => NO_LOSS_OF_GROUP.test(word)) && !words.some((word) => LOSS_WORDS.has(word));
}

/** Whether a name is that of a loss, of training or of an evaluation. */
export const isLossName = (name: string): boolean => {
  const role = roleByName(name);
  return role === 'loss-like' || role === 'eval_loss';
};

function roleOf(name: string): Role | 'loss-like' {
  if (/__(min|max)$/i.test(name)) return 'other';
  const words = wordsOf(name);
  const lossLike =
    words.some((word) => LOSS_WORDS.has(word) || PERPLEXITY.test(word) || GLUED_LOSS.test(word)) ||
    COMPOUND.test(name) ||
    NAMED_LOSS.test(name);
  if (words.includes('loss') && words.some((word) => LOSS_SETTING.test(word))) return 'other';
  // `loss function` is a setting, `value function loss` is a loss.
  if (words.includes('loss') && words.at(-1) === 'function') return 'other';
  if (OTHER_LOSS.test(name) || TIME_COST.test(name) || OWN_AXIS.test(name) || isNoLossOfGroup(name))
    return 'other';
  if (isEval(words)) {
    if (lossLike || words.includes('tel')) return 'eval_loss';
    const rest = words.filter((word) => !EVAL_WORDS.has(word) && !TRAIN_WORDS.has(word));
    if (rest.length === 0 || LEARNING_RATE.test(name))
      return LEARNING_RATE.test(name) ? 'learning_rate' : 'other';
    return rest.some((word) => BOOKKEEPING.test(word)) ? 'other' : 'metric';
  }
  if (LEARNING_RATE.test(name)) return 'learning_rate';
  if (CLIP.test(name) && !lossLike) return 'clip';
  if (GRAD_NORM.test(name) || name.toLowerCase() === 'norm') return 'grad_norm';
  if (PARAM_NORM.test(name)) return 'param_norm';
  if (UPDATE_NORM.test(name)) return 'update_norm';
  if (lossLike) return 'loss-like';
  if (words.some((word) => METRIC_WORD.test(word))) return 'metric';
  return 'other';
}

/**
 * The series that is the loss by the rank of its name; undefined where no name qualifies. A series without values
 * ranks last. One of one or two points is skipped where another loss has a hundred.
 */
function bestCandidate(
  points: readonly number[],
  rankOf: (k: number) => number | undefined,
  isLossOf: (k: number) => boolean,
): number | undefined {
  const most = points.reduce((found, count, k) => (isLossOf(k) && count > found ? count : found), 0);
  let best: { k: number; order: number } | undefined;
  for (const [k, count] of points.entries()) {
    const rank = rankOf(k);
    if (rank === undefined || (count > 0 && count <= SUMMARY && most >= MANY_POINTS)) continue;
    const order = rank + (count === 0 ? 1000 : 0);
    if (best === undefined || order < best.order) best = { k, order };
  }
  return best?.k;
}

/**
 * The role of every name, and notes about choices that a user may want to change.
 *
 * `quantity` replaces the name where a convention has set it. At most one series without a task gets `loss`: the best
 * candidate by name. Forms like `<t>_loss` are tasks if there are at least two. Other candidates get `other` and are
 * named in a note. `guess` says why a series is read as the loss that no name calls one.
 */
export function assignRoles(
  series: readonly { readonly name: string; readonly quantity?: string; readonly value: Column }[],
  forced: ReadonlyMap<string, Role>,
): { roles: NamedRole[]; notes: string[]; guess?: string } {
  const names = series.map((one) => inEnglish(one.quantity ?? one.name));
  const first = names.map((name, k) => forced.get(series[k]!.name) ?? roleByName(name));
  const group = groupOfLosses(names.filter((_, k) => first[k] === 'loss-like'));
  const withoutGroupOf = (name: string): string =>
    group !== undefined && name.toLowerCase().startsWith(group) ? name.slice(group.length) : name;
  // Several groups are agents that learn in parallel: each total is the loss of a task.
  const totals = names.filter((name, k) => first[k] === 'loss-like' && TOTAL_OF_GROUP.test(name));
  const [groupTotal] = totals.length === 1 ? totals : [];
  const tasks = names.map((name, k) =>
    name !== groupTotal && (first[k] === 'loss-like' || first[k] === 'eval_loss' || first[k] === 'metric')
      ? taskOf(withoutGroupOf(name))
      : undefined,
  );
  const objective = names.map((name, k) => first[k] === 'loss-like' && isObjective(name, series[k]!.value));
  const isLoss = (k: number): boolean => first[k] === 'loss-like' && !objective[k];
  const candidates = names.map((name, k) => {
    const rank = isLoss(k) ? lossRank(withoutGroupOf(name)) : undefined;
    return rank !== undefined && name === groupTotal ? Math.min(rank, TOTAL_OF_GROUP_RANK) : rank;
  });
  const hasTotal = candidates.some((rank, k) => rank !== undefined && rank < 100 && tasks[k] === undefined);
  const siblings = names.filter((_, k) => first[k] === 'loss-like' && tasks[k]?.explicit === false).length;
  const isTask = (k: number): boolean =>
    isLoss(k) && tasks[k] !== undefined && (tasks[k].explicit || siblings >= 2);

  let best = first.includes('loss')
    ? undefined
    : bestCandidate(
        series.map(({ value }) => value.length),
        (k) => (isTask(k) ? undefined : candidates[k]),
        (k) => first[k] === 'loss-like' || first[k] === 'eval_loss',
      );
  // A loss not named as a total, with far fewer points than the tasks, is not their total: the cost of an epoch in
  // seconds.
  const mostOfTasks = Math.max(0, ...names.map((_, k) => (isTask(k) ? series[k]!.value.length : 0)));
  if (best !== undefined && candidates[best]! >= PART_RANK && 2 * series[best]!.value.length < mostOfTasks)
    best = undefined;
  // A log whose only measure is an error was trained on it.
  let evaluated: number | undefined;
  if (best === undefined && !first.includes('loss') && !names.some((_, k) => isTask(k))) {
    const measures = [...names.keys()].filter((k) => first[k] === 'metric' && isErrorMeasure(names[k]!));
    best = measures.find((k) => !isEval(wordsOf(names[k]!)));
    if (best === undefined && !first.includes('eval_loss')) [evaluated] = measures;
  }
  let splits: BareSplits | undefined;
  if (best === undefined && evaluated === undefined && !first.some((role) => OF_A_LOSS.has(role))) {
    splits = bareSplits(
      names,
      first,
      series.map(({ value }) => value),
      EVAL_WORDS,
    );
    best = splits?.train;
  }

  const knownTasks = new Set(names.flatMap((_, k) => (isTask(k) ? [tasks[k]!.task] : [])));
  const roles = names.map((name, k): NamedRole => {
    const role = first[k]!;
    if (objective[k]) return { role: 'other', lossLike: 'objective' };
    if (role === 'loss-like' && isTask(k)) return { role: 'task_loss', task: tasks[k]!.task };
    if (k === best) return { role: 'loss' };
    if (role === 'loss-like')
      // With `--map loss=…` the user has chosen the loss: no other is marked.
      return { role: 'other', ...(first.includes('loss') ? {} : lossLikeOf(candidates[k]!)) };
    if (k === evaluated || splits?.held.includes(k)) return { role: 'eval_loss' };
    return evaluationRole(name, role, tasks[k], knownTasks);
  });
  const notes = [
    ...(best === undefined ? [] : otherLosses(series, roles, candidates, best)),
    ...objectiveNote(series.filter((_, k) => objective[k])),
  ];
  if (!hasTotal && best === undefined && knownTasks.size > 0)
    notes.push(`no total loss; the losses of ${[...knownTasks].join(', ')} are judged one by one`);
  return splits === undefined ? { roles, notes } : { roles, notes, guess: guessOf(series, splits) };
}

/** Roles of a series that is judged as a loss. */
const OF_A_LOSS: ReadonlySet<string> = new Set(['loss', 'loss-like', 'eval_loss', 'task_loss']);

/** The role of an evaluation or a metric, with the task that it is of. */
function evaluationRole(
  name: string,
  role: Role,
  found: { readonly task: string; readonly explicit: boolean } | undefined,
  knownTasks: ReadonlySet<string>,
): NamedRole {
  const withTask = (task: string | undefined): NamedRole => (task === undefined ? { role } : { role, task });
  if (role === 'eval_loss') {
    // An evaluation on the training data is the loss itself.
    if (found === undefined && wordsOf(name).some((word) => TRAINING.test(word)))
      return { role, lossLike: 'same' };
    return withTask(found?.explicit || knownTasks.has(found?.task ?? '') ? found?.task : undefined);
  }
  if (role !== 'metric') return { role };
  const explicit = namedTask(name, /[/._-][^/._-]+$/);
  if (explicit !== undefined) return { role, task: explicit };
  const bare = name.replace(/^(?:train(?:ing)?|val(?:id(?:ation)?)?|eval|test)[/._-]/i, '');
  return withTask(
    [...knownTasks].find((task) => bare.startsWith(task) && /^[/._-]/.test(bare.slice(task.length))),
  );
}

type Called = { readonly name: string; readonly value: Column };

/** Which others may be the loss. A summary row, a mean per epoch or the perplexity of the same loss is not worth a note. */
function otherLosses(
  series: readonly Called[],
  roles: readonly NamedRole[],
  candidates: readonly (number | undefined)[],
  best: number,
): string[] {
  const others = series.filter(
    ({ value }, k) =>
      roles[k]!.role === 'other' &&
      (candidates[k] ?? PERPLEXITY_RANK) < PERPLEXITY_RANK &&
      value.length * 10 > series[best]!.value.length,
  );
  if (others.length === 0) return [];
  return [
    `${series[best]!.name} is read as the loss; ${others.map(({ name }) => name).join(', ')} could be it too (--map loss=NAME chooses)`,
  ];
}

const objectiveNote = (objectives: readonly Called[]): string[] =>
  objectives.length === 0
    ? []
    : [
        `${objectives.map(({ name }) => name).join(', ')}: objectives, whose level says nothing about the run; only values that are not finite count (--map loss=NAME judges one all the same)`,
      ];

const guessOf = (series: readonly Called[], { train, held }: BareSplits): string =>
  `read by guess: ${[train, ...held].map((k) => series[k]!.name).join(', ')} are read as a loss, because they fall and nothing else is one; --map loss=NAME chooses another`;
