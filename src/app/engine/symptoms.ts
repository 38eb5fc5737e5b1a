/** The words that users search for, and the pages that answer them. Known failures bring their own words. */

/** Words in lower case, by the id of a page that is no known failure. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  'out-of-memory': ['oom', 'out of memory', 'cuda out of memory', 'memory', 'oom killer', 'killed'],
  exception: ['traceback', 'exception', 'crash', 'crashed', 'error'],
  'collective-timeout': [
    'nccl',
    'timeout',
    'time-out',
    'watchdog',
    'hang',
    'hangs',
    'deadlock',
    'collective',
    'stuck rank',
  ],
  'time-limit': ['slurm', 'time limit', 'wall time', 'due to time limit'],
  preempted: ['preempted', 'preemption', 'spot', 'evicted', 'sigterm'],
  signal: ['sigkill', 'segfault', 'segmentation fault', 'signal', 'killed', 'bus error'],
  'disk-full': ['disk', 'no space', 'no space left on device', 'enospc', 'quota'],
  overfit: ['overfitting', 'over-fitting', 'overfit', 'validation loss rises', 'val loss', 'eval loss'],
  'throughput-drop': ['slow', 'slower', 'throughput', 'stall', 'hang'],
  'loss-spike': ['spike', 'loss spike', 'spikes'],
  'micro-divergence': ['spike', 'recovered'],
  'full-divergence': ['spike', 'diverged', 'divergence'],
  'non-finite-loss': ['nan', 'inf', 'infinity', 'loss is nan'],
  'never-learned': ['not learning', 'does not learn', 'plateau', 'flat', 'loss not decreasing'],
  'nothing-learnt': ['not learning', 'plateau', 'flat', 'stuck', 'loss not decreasing'],
  'frozen-tensor': ['not learning', 'frozen'],
  'plateau-after-jump': ['plateau'],
  'learning-rate-anomaly': ['learning rate', 'lr', 'schedule'],
  'gradient-norm-spike': ['grad norm', 'gradient norm'],
  'repeated-or-lost-steps': ['resume', 'restart'],
  'loss-scale-falls': ['loss scale', 'scaler'],
};

/** Lower case, and one space for whatever is between words. */
export const plainWords = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9.()/]+/g, ' ')
    .trim();

interface Found {
  readonly id: string;
  /** 2: a symptom is these words; 1: it holds them, or they hold it. */
  readonly rank: number;
}

const isPart = (part: string, whole: string): boolean => ` ${whole} `.includes(` ${part} `);

/**
 * How well a symptom fits what was typed; 0 where it does not.
 *
 * @param isSentence whether several words were typed: a symptom may be one of them. `los-spike` is a slip of one id.
 */
function fit(typed: string, symptom: string, isSentence: boolean): number {
  if (typed === symptom) return 2;
  return isPart(typed, symptom) || (isSentence && isPart(symptom, typed)) ? 1 : 0;
}

/**
 * The ids of the pages that a symptom leads to, the best first.
 *
 * @param typed what the user typed: `not learning`, `oom`
 * @param failures the known failures, with their words
 */
export function pagesFor(
  typed: string,
  failures: readonly { readonly id: string; readonly symptoms: readonly string[] }[],
): readonly string[] {
  const words = plainWords(typed);
  if (words === '') return [];
  const all = [...failures.map(({ id, symptoms }) => [id, symptoms] as const), ...Object.entries(WORDS)];
  return all
    .map(
      ([id, symptoms]): Found => ({
        id,
        rank: Math.max(
          0,
          ...symptoms.map((symptom) => fit(words, plainWords(symptom), typed.trim().includes(' '))),
        ),
      }),
    )
    .filter(({ rank }) => rank > 0)
    .sort((a, b) => b.rank - a.rank)
    .map(({ id }) => id);
}
