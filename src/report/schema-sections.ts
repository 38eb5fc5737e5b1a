/** Schemas of the separate sections of a report: coverage, proofs, job, audit, preflight, comparison. */
import * as z from 'zod';
import { AUDIT_CAUSES, AUDIT_LINKS, AUDIT_OUTCOMES, type Audit, type AuditLink } from '../model/audit.ts';
import {
  COMPARED_LINKS,
  type ComparisonPicture,
  FLOOR_KINDS,
  type RunComparison,
  type RunDifference,
  type TensorPicture,
} from '../model/comparison.ts';
import { JOB_ENDS, JOB_REASONS, type Job } from '../model/job.ts';
import { PREFLIGHT_LIMITS, PREFLIGHT_VERDICTS, type Preflight, type RateBand } from '../model/preflight.ts';
import type { Coverage, ExplainedRecords, Proof, Proofs } from '../model/proofs.ts';
import {
  count,
  finite,
  flag,
  listOf,
  number,
  numbers,
  objectOf,
  oneOf,
  orNull,
  range,
  setting,
  text,
} from './schema-of.ts';

export const coverage = objectOf<Coverage>(
  'coverage',
  'Which share of the loss records the verdict rests on, counted by a second reader that knows no layout. `seen` = `judged` + the four of `explained` + `unexplained`.',
)({
  seen: count('Records (lines, rows, events) with a loss-like word and a number.'),
  judged: count('Records whose loss was judged.'),
  explained: objectOf<ExplainedRecords>(
    null,
    'Records that were not judged, with the reason.',
  )({
    copies: count('They repeat a judged value.'),
    ranks: count('They are of another rank of the same run.'),
    runningMeans: count('They are running means.'),
    evaluations: count('They are losses on data that is not trained on.'),
  }),
  unexplained: count('Records that were neither judged nor explained.'),
  firstUnexplained: orNull(
    objectOf<NonNullable<Coverage['firstUnexplained']>>(
      null,
      'A place in a log.',
    )({ path: text('The log.'), line: count('The line, from 1; in a log without lines the record.') }),
    'Where the first of the unexplained is; null where there is none.',
  ),
});

const proof = objectOf<Proof>(
  'proof',
  'One of the proofs behind a verdict.',
)({
  holds: orNull(flag('Whether it holds; null where the data cannot tell.')),
  statement: text('It in one sentence.'),
  levels: range(
    'Levels of the loss where they are shown to differ: that of the untrained model and the last one.',
  ).optional(),
});

export const provenBy = objectOf<Proofs>(
  'provenBy',
  'What the verdict rests on.',
)({
  judged: proof.describe('Every loss record was judged or is explained.'),
  learnt: proof.describe('The loss ends below that of the untrained model by more than its noise.'),
  whole: proof.describe('Nothing in weights, checkpoints and captures contradicts the verdict.'),
});

export const job = objectOf<Job>(
  'job',
  'How the process that trained ended, by what it printed.',
)({
  ended: oneOf(
    JOB_ENDS,
    '`crashed`: the program ended itself in an error. `killed`: it was ended from outside.',
  ),
  reason: orNull(oneOf(JOB_REASONS, 'Why it ended; null where the log states no reason.')),
  at: orNull(
    objectOf<NonNullable<Job['at']>>(
      null,
      'Where the log states the reason first.',
    )({
      line: orNull(finite('The line, from 1.')),
      step: orNull(finite('The last step before it.')),
      time: orNull(text('Its time, as printed.')),
      path: text('The file of the line, where it is another than the log of the run.').optional(),
      frame: text(
        'Where an exception was raised, such as `train.py:57 in step`: the last call of the traceback that is of no installed package.',
      ).optional(),
    }),
    'Where the log states the reason first; null where it does not.',
  ),
  rank: orNull(finite('The rank that failed first; null where none is named.')),
  message: orNull(text('What was printed, in one line.')),
  gaps: listOf(
    objectOf<Job['gaps'][number]>(
      null,
      'A pause.',
    )({
      fromStep: finite('The last step before it.'),
      seconds: finite('How long it was.'),
    }),
    'Pauses between two records that are far longer than usual.',
  ),
  resumes: listOf(
    objectOf<Job['resumes'][number]>(
      null,
      'A resumption.',
    )({
      step: finite('The first step after it.'),
      from: orNull(text('The checkpoint that the log names.')),
      lostSteps: orNull(finite('How many steps were trained twice; null where that is not known.')),
    }),
    'Where training was resumed.',
  ),
});

