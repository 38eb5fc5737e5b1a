/**
 * The committed form of a report: what `analyze --json` writes, and what `gate` and `report` read back. Published as
 * schema/report.schema.json, described in docs/json.md.
 */

import * as z from 'zod';
import {
  ARM_OUTCOMES,
  type Cause,
  type CauseEvidence,
  EVIDENCE_IDS,
  MECHANISMS,
  REMEDY_ACTIONS,
  type Remedy,
  TRIGGERS,
} from '../model/cause.ts';
import {
  type CapturesComparison,
  type Comparison,
  SETTING_KINDS,
  type SeriesComparison,
  type SettingDifference,
} from '../model/comparison.ts';
import {
  CURVATURE_OPERATORS,
  type CurvatureEntry,
  type EigenEstimate,
  type RatioOnBatch,
  type RatioSpread,
} from '../model/curvature.ts';
import type { ErrorCode, ErrorRecord } from '../model/errors.ts';
import { type Finding, type Quantity, SEVERITIES } from '../model/finding.ts';
import { type GateProblem, type GateResult, type GateRule, RULE_STATUSES } from '../model/gate.ts';
import { type Account, LOSS_REASONS, type Lost } from '../model/log.ts';
import {
  type ClippyDetails,
  FACTOR_PLACES,
  REPLAY_MODES,
  REPLAY_VERDICTS,
  type ReplayArm,
  type ReplayEntry,
  type SkippedRows,
  type ThresholdSweep,
} from '../model/replay.ts';
import {
  type ChartSeries,
  type Incident,
  type Report,
  type ReportInput,
  type RewindAdvice,
  type RunReport,
  type RunsTable,
  type RunVerdict,
  type SeriesStatistics,
  type TableGroup,
  type TaskVerdict,
  VERDICT_CLASSES,
} from '../model/report.ts';
import { type Attempt, ROLES, type StepUnit } from '../model/run.ts';
import type { SourceRef } from '../model/source-ref.ts';
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
  recordOf,
  setting,
  text,
  texts,
} from './schema-of.ts';
import { audit, coverage, eitherOf, job, preflight, provenBy, runComparison } from './schema-sections.ts';

const step = (description: string): z.ZodType<number | null> => orNull(finite(description));
const twoTexts = (description: string): z.ZodType<readonly [string, string]> =>
  z.tuple([z.string(), z.string()]).describe(description);
const twoNumbers = (description: string): z.ZodType<readonly [number, number]> =>
  z.tuple([number('Of the first run.'), number('Of the second run.')]).describe(description);
export const stepUnit = oneOf<StepUnit>(
  ['step', 'epoch', 'row'],
  'What step numbers count: `epoch` where the log has epochs only, `row` where rows were counted.',
);

const place = objectOf<SourceRef>(
  'place',
  'A place in an input.',
)({
  path: text('Path of the file or folder.'),
  line: finite('Line of a text file, from 1.').optional(),
  byteOffset: finite('Offset of a byte in a binary file, from 0.').optional(),
  tensor: text('Name of a tensor in a checkpoint or capture.').optional(),
});

export const error = objectOf<ErrorRecord>(
  'error',
  'What went wrong, where, and what to do.',
)({
  // The codes grow with the tool: a report of a newer one stays readable.
  id: text(
    'Code of the error; `clippy-diag explain CODE` has its page.',
  ) as z.ZodType<string> as z.ZodType<ErrorCode>,
  message: text('What went wrong, in one sentence.'),
  hint: text('What to do.').optional(),
  path: text('The file or folder it is about.').optional(),
  line: finite('Line of a text file, from 1.').optional(),
  byteOffset: finite('Offset of a byte in a binary file, from 0.').optional(),
  tensor: text('Name of a tensor.').optional(),
});

export const account = objectOf<Account>(
  'account',
  'Where the bytes of an input went: `bytes` is `records` + `overhead` + `passedOver` + the `bytes` of every entry of `lost`.',
)({
  bytes: count('Size, decompressed.'),
  compressedBytes: count('Size on disk, where it is compressed.').optional(),
  records: count('Bytes of the records (lines, events, columns, tensors) that were read.'),
  overhead: count('Header, framing, separators, line ends, blank lines.'),
  passedOver: count('What is not a record of a metric and need not be.'),
  lost: listOf(
    objectOf<Lost>(
      null,
      'A stretch that gave no record.',
    )({
      reason: oneOf(LOSS_REASONS, 'Why.'),
      records: count('Records that it held; left out where that is unknown.').optional(),
      bytes: count('Its bytes; 0 where nothing of it is there.'),
      at: count('Offset of its first byte, decompressed.'),
      pieces: count('Stretches that were folded into this entry; left out where it is one.').optional(),
    }),
    'What was lost, in the order of its places; empty where the input is whole.',
  ),
});

