/** The words of the bench: kinds of evidence, questions, classes, and the twelve remedies. */

/** What a tool may be shown of a case, from least to most. Each level holds what the one before it holds. */
export const EVIDENCE = ['printed', 'log', 'checkpoints', 'capture'];

/** Files of a case's folder `evidence` that each level adds to the one before it. */
export const FILES = {
  printed: ['train.log'],
  log: ['metrics.jsonl', 'config.json'],
  checkpoints: ['checkpoints'],
  capture: ['capture'],
};

export const CLASSES = ['healthy', 'recovered', 'drift', 'diverged', 'non-finite', 'never-learned', 'silent'];

/** Questions to which `null` is the answer "this cannot be known from what I was shown". */
export const QUESTIONS = ['link', 'trigger', 'tensor', 'factor'];

export const REMEDIES = [
  'clip',
  'skip-batches',
  'skip-rows',
  'lower-learning-rate',
  'restore-schedule',
  'lower-weight-decay',
  'restore-optimizer-state',
  'reload-weights',
  'raise-precision',
  'fix-data',
  'fix-code',
  'fix-evaluation',
];

/** Words that mean one of the twelve. */
export const SAME_REMEDY = { rewind: 'reload-weights', 'replace-device': 'reload-weights' };