export const audit = objectOf<Audit>(
  'audit',
  'Whether each recorded step did what its code declares.',
)({
  links: listOf(
    objectOf<AuditLink>(
      'auditLink',
      'One link of the chain from the batch to the weights that the next step reads.',
    )({
      id: text('Its id; the finding is `audit-` and the link.'),
      link: oneOf(AUDIT_LINKS, 'The part of a step.'),
      outcome: oneOf(AUDIT_OUTCOMES, 'Whether the record is what the code declares.'),
      checks: count('Comparisons that were made.'),
      broken: count('Comparisons that failed.'),
      step: orNull(finite('The first step at which it is broken.')),
      tensor: orNull(text('The first tensor, or the worst one.')),
      index: orNull(listOf(finite('An index.'), 'Place of the entry in the tensor.')),
      cause: orNull(oneOf(AUDIT_CAUSES, 'What broke it.')),
      factor: orNull(number('What was used over what was declared.')),
      residual: orNull(number('Distance of the record from what the cause predicts, in tolerances.')),
      residualDeclared: orNull(number('Distance of the record from what the code declares, in tolerances.')),
      confidence: orNull(oneOf(['shown', 'likely'], '`shown` where this cause alone explains the record.')),
      statement: text('It in one sentence.'),
      fix: orNull(text('The line to change.')),
      wouldTell: orNull(text('The recording that would tell.')),
      follows: orNull(text('Id of an earlier link whose fault breaks this one too.')),
    }),
    'The links, broken ones first.',
  ),
  checks: count('Comparisons of all links.'),
  broken: count('Those that failed.'),
});

const rateBand = objectOf<RateBand>(
  null,
  'Where the limit of a ladder of rates lies: from the highest rate that is held, over √2, to the lowest that is not, and to twice that one under an optimizer that divides by its past gradients. Its geometric middle is the single number. The upper end is Infinity where every rate that was tried is held. It is no confidence band: docs/preflight.md says how often it held the critical rate of reruns.',
)({ low: number('Lower end.'), high: number('Upper end.') });

export const preflight = objectOf<Preflight>(
  'preflight',
  'The largest stable learning rate, measured before training.',
)({
  asked: number('The learning rate that the training is set to.'),
  stableRate: orNull(rateBand, 'The largest stable rate; null where none could be measured.'),
  ratio: orNull(number('`asked` over the geometric middle of `stableRate`.')),
  verdict: oneOf(PREFLIGHT_VERDICTS, 'Where `asked` lies.'),
  limitedBy: objectOf<Preflight['limitedBy']>(
    null,
    'What limits the rate.',
  )({ kind: oneOf(PREFLIGHT_LIMITS, 'What it is.'), tensor: orNull(text('The tensor, where it is one.')) }),
  underRules: listOf(
    objectOf<Preflight['underRules'][number]>(
      null,
      'A clipping rule.',
    )({ rule: text('As `--rule` takes it.'), stableRate: orNull(rateBand, 'The stable rate under it.') }),
    'The stable rate under each clipping rule that was tried.',
  ),
  batchScaling: orNull(
    number('Exponent of the stable rate in the batch size, to a half; null where not measured.'),
  ),
  warmup: orNull(
    objectOf<NonNullable<Preflight['warmup']>>(null, 'A warm-up.')({ steps: count('Its steps.') }),
    'The warm-up that the rates were tried with; in `clippy-diag preflight` the quiet steps after which the asked rate is held, where it is not held at first; else null.',
  ),
  gradients: count('Gradients that were computed.'),
  seconds: number('Seconds that it took.'),
  ladder: listOf(
    objectOf<Preflight['ladder'][number]>(
      null,
      'A rate that was tried.',
    )({
      rate: number('The rate.'),
      before: number('Loss on fixed batches before.'),
      after: number('Loss on the same batches after.'),
      held: flag('Whether the loss is not worse by more than its error.'),
    }),
    'The rates that were tried, in their order.',
  ),
  statement: text('It in one sentence.'),
});

const difference = objectOf<RunDifference>(
  'runDifference',
  'A place at which two runs differ.',
)({
  step: finite('The step.'),
  link: oneOf(COMPARED_LINKS, 'What of the step differs first.'),
  tensor: orNull(text('The first tensor in forward order; null where the link has none.')),
  size: orNull(number('Relative size; null where it differs in kind.')),
});