const quantity = objectOf<Quantity>(
  'quantity',
  'A number with its unit.',
)({
  name: text('What was measured.'),
  value: number('How much.'),
  unit: text('`scales`, `ratio`, `steps`, `points` …; `1` for a number in the unit of its series.'),
});

const severity = oneOf(
  SEVERITIES,
  'How bad it is. A healthy run may have notes, but no warning and no error.',
);
const verdictClass = oneOf(
  VERDICT_CLASSES,
  'What became of the run, from harmless to worst (docs/detection.md).',
);

export const finding = objectOf<Finding>(
  'finding',
  'Something that was found in a run: in its log, its checkpoints or its captures.',
)({
  id: text('What was found; `clippy-diag explain ID` has its page. Also the rule of a gate and of SARIF.'),
  severity,
  message: text('What was found, in one sentence.'),
  steps: orNull(
    range('First and last step.'),
    'First and last step that it covers; null where steps mean nothing.',
  ),
  series: orNull(text('The series it was found in.')),
  attempt: count('The attempt it was found in, from 0.').optional(),
  measured: orNull(quantity, 'The number that decided.'),
  threshold: orNull(quantity, 'What it was compared with.'),
  locations: listOf(place, 'Where it can be seen.'),
  advice: orNull(text('What to do about it.')),
  more: count('How many more like it were found that the report does not list.').optional(),
});

const incident = objectOf<Incident>(
  'incident',
  'A stretch of a run in which its loss is out of its band.',
)({
  class: verdictClass,
  series: text('The loss.'),
  attempt: count('The attempt, from 0.'),
  onsetStep: finite('First step out of the band, on the way to the jump.'),
  lastGoodStep: step('Last step before it whose loss was in the band.'),
  recoveredStep: step('First step of the stretch that counts as recovery; null where there is none.'),
  recoveredIn: text(
    'The column of the same loss that shows the recovery, where the column of the incident ends before it.',
  ).optional(),
  peakStep: finite('Step of the worst point.'),
  peak: number('Value of the worst point; NaN where it is not finite.'),
  before: orNull(number('Median of the loss before it; null where too few points tell.')).optional(),
  after: orNull(number('Median of its last points.')).optional(),
});

const verdictMembers = {
  class: verdictClass,
  series: orNull(text('The series that decided.')),
  onsetStep: step('First step of the incident that decided.'),
  lastGoodStep: step('Last step before it that was good.'),
  recoveredStep: step('First step of the recovery from it; null where there is none.'),
  why: text('Why, in one sentence.'),
  incidents: listOf(incident, 'Every incident, not only the one that decided.'),
  coverage: orNull(coverage, 'Which share of the loss records was judged; null without a log.').optional(),
  provenBy: provenBy.optional(),
};
const verdict = objectOf<RunVerdict>(
  'verdict',
  'The verdict of a run: its worst incident decides.',
)(verdictMembers);

const statistics = objectOf<SeriesStatistics>(
  'statistics',
  'Exact statistics over all points of a series. Those of values are over the finite ones, null where there is none.',
)({
  points: count('Points, those that are not finite among them.'),
  nan: count('Points that are NaN.'),
  posInf: count('Points that are +Infinity.'),
  negInf: count('Points that are -Infinity.'),
  missing: count('Cells without a value: `null`, an empty cell, `NA`.').optional(),
  refused: count('Cells whose text is not a number.').optional(),
  first: number('First value; NaN where there is no point.'),
  last: number('Last value; NaN where there is no point.'),
  lastStep: number('Step of the last point; NaN where there is none.'),
  min: orNull(number('Smallest value.')),
  max: orNull(number('Largest value.')),
  mean: orNull(number('Mean; null also where the sum is too large for a number.')),
  p50: orNull(number('Median (nearest rank).')),
  p90: orNull(number('90th percentile (nearest rank).')),
  p95: orNull(number('95th percentile (nearest rank).')),
  p99: orNull(number('99th percentile (nearest rank).')),
});

/** A series as reports and `chart --json` have it. */
export const series = objectOf<ChartSeries>(
  null,
  'A series.',
)({
  name: text('As logged.'),
  role: oneOf(ROLES, 'What the series measures.'),
  task: text('The task that it belongs to.').optional(),
  points: count('Points of the whole series.'),
  firstStep: numbers('Step of the first point in each bucket.'),
  lastStep: numbers('Step of the last point in each bucket.'),
  min: numbers('Smallest finite value in each bucket; NaN where it has none.'),
  max: numbers('Largest finite value in each bucket; NaN where it has none.'),
  nonFinite: listOf(z.int().min(0), 'Points in each bucket that are not finite.'),
  endsEarly: flag('Whether it stops while other series of the run go on.').optional(),
  statistics,
})
  .refine(
    (chart) =>
      [chart.lastStep, chart.min, chart.max, chart.nonFinite].every(
        (array) => array.length === chart.firstStep.length,
      ) && chart.points === chart.statistics.points,
    { message: 'its arrays or counts of points disagree' },
  )
  .meta({
    id: 'series',
    description:
      'A series for a chart: neighbouring points share a bucket that keeps their extremes. `firstStep`, `lastStep`, `min`, `max` and `nonFinite` have one entry a bucket.',
  });

const clippyDetails = objectOf<ClippyDetails>(
  'clippyDetails',
  'What sets the factor of Clippy.',
)({
  dominatedBy: orNull(
    oneOf(
      ['variableRelativeThreshold', 'absoluteThreshold', 'accumulatorRelativeThreshold'],
      'An option of the rule.',
    ),
    'The larger part of the threshold of the entry that sets the smallest factor.',
  ),
  parameter: orNull(number('The parameter at that entry.')),
  update: orNull(number('The update at that entry, without clipping.')),
  frozen: listOf(
    objectOf<ClippyDetails['frozen'][number]>(
      null,
      'A tensor whose factor was below 0.001 at some step.',
    )({
      tensor: text('Its name.'),
      steps: count('Steps at which its factor was below 0.001.'),
      factor: number('Its smallest factor.'),
      absoluteThreshold: number('The absoluteThreshold that would have left all its updates alone.'),
    }),
    'Tensors that Clippy all but froze.',
  ),
});

const skippedRows = () =>
  objectOf<SkippedRows>(
    null,
    'Rows of one batch.',
  )({
    step: finite('The step of the batch.'),
    rows: listOf(finite('A row.'), 'Their places in the batch, from 0.'),
    ids: orNull(
      listOf(z.union([z.number(), z.string()]), 'Ids of the rows.'),
      'Their ids; null where none was recorded.',
    ),
  });

const sweep = objectOf<ThresholdSweep>(
  'sweep',
  'The same rule at other thresholds, at the recorded states of the incident.',
)({
  option: text('The option that was changed.'),
  values: numbers('Its values.'),
  updateNorm: numbers('Largest norm of the update during the incident, for each value.'),
  limit: number('Up to which an update counts as held: twice the median norm before.'),
  largest: orNull(number('The largest value that holds the update; null if none does.')),
});