export const runComparison = objectOf<RunComparison>(
  'runComparison',
  'Where two runs part, and in which settings they differ.',
)({
  runs: objectOf<RunComparison['runs']>(
    null,
    'Paths of the runs as they were named.',
  )({
    a: listOf(text('A path.'), 'Of the first side.'),
    b: listOf(text('A path.'), 'Of the second side.'),
  }),
  compared: objectOf<RunComparison['compared']>(
    null,
    'What both tell.',
  )({
    steps: count('Steps of which both tell something.'),
    from: finite('The first of them.'),
    to: finite('The last of them.'),
    links: listOf(oneOf(COMPARED_LINKS, 'A link.'), 'Links that both tell at one of them or more.'),
  }),
  settings: listOf(
    objectOf<RunComparison['settings'][number]>(
      null,
      'A setting in which they differ.',
    )({
      key: text('Its name.'),
      a: orNull(setting).describe('Its value in the first run.'),
      b: orNull(setting).describe('Its value in the second run.'),
    }),
    'Settings in which they differ.',
  ),
  paired: flag('Whether both begin alike, so that steps are compared and not only levels.'),
  floor: objectOf<RunComparison['floor']>(
    null,
    'What a difference is measured against.',
  )({
    kind: oneOf(
      FLOOR_KINDS,
      '`measured` by repeats, `rounding` of the arithmetic, `seeds`: spread of seeds.',
    ),
    relative: orNull(number('Relative size of the floor; null where it is not known.')),
  }),
  differsAt: orNull(difference, 'Where they differ at all; null where they do not.'),
  partsAt: orNull(difference, 'Where they are apart by more than the floor; null where they are not.'),
  forGoodFrom: orNull(
    finite('A step.'),
    'First step after which the difference never falls under the floor again; null where there is none.',
  ),
  end: orNull(
    objectOf<NonNullable<RunComparison['end']>>(
      null,
      'Levels of the loss at the end.',
    )({
      a: number('Of the first run.'),
      b: number('Of the second run.'),
      relative: number('Their relative difference.'),
      standardError: orNull(number('Its standard error; null where it is not known.')),
    }),
    'Levels of the loss at the end; null where there is none.',
  ),
  seeds: objectOf<NonNullable<RunComparison['seeds']>>(
    null,
    'Of several runs a side, paired by their order; left out otherwise.',
  )({
    pairs: count('Pairs of runs.'),
    difference: number('Mean relative difference of their ends.'),
    standardError: number('Its standard error.'),
    smallestTold: number('The smallest difference that would be beyond chance at 99 %.'),
    seedsToTell: objectOf<NonNullable<RunComparison['seeds']>['seedsToTell']>(
      null,
      'How many seeds a side would show the difference that was found.',
    )({
      difference: number('That difference.'),
      seeds: count('Seeds a side.'),
    }),
  }).optional(),
  verdict: oneOf(['same', 'apart', 'cannot-tell'], 'Whether the two are the same training.'),
  statement: text('It in one sentence.'),
  more: listOf(text('A sentence.'), 'What would tell more.'),
  picture: objectOf<ComparisonPicture>(
    null,
    'What the page draws; of `compare` only with `--report`.',
  )({
    losses: objectOf<ComparisonPicture['losses']>(
      null,
      'Losses at the steps of both, one number for each bucket of steps.',
    )({
      steps: listOf(finite('A step.'), 'First step of each bucket.'),
      a: numbers('Losses of the first run, at the last step of each bucket.'),
      b: numbers('Losses of the second run.'),
      difference: numbers('Largest relative difference in each bucket.'),
      floor: listOf(orNull(number('A floor.')), 'The floor in each bucket; null where it has none.'),
    }),
    tensors: listOf(
      objectOf<TensorPicture>(
        null,
        'Tensors of a link that both runs have.',
      )({
        link: oneOf(COMPARED_LINKS, 'The link.'),
        steps: listOf(finite('A step.'), 'The steps of the columns.'),
        tensors: listOf(
          objectOf<TensorPicture['tensors'][number]>(
            null,
            'A tensor.',
          )({
            name: text('Its name.'),
            sizes: listOf(
              orNull(number('A size.')),
              'Relative size of the difference at each step; 0 where equal to the bit, null where not known.',
            ),
          }),
          'Tensors in forward order.',
        ),
        left: count('Tensors that are left out; those with the largest differences are kept.'),
      }),
      'Sizes by tensor and step, of each link with tensors.',
    ),
  }).optional(),
});

/** One of two forms, tried in their order. */
export const eitherOf = <A, B>(a: z.ZodType<A>, b: z.ZodType<B>): z.ZodType<A | B> => z.union([a, b]);