/** An entry of `replay`, in reports and in `replay --json`. */
export const replayEntry = objectOf<ReplayEntry>(
  'replayEntry',
  'Recorded gradient steps under one clipping rule. Lists of numbers have one entry a step.',
)({
  mode: oneOf(
    REPLAY_MODES,
    'What was computed anew: factors only, the steps, or the gradients too (docs/numerics.md).',
  ),
  rule: text(
    'Id of the clipping rule; `clippy-diag explain ID` has its page. Of several rules their ids, joined with `+`.',
  ),
  options: recordOf(
    setting,
    'Options of the rule by name, defaults included; empty where there are `rules`.',
  ),
  rules: listOf(
    objectOf<NonNullable<ReplayEntry['rules']>[number]>(
      null,
      'One of them.',
    )({
      rule: text('Its id.'),
      label: text('As `--rule` takes it.'),
      options: recordOf(setting, 'Its options by name, defaults included.'),
    }),
    'Where several rules act one after the other: each, in the order as written.',
  ).optional(),
  lead: flag('Whether a conclusion over several entries names this rule first.').optional(),
  optimizer: z
    .union([z.string(), recordOf(setting, 'Name and options.')])
    .describe('The optimizer that the steps were taken with: its name and options, or a text.'),
  steps: numbers('The recorded steps.'),
  loss: orNull(
    numbers('Losses.'),
    'Loss at the parameters before each step; null where the mode cannot know it.',
  ),
  taskLoss: recordOf(numbers('Losses of the task.'), 'The same for each task.').optional(),
  arm: objectOf<ReplayArm>(
    null,
    'The one thing that this closed loop changes besides the rule.',
  )({
    kind: text(
      '`skip-batches`, `skip-rows`, `earlier-batches`, `learning-rate`, `weight-decay`, `settings`, `restore-optimizer-state`, or what else the recorder names.',
    ),
    steps: listOf(
      finite('A step.'),
      'Steps whose batches are left out, in whole or in part, or have earlier ones in their place.',
    ).optional(),
    batchIds: listOf(
      z.union([z.number(), z.string()]),
      'Ids of these batches, where the recorder was given one for each.',
    ).optional(),
    rows: listOf(skippedRows(), 'Rows of these batches that are left out; of `skip-rows` alone.').optional(),
    factor: number('What multiplies the learning rate or the weight decay.').optional(),
    learningRate: number('The learning rate that was put in its place.').optional(),
    at: finite('Step at which the old state of the optimizer is put back.').optional(),
  }).optional(),
  referenceLoss: numbers(
    'Mean loss on batches from before the incident, at the parameters before each step.',
  ).optional(),
  minClipFactor: numbers(
    'Smallest factor that the rule applied to any tensor or unit, of several rules their product; 1 where it did nothing.',
  ),
  updateNorm: numbers('Norm of the whole update.'),
  firstEngagedStep: step('First step at which the rule does something; null if at none.'),
  engagedFraction: number('Share of the steps at which it does something; NaN where that is not known.'),
  ended: objectOf<ReplayEntry['ended']>(
    null,
    'How the replay ended.',
  )({
    reason: oneOf(['completed', 'non-finite'], '`non-finite`: state or loss were no longer finite.'),
    step: finite('Its last step.'),
  }),
  verdict: oneOf(REPLAY_VERDICTS, 'What the rule would have done about the incident (docs/captures.md).'),
  confidence: oneOf(['exact', 'estimate'], 'Whether the verdict follows from what was computed.'),
  why: text('Why, in one sentence.'),
  peak: number(
    'Largest loss from the incident on, relative to the median before it; absent without an incident.',
  ).optional(),
  tasks: listOf(
    objectOf<NonNullable<ReplayEntry['tasks']>[number]>(
      null,
      'The verdict of one task.',
    )({
      name: text('The task.'),
      verdict: oneOf(REPLAY_VERDICTS, 'As for the whole.'),
      why: text('Why, in one sentence.'),
    }),
    'Verdict of each task, where the mode knows their losses.',
  ).optional(),
  bottleneck: orNull(
    objectOf<NonNullable<ReplayEntry['bottleneck']>>(
      null,
      'A tensor, and a place in it.',
    )({
      tensor: text('Its name.'),
      index: finite('Index of the entry or unit in it.'),
      place: oneOf(
        FACTOR_PLACES,
        'What the index counts; `tensor`: nothing, the factor is that of the whole tensor.',
      ).optional(),
      factor: number('The factor.'),
    }),
    'What had the smallest factor of all steps; null where the rule did nothing.',
  ),
  source: oneOf(
    ['computed', 'recorded'],
    '`recorded`: computed by the recorder in its own framework. Default: computed.',
  ).optional(),
  label: text('The rule as `--rule` takes it.').optional(),
  learningRateMultiplier: number('Factor on the recorded learning rates.').optional(),
  firstChangedStep: step(
    'First step at which the run under the rule departs from the recorded one; null if at none.',
  ).optional(),
  keptUpdate: numbers(
    'Norm of the update relative to the one without the rule, at the same state.',
  ).optional(),
  cosine: numbers('Cosine between the update and the one without the rule, at the same state.').optional(),
  gradientNorm: numbers('Norm of the recorded gradient.').optional(),
  directionMax: numbers(
    'Largest entry of the direction before the learning rate, without the rule.',
  ).optional(),
  character: oneOf(
    ['idle', 'safety-net', 'step-limiter'],
    'Whether the rule acts never, in emergencies, or most of the time before the incident.',
  ).optional(),
  tensors: listOf(
    objectOf<NonNullable<ReplayEntry['tensors']>[number]>(
      null,
      'The factors of one tensor.',
    )({
      tensor: text('Its name.'),
      factor: number('Its smallest factor.'),
      step: finite('The step of that factor.'),
      atIncident: number('Its factor at the last step of the incident.'),
      factors: numbers(
        'Its factor at each step, to four digits. Only of tensors that were cut, the 40 with the smallest factors.',
      ).optional(),
    }),
    'Factors by tensor, in the order of the model.',
  ).optional(),
  onsetStep: step(
    'Onset of the incident that the verdict is about; null where the losses show none.',
  ).optional(),
  factorInterval: objectOf<NonNullable<ReplayEntry['factorInterval']>>(
    null,
    'From a log alone: bounds of the smallest factor, where no more can be said.',
  )({ low: numbers('Lower bounds.'), high: numbers('Upper bounds.') }).optional(),
  clippy: clippyDetails.optional(),
  sweep: sweep.optional(),
});

const eigenvalue = objectOf<EigenEstimate>(
  'eigenvalue',
  'An estimate of an eigenvalue.',
)({
  value: number('With its sign.'),
  residualNorm: number('‖Hv − λv‖: an eigenvalue lies within this distance of `value`.'),
  converged: flag('Whether the residual is within the tolerance, relative to the value.'),
  iterations: number('Iterations of the search; NaN where a recorder did not tell.'),
});

const ratioOnBatch = objectOf<RatioOnBatch>(
  'ratioOnBatch',
  'The ratio on the batch of one step alone.',
)({
  batchStep: finite('The step whose batch it is.'),
  ratio: orNull(
    number(
      'Top eigenvalue over the limit; null where the gradient is not finite or the search did not converge.',
    ),
  ),
});

/** An entry of `curvature`, in reports and in `curvature --json`. */
export const curvatureEntry = objectOf<CurvatureEntry>(
  'curvatureEntry',
  'The top of a spectrum against what the learning rate tolerates.',
)({
  checkpoint: text('The checkpoint or capture that was measured.'),
  step: step('Its step, where it is known.'),
  method: oneOf(['power', 'lanczos'], 'How eigenvalues were searched.'),
  operator: oneOf(CURVATURE_OPERATORS, 'Whose eigenvalues these are.'),
  block: text('`all`, or the tensors that the operator is restricted to.'),
  task: text('`all`, or the task whose loss it is.'),
  eigenvalues: listOf(eigenvalue, 'Largest first, by value.'),
  largestMagnitude: number('Largest absolute value of an eigenvalue that was found.'),
  hvpCount: number('Products with the operator that were computed; NaN where a recorder did not tell.'),
  hvpMethod: text('How these products are computed.'),
  stability: objectOf<CurvatureEntry['stability']>(
    null,
    'The comparison with the stability limit of the optimizer.',
  )({
    learningRate: orNull(number('The learning rate.')),
    limit: orNull(number('The eigenvalue up to which a step is stable; null where there is no such limit.')),
    ratio: orNull(number('Top eigenvalue over the limit; above 1 is a risk, not a verdict.')),
    rule: text('The formula of the limit, and its source.').optional(),
    forecast: flag(
      'Whether reruns confirm the limit as a forecast of the largest stable learning rate: true for plain SGD alone; absent where nothing is known.',
    ).optional(),
  }),
  seed: number('Seed of the random starts; NaN where a recorder did not tell.'),
  backend: text('What computed the products.'),
  source: oneOf(['computed', 'recorded'], '`recorded`: computed by the recorder in its own framework.'),
  notes: texts('What a reader should know about these numbers.').optional(),
  trace: objectOf<NonNullable<CurvatureEntry['trace']>>(
    null,
    'Estimate of the trace (Hutchinson).',
  )({
    value: number('The estimate.'),
    standardError: number('Its standard error.'),
  }).optional(),
  spread: objectOf<RatioSpread>(
    'ratioSpread',
    'The ratio at this state on single batches: what one ratio is worth. A ratio above 1 that batches from before have too is no cause.',
  )({
    before: listOf(
      ratioOnBatch,
      'On the four batches right before the incident; without an incident on the first four recorded.',
    ),
    usual: orNull(range('Their range, widened by half of it; null for fewer than four.')),
    incoming: orNull(ratioOnBatch),
    unusual: orNull(
      flag('Whether the incoming batch is above `usual`; null where one of them is not known.'),
    ),
    rules: listOf(
      objectOf<RatioSpread['rules'][number]>(
        'ratioUnderRule',
        'The incoming batch under a rule.',
      )({
        rule: text('The rule, as `--rule` takes it.'),
        ratio: orNull(number("The ratio with the rule's factors held.")),
        updateNorm: number('Norm of the step that the rule lets through.'),
      }),
      'On the incoming batch, at the weights before its step; elsewhere empty.',
    ),
  }).optional(),
  criticalSharpness: objectOf<NonNullable<CurvatureEntry['criticalSharpness']>>(
    null,
    "How far along the optimizer's own update the loss first rises.",
  )({
    value: number('2 over the learning rate at which it does.'),
    criticalMultiple: number('That learning rate relative to the one in use.'),
    evaluations: count('Evaluations of the loss that it took.'),
  }).optional(),
});

const gateRule = objectOf<GateRule>(
  'gateRule',
  'A rule of a gate, judged on one run or on one group of seeds.',
)({
  id: text('As in the config.'),
  run: text('The run, or the pattern of a group.'),
  severity,
  passed: flag('Whether it holds, on complete data.'),
  status: oneOf(RULE_STATUSES, '`inconclusive`: it could not be judged.'),
  expected: text('What the rule asks for.'),
  found: orNull(number('What was compared; null where there was nothing to compare.')),
  series: orNull(text('The series that was compared.')),
  step: step('The step that it was compared at.'),
  message: text('What was found, in one sentence.'),
  locations: listOf(place, 'Where it can be seen.'),
});

const gateProblem = objectOf<GateProblem>(
  'gateProblem',
  'Why a gate cannot pass, whatever its rules say.',
)({
  exitCode: z
    .literal([3, 4])
    .describe('3: an input is damaged. 4: what is there does not suffice for a judgement.'),
  id: text('What is wrong.'),
  run: orNull(text('The run it is about; null where it is about the inputs.')),
  message: text('What is wrong, in one sentence.'),
});

const gate = objectOf<GateResult>(
  'gate',
  'The result of a gate.',
)({
  passed: flag('Every rule was judged on complete data, and none of severity `error` failed.'),
  exitCode: z.literal([0, 1, 3, 4]).describe('0 passed, 1 failed, 3 damaged input, 4 inconclusive.'),
  rules: listOf(gateRule, 'The rules, in the order of the config.'),
  problems: listOf(gateProblem, 'What else keeps it from passing.'),
  skipped: listOf(
    objectOf<GateResult['skipped'][number]>(
      null,
      'A rule that was left out.',
    )({
      id: text('As in the config.'),
      run: text('The run.'),
      severity: oneOf(['note', 'warning'], '`note` for `missing: skip`, `warning` for `missing: warn`.'),
      reason: text('Why it was left out.'),
    }),
    'Rules that were left out because the config says so.',
  ),
});

const attempt = objectOf<Attempt>(
  'attempt',
  'An uninterrupted stretch of training.',
)({
  index: count('Its number, from 0.'),
  firstStep: number('Smallest step of its series.'),
  lastStep: number('Largest step of its series.'),
  reason: oneOf(['start', 'step-went-back', 'new-file', 'restart-line'], 'Why it begins here.'),
});

const rewind = objectOf<RewindAdvice>(
  'rewind',
  'How to go back to before the incident.',
)({
  lastGoodStep: finite('Last step that was good.'),
  rewindToStep: finite('Step to go back to.'),
  rewindToCheckpoint: orNull(text('A checkpoint of that step, where one was found.')),
  skipSteps: range('First and last step whose data are better left out.'),
  learningRateFactor: orNull(number('Factor on the learning rate; null where it may stay.')),
  why: text('Why, in one sentence.'),
});

const notRun = objectOf<RunReport['notRun'][number]>(
  null,
  'Something that was not judged.',
)({
  id: text('A detector, or a part of the analysis.'),
  reason: text('Why it was not judged.'),
});

/** Texts, numbers and flags by name, as logs and checkpoints have them besides their series and tensors. */
export const scalars = (
  description: string,
): z.ZodType<Readonly<Record<string, string | number | boolean | null>>> =>
  recordOf(orNull(setting, 'A text that reads NaN or Infinity is read as the number.'), description);

const cause = objectOf<Cause>(
  'cause',
  'What changed before the leading incident and what it did (docs/cause.md).',
)({
  trigger: oneOf(
    TRIGGERS,
    'What had changed and, put back alone, holds; `none-found` where nothing was found.',
  ),
  alsoTriggers: listOf(oneOf(TRIGGERS, 'A trigger.'), 'What had changed too and holds too, put back alone.'),
  mechanism: oneOf(MECHANISMS, 'What the change did to the run.'),
  step: step('First harmful step; null where none was found.'),
  onsetStep: step('First loss out of its band; null without an incident.'),
  confidence: orNull(
    oneOf(
      ['shown', 'likely'],
      '`shown` by an experiment, `likely` by what was recorded; null where nothing is said.',
    ),
  ),
  statement: text('It in one sentence.'),
  factor: orNull(
    number('What was used over what should have been.'),
    'What was used over what should have been, where the cause is a factor; null otherwise.',
  ).optional(),
  failure: text('The known failure that the log shows, by the id of its page (`explain`).').optional(),
  evidence: listOf(
    objectOf<CauseEvidence>(
      'causeEvidence',
      'What was measured.',
    )({
      id: oneOf(EVIDENCE_IDS, 'Kind of evidence (docs/cause.md).'),
      statement: text('It in one sentence.'),
      value: orNull(number('What was found; null where it is not a number.')),
      unit: text('What it counts.'),
      usual: orNull(
        range('Range of the earlier values, widened by half of it; null where there were fewer than four.'),
      ),
      at: objectOf<CauseEvidence['at']>(
        null,
        'Where.',
      )({
        step: step('The step whose weights; null where it is of none.'),
        batchStep: step('The step whose batch; null where it is of none.'),
      }),
    }),
    'What was measured, the decisive first.',
  ),
});

const remedy = objectOf<Remedy>(
  'remedy',
  'A change to the training, and whether it was tried.',
)({
  action: oneOf(REMEDY_ACTIONS, 'What to do.'),
  rule: orNull(text('Clipping rule as `--rule` takes it; null where it is something else.')),
  skipSteps: orNull(range('First and last step whose batches are left out.')),
  skipRows: orNull(
    listOf(skippedRows(), 'Rows of batches.'),
    'Rows to leave out; of `skip-rows` alone.',
  ).optional(),
  learningRateFactor: orNull(number('Times the rate of the step of the trigger.')),
  learningRate: orNull(number('The learning rate to take.')),
  weightDecayFactor: number(
    'Times the weight decay of every group; of `lower-weight-decay` alone.',
  ).optional(),
  from: orNull(
    objectOf<NonNullable<Remedy['from']>>(
      null,
      'The state to go on from.',
    )({
      step: finite('Its step.'),
      path: orNull(text('The newest whole checkpoint at or before it; null where there is none.')),
    }),
  ),
  tried: orNull(oneOf(['closed-loop', 'recorded'], 'How it was tried; null where it was not.')),
  holds: orNull(flag('Whether it holds; null where that is not known.')),
  outcome: orNull(oneOf(ARM_OUTCOMES, 'How the try ended on the reference batches.')),
  finalLoss: orNull(number('Median of the last ten losses on the reference batches.')),
  finalLossWithout: orNull(number('The same without it.')),
  interference: number('Share of the steps before the incident that it changes, times how hard.'),
  perturbations: objectOf<Remedy['perturbations']>(
    null,
    'Tries with the batches in other orders.',
  )({ tried: count('How many were made.'), held: count('In how many it held.') }),
  statement: text('It in one sentence.'),
  paste: orNull(text('A line for the training script; null where there is none.')),
});

const run = objectOf<RunReport>(
  'run',
  'What was found out about one run.',
)({
  id: text('The path of its log relative to what was named; `#n` where a file holds several.'),
  paths: texts('The files that it was read from.'),
  stepUnit,
  planned: finite(
    'The step at which training was to end, where the log prints it and ends before: it goes on, or was stopped.',
  ).optional(),
  attempts: count('How many attempts it has: a restart or a resumption is one more.'),
  attemptList: listOf(attempt, 'The attempts.'),
  verdict,
  tasks: listOf(
    objectOf<TaskVerdict>(
      null,
      'The verdict of one task.',
    )({
      name: text('The task.'),
      class: verdictClass,
      onsetStep: step('First step of its incident; null where it has none.'),
    }),
    'The verdict of each task, where the log has several.',
  ),
  thresholds: recordOf(
    recordOf(finite('The number.'), 'Numbers by the name of the threshold.'),
    'Numbers other than the defaults by which the run was judged, by finding. A number of the judge of incidents is listed under every finding that has it.',
  ).optional(),
  findings: listOf(finding, 'What was found, the worst first.'),
  detectorsRun: texts('Ids of the kinds of findings that were looked for in all there is.').optional(),
  notRun: listOf(notRun, 'What was not judged, and why.'),
  failedDetectors: listOf(
    objectOf<RunReport['failedDetectors'][number]>(
      null,
      'A detector that failed.',
    )({
      id: text('The detector.'),
      error,
    }),
    'Detectors that failed: faults of the tool.',
  ),
  advice: texts('What to do next.'),
  rewind: orNull(rewind, 'How to go back; null where nothing asks for it.'),
  series: listOf(series, 'The series of the log.'),
  hyperparameters: scalars('Hyperparameters by name, from the log and from files next to it.'),
  notes: texts('What a reader should know about how the run was read.'),
  cause: cause.optional(),
  remedies: listOf(remedy, 'What would have prevented it, best first; the untried last.').optional(),
  replay: listOf(replayEntry, 'Clipping rules on this run.'),
  curvature: listOf(curvatureEntry, 'Curvature against the stability limit.'),
  job: job.optional(),
  audit: audit.optional(),
});

export const readBy = objectOf<NonNullable<ReportInput['readBy']>>(
  'readBy',
  'How a text of no known layout was read.',
)({
  how: oneOf(
    ['layout', 'words', 'guess'],
    '`layout`: a record of the config or columns chosen by `--map`; `words`: its words name the loss; `guess`: only its numbers look like one, and a gate is inconclusive over it, unless it is to accept guesses.',
  ),
  statement: text('What was read, from which line, and how to choose another column.'),
});

const input = objectOf<ReportInput>(
  'input',
  'A file or folder that was read.',
)({
  path: text('Its path.'),
  format: text('Its format; docs/formats.md lists them.'),
  sha256: orNull(
    text(
      'SHA-256 of the bytes of a log, of names, types and shapes of a checkpoint; null where reading stopped before the end.',
    ),
  ),
  kept: count('Records that were read.').optional(),
  lost: count('Records that were lost.').optional(),
  unreadBytes: count('Bytes of a last record that is not whole.').optional(),
  account: account.optional(),
  grownBytes: count('Bytes that were appended while it was read.').optional(),
  readBy: readBy.optional(),
  errors: listOf(error, 'Damage in it.').optional(),
});

export const skipped = objectOf<Report['skipped'][number]>(
  'skipped',
  'A file, or a folder of a tool, that a walk skipped.',
)({
  path: text('Its path.'),
  reason: text('Why.'),
  saysLog: oneOf(
    ['name', 'content'],
    'What says that it is a log all the same: a gate is inconclusive over it, unless its config allows that.',
  ).optional(),
  sameRun: text('The log of the same run, where this is another log of one.').optional(),
});

const comparisonOf2 = objectOf<Comparison>(
  'comparison',
  'Where two runs part, and in which settings they differ: the form of schema 2.x, which is still read.',
)({
  runs: twoTexts('Paths of the two runs.'),
  outcome: oneOf(
    ['same', 'within-noise', 'part', 'cannot-tell'],
    'Whether they are apart to the end by more than noise; `cannot-tell` with too few steps in common.',
  ),
  why: text('One sentence.'),
  step: step('Where they part; null where they do not.'),
  series: orNull(text('The loss (else the series) that parts first.')),
  compared: listOf(
    objectOf<SeriesComparison>(
      null,
      'A series that both runs have.',
    )({
      name: text('Its name.'),
      steps: count('Steps that both logged.'),
      differsAt: step('First step at which the values are not the same; null where all are.'),
      partsAt: step('Step from which on they are apart to the end; null where they are not.'),
      last: twoNumbers('Median of the last values of each.'),
      apart: number('Distance of these; a share where `relative`.'),
      limit: number('What it must exceed to the end for a parting.'),
      relative: flag('Whether distances are shares of the value.'),
    }),
    'Losses first.',
  ),
  settings: listOf(
    objectOf<SettingDifference>(
      null,
      'A setting in which they differ.',
    )({
      name: text('Its name.'),
      kind: oneOf(SETTING_KINDS, 'What it is a setting of.'),
      first: orNull(setting).optional(),
      second: orNull(setting).optional(),
    }),
    'Learning rate, optimizer, clipping, data and seed first.',
  ),
  settingsCompared: count('Settings that both tell.'),
  captures: objectOf<CapturesComparison>(
    null,
    'The captures of the two, at the steps that both recorded; left out where there are none.',
  )({
    paths: twoTexts('Their folders.'),
    steps: twoNumbers('First and last step that were compared.'),
    compared: listOf(
      objectOf<CapturesComparison['compared'][number]>(
        null,
        'Something that both recorded.',
      )({
        what: text('`weights`, `batch`, `learning rate`, `loss` or `gradient`.'),
        steps: count('Steps at which both have it.'),
        differsAt: step('First step at which it is not the same to the bit; null where it always is.'),
      }),
      'In the order in which one leads to the next.',
    ),
  }).optional(),
});

export const schemaVersion = text('Version of this form; a reader of 3.x reads every 3.y.');

export const reportSchema = objectOf<Report>(
  null,
  'What `clippy-diag analyze --json` prints, and `gate`, `watch` and `report` too.',
)({
  schemaVersion,
  toolVersion: text('Version of clippy-diag that made it.'),
  createdAt: text('When it was made (ISO 8601).'),
  inputs: listOf(input, 'What was read.'),
  budget: finite('Seconds that were allowed for checkpoints, replay and curvature.').optional(),
  verdict: objectOf<Report['verdict']>(
    null,
    'The verdict of the worst run.',
  )({
    ...verdictMembers,
    run: orNull(text('Its id; null where no run could be judged.')),
  }),
  runs: listOf(run, 'The runs.'),
  table: objectOf<RunsTable>(
    'table',
    'Many runs, one row a run: what `--sort` and `--where` chose.',
  )({
    columns: texts('run, class, onset, best, last, then the hyperparameters in which the runs differ.'),
    rows: listOf(
      scalars('Values by column; null where a run has none. Losses are those of the series that decided.'),
      'Worst first, unless they were sorted otherwise; rows of a group are together.',
    ),
    groupBy: texts('Columns by which the rows were grouped (`--group-by`).').optional(),
    groups: listOf(
      objectOf<TableGroup>(
        'tableGroup',
        'Rows that have the same values in the columns by which a table is grouped.',
      )({
        values: scalars('What its rows have in these columns.'),
        runs: count('How many rows it has.'),
        classes: recordOf(count('Runs.'), 'How many of them are of each class.'),
        best: orNull(number('Lowest of their best losses.')),
        last: orNull(number('Median of their last losses; Infinity where half of them end in none.')),
      }),
      'The groups in the order of their values.',
    ).optional(),
  }).optional(),
  comparison: eitherOf(comparisonOf2, runComparison)
    .describe('Where two runs part, and in which settings they differ; a report of 2.x has the older form.')
    .optional(),
  preflight: preflight.optional(),
  skipped: listOf(skipped, 'Files that a walk skipped.'),
  warnings: listOf(error, 'Inputs that could not be used at all, and what else went wrong.'),
  gate: gate.optional(),
});
