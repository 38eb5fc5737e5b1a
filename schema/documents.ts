/** The schemas of all JSON documents: what is published here, told in docs/json.md, and held to the types by the compiler. */
import { z } from 'zod';
import type {
  AuditDocument,
  BaselineDocument,
  BisectDocument,
  BriefDocument,
  ChartDocument,
  CheckDocument,
  CompareDocument,
  CompletionDocument,
  CurvatureDocument,
  DiffDocument,
  DonateDocument,
  ErrorDocument,
  InitDocument,
  InspectDocument,
  MatrixDocument,
  PageDocument,
  PagesDocument,
  PreflightDocument,
  ReplayDocument,
  ResumeDocument,
  StripDocument,
  StudyDocument,
  TeachDocument,
  TokensDocument,
  WhoDocument,
  WorkerDocument,
} from '../src/app/cli/documents.ts';
import { baselineSchema } from '../src/app/gate/baseline-file.ts';
import { AUDIT_OUTCOMES } from '../src/model/audit.ts';
import {
  type Bisect,
  type BisectChange,
  type BisectTrial,
  CHANGE_KINDS,
  TRIAL_OUTCOMES,
} from '../src/model/bisect.ts';
import type { Brief, BriefRun } from '../src/model/brief.ts';
import { DTYPES, type InspectedCheckpoint, type InspectedTensor } from '../src/model/checkpoint.ts';
import type { LabelledDensity } from '../src/model/curvature.ts';
import type { DonatedFile, LeftOut } from '../src/model/donation.ts';
import type {
  CheckpointDiff,
  HyperparameterFile,
  InspectedCapture,
  InspectedInput,
  InspectedLog,
  InspectedRun,
  InspectedSeries,
  LayerChange,
  NormSeries,
  TensorChange,
  Trajectory,
} from '../src/model/inspection.ts';
import { FIELD_ROLES } from '../src/model/layout.ts';
import type { MatrixCell, TrainingMatrix } from '../src/model/matrix.ts';
import type { BaselineCheck } from '../src/model/replay.ts';
import { VERDICT_CLASSES } from '../src/model/report.ts';
import { RESUME_CHECKS, type Resume, type ResumeCheck } from '../src/model/resume.ts';
import { ROLES } from '../src/model/run.ts';
import type { StepBatch } from '../src/model/step-batch.ts';
import {
  CELL_VERDICTS,
  type MeanAndSpread,
  type StudyCell,
  type StudyInfo,
  type StudyMetric,
  type StudyPoint,
  type StudySummary,
  type TaskQuality,
} from '../src/model/study.ts';
import {
  account,
  curvatureEntry,
  error,
  finding,
  readBy,
  replayEntry,
  reportSchema,
  scalars,
  schemaVersion,
  series,
  skipped,
  stepUnit,
} from '../src/report/report-schema.ts';
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
  setting,
  text,
  texts,
} from '../src/report/schema-of.ts';
import {
  audit as auditMember,
  preflight as preflightMember,
  provenBy,
  runComparison,
} from '../src/report/schema-sections.ts';

/** A type as its JSON has it: a Map is an object there. */
type InJson<T> =
  T extends ReadonlyMap<string, infer V>
    ? Readonly<Record<string, V>>
    : T extends readonly (infer E)[]
      ? readonly InJson<E>[]
      : T extends object
        ? { readonly [K in keyof T]: InJson<T[K]> }
        : T;

const statistics = {
  nan: count('Values that are NaN.'),
  posInf: count('Values that are +Infinity.'),
  negInf: count('Values that are -Infinity.'),
};
const sha256 = orNull(text('SHA-256 of its bytes; null where reading stopped before the end.'));

const inspectedSeries = objectOf<InspectedSeries>(
  'inspectedSeries',
  'A series of a log.',
)({
  name: text('As logged.'),
  role: oneOf(ROLES, 'What the series measures.'),
  task: text('The task that it belongs to.').optional(),
  points: count('Points, those that are not finite among them.'),
  firstStep: number('Step of the first point; NaN where there is none.'),
  lastStep: number('Step of the last point; NaN where there is none.'),
  first: number('First value; NaN where there is no point.'),
  last: number('Last value; NaN where there is no point.'),
  min: orNull(number('Smallest finite value; null where there is none.')),
  max: orNull(number('Largest finite value; null where there is none.')),
  ...statistics,
  missing: count('Cells without a value: `null`, an empty cell, `NA`.'),
  refused: count('Cells whose text is not a number.'),
});

const inspectedRun = objectOf<InJson<InspectedRun>>(
  'inspectedRun',
  'A run of a log.',
)({
  id: text('The path of its log relative to what was named; `#n` where a file holds several.'),
  attempts: count('How many attempts it has: a restart or a resumption is one more.'),
  stepUnit,
  paths: texts('The files that it was read from.'),
  notes: texts('What a reader should know about how it was read.'),
  hyperparameters: scalars('Hyperparameters by name, from the log and from files next to it.'),
  series: listOf(inspectedSeries, 'Its series, in the order of the log.'),
});

const inspectedLog = objectOf<InJson<InspectedLog>>(
  'inspectedLog',
  'A log.',
)({
  path: text('Its path.'),
  kind: oneOf(['log'], 'What kind of input it is.'),
  format: text('Its format; docs/formats.md lists them.'),
  sha256,
  errors: listOf(error, 'Damage in it.'),
  kept: count('Records that were read.'),
  lost: count('Records that were lost.'),
  unreadBytes: count('Bytes of a last record that is not whole.'),
  account,
  readBy: readBy.optional(),
  files: listOf(
    objectOf<NonNullable<InspectedLog['files']>[number]>(
      null,
      'A file that was joined.',
    )({
      path: text('Its path.'),
      sha256,
      account,
    }),
    'The files that were joined into this input, where there are several.',
  ).optional(),
  runs: listOf(inspectedRun, 'The runs in it.'),
});

const inspectedTensor = objectOf<InspectedTensor>(
  'inspectedTensor',
  'A tensor of a checkpoint. It has no statistics with `--list`, and where it cannot be read.',
)({
  name: text('As stored.'),
  label: text("The variable's own name, where the stored one is a path through an object graph.").optional(),
  dtype: oneOf(DTYPES, 'Type of its entries.'),
  shape: listOf(z.int().min(0), 'Its shape; empty for a scalar.'),
  elements: count('Entries.'),
  layout: oneOf(['OI', 'IO', 'OIHW', 'HWIO', 'none'], 'Which axis of a kernel is the output.'),
  role: oneOf(['parameter', 'gradient', 'optimizer_state', 'buffer'], 'What it is.'),
  slot: text('Of optimizer state: accumulator, m, v, v_max, momentum or step.').optional(),
  parameter: text('Of optimizer state: the parameter that it belongs to.').optional(),
  sum: number('Sum of the finite entries, in float64.').optional(),
  norm: number('Euclidean norm of the finite entries.').optional(),
  min: orNull(number('Smallest finite entry; null where there is none.')).optional(),
  max: orNull(number('Largest finite entry; null where there is none.')).optional(),
  nan: count('Entries that are NaN.').optional(),
  posInf: count('Entries that are +Infinity.').optional(),
  negInf: count('Entries that are -Infinity.').optional(),
  flags: listOf(
    oneOf(['non-finite', 'all-zero', 'constant', 'exploding'], 'What is odd about it.'),
    'What is odd about it. `exploding`: entries far larger than trained networks have.',
  ),
});

const inspectedCheckpoint = objectOf<InJson<InspectedCheckpoint>>(
  'inspectedCheckpoint',
  'A checkpoint.',
)({
  path: text('Its path.'),
  kind: oneOf(['checkpoint'], 'What kind of input it is.'),
  format: text('Its format; docs/formats.md lists them.'),
  framework: orNull(text('The framework that wrote it; null where the file does not tell.')),
  step: orNull(finite('Its step, where the file or its name tells.')),
  withoutWeights: text('What it is, where it holds no weights.').optional(),
  metadata: scalars('Numbers and texts beside the tensors.'),
  errors: listOf(error, 'Damage in it.'),
  account,
  tensors: listOf(inspectedTensor, 'Its tensors, in the order of the file.'),
});

const inspectedCapture = objectOf<InJson<InspectedCapture>>(
  'inspectedCapture',
  'A capture.',
)({
  path: text('Its folder.'),
  kind: oneOf(['capture'], 'What kind of input it is.'),
  format: oneOf(['capture'], 'Its format.'),
  errors: listOf(error, 'Damage in it.'),
  kept: count('Steps that can be replayed.'),
  lost: count('Steps that cannot.'),
  firstStep: finite('The first step that can.'),
  lastStep: finite('The last step that can.'),
  account,
});

const normSeries = objectOf<NormSeries>(
  'normSeries',
  'How a norm went over the checkpoints.',
)({
  name: text('`parameters`, `optimizer accumulator` … for all tensors of a kind, else a layer.'),
  norm: listOf(
    orNull(number('A norm.')),
    'Norm of the finite entries in each checkpoint; null where it lacks these tensors.',
  ),
  nonFinite: listOf(z.int().min(0), 'Entries in each checkpoint that are not finite.'),
});

const trajectory = objectOf<Trajectory>(
  'trajectory',
  'The checkpoints of one run.',
)({
  checkpoints: listOf(
    objectOf<Trajectory['checkpoints'][number]>(
      null,
      'A checkpoint.',
    )({
      path: text('Its path.'),
      step: orNull(finite('Its step, where it is known.')),
    }),
    'The checkpoints in order.',
  ),
  bySteps: flag('Whether they are in the order of their steps; else of their names.'),
  totals: listOf(normSeries, 'All parameters, then each kind of optimizer state.'),
  layers: listOf(normSeries, 'The parameters by layer.'),
});

const inspect = objectOf<InJson<InspectDocument>>(
  null,
  'What `clippy-diag inspect --json` prints.',
)({
  schemaVersion,
  inputs: listOf(
    z.union([inspectedLog, inspectedCheckpoint, inspectedCapture]) as z.ZodType<InJson<InspectedInput>>,
    'Logs, checkpoints and captures; `kind` tells which.',
  ),
  hyperparameterFiles: listOf(
    objectOf<HyperparameterFile>(
      'hyperparameterFile',
      'A file of hyperparameters beside a log; of one that could not be read all is passed over.',
    )({
      path: text('Its path.'),
      account,
      problem: orNull(text('Why it was not read; null where it was.')),
    }),
    'What was read for hyperparameters beside the logs.',
  ),
  trajectories: listOf(trajectory, 'One for each run that has several checkpoints.'),
  skipped: listOf(skipped, 'Files that a walk skipped.'),
  errors: listOf(error, 'Inputs that could not be read at all.'),
});

const brief = objectOf<BriefDocument>(
  null,
  'What `clippy-diag analyze --brief --json` prints: the answer of a report without its series and findings.',
)({
  schemaVersion,
  brief: objectOf<Brief>(
    null,
    'The answer, about the worst run.',
  )({
    verdict: oneOf(VERDICT_CLASSES, "Class of the run's verdict."),
    run: orNull(text('The run that the answer is about; null where none could be judged.')),
    stepUnit,
    onsetStep: orNull(finite('Where the incident begins; null where there is none.')),
    recoveredStep: orNull(finite('Where the loss came back; null where it did not.')),
    title: text('What happened, as the first line of the page.'),
    change: text('What the loss did; empty where no run was judged.'),
    facts: text('Name of the run, points and steps; empty where no run was judged.'),
    why: orNull(text('The cause in words; else the broken link of the recorded steps, or the place.')),
    confidence: orNull(
      oneOf(['shown', 'likely'], 'How sure the cause is: `shown` by an experiment, or `likely`.'),
    ),
    fix: orNull(text('What to do.')),
    code: orNull(text('A line to paste into the training program.')),
    proofs: orNull(
      provenBy,
      'What the verdict rests on; null where no run was judged, and of a report that does not tell it.',
    ),
    runs: objectOf<Brief['runs']>(
      null,
      'All runs.',
    )({
      total: count('Runs that were judged.'),
      bad: count('Runs that did not come back, or that have an error beside a healthy loss.'),
      doubtful: count('Runs that came back, cannot be told, or have a warning.'),
      worst: listOf(
        objectOf<BriefRun>(
          null,
          'A run that is not well.',
        )({
          run: text('Its id.'),
          class: oneOf(VERDICT_CLASSES, 'Class of its verdict.'),
          title: text('What happened to it.'),
        }),
        'The gravest runs, at most five.',
      ),
    }),
    gate: orNull(
      objectOf<NonNullable<Brief['gate']>>(
        null,
        'What the policy says.',
      )({
        passed: flag('Whether the gate passes.'),
        exitCode: z.literal([0, 1, 3, 4]).describe('The exit code of the gate.'),
        failed: texts('Rules and problems that keep it from passing, each once.'),
      }),
      'With `gate`, and of a report with a gate; else null.',
    ),
    also: orNull(text('The gravest other finding.')),
    beware: orNull(text('What was not read, or makes the answer doubtful.')),
    next: text('A command that shows more.'),
  }),
});

const side = objectOf<CheckpointDiff['before']>(
  null,
  'A checkpoint.',
)({
  path: text('Its path.'),
  step: orNull(finite('Its step, where it is known.')),
});

const tensorChange = objectOf<TensorChange>(
  'tensorChange',
  'How far a tensor moved.',
)({
  name: text('The tensor.'),
  layer: text('Its layer.'),
  role: oneOf(['parameter', 'gradient', 'optimizer_state', 'buffer'], 'What it is.'),
  elements: count('Entries.'),
  normBefore: number('Norm in the first.'),
  normAfter: number('Norm in the second.'),
  change: number('Norm of the difference.'),
  relative: number('The difference relative to the norm in the first; Infinity where that was 0.'),
  largestChange: number('Largest difference of an entry.'),
  effectiveLearningRate: orNull(
    number(
      "From Adagrad's accumulators: the learning rate of one step, times the clipping factor; null without accumulators.",
    ),
  ),
});

const diff = objectOf<DiffDocument>(
  null,
  'What `clippy-diag inspect --diff --json` prints.',
)({
  schemaVersion,
  diff: objectOf<CheckpointDiff>(
    null,
    'What moved between two checkpoints.',
  )({
    before: side,
    after: side,
    tensors: listOf(tensorChange, 'Tensors that both have, what moved most first.'),
    layers: listOf(
      objectOf<LayerChange>(
        'layerChange',
        'How far the parameters of a layer moved.',
      )({
        layer: text('The layer.'),
        tensors: count('Its parameters.'),
        change: number('Norm of the difference.'),
        relative: number('The difference relative to the norm in the first.'),
      }),
      'The layers, what moved most first.',
    ),
    onlyBefore: texts('Tensors that only the first has.'),
    onlyAfter: texts('Tensors that only the second has.'),
    reshaped: texts('Tensors of another shape in the second.'),
  }),
});

const replay = objectOf<ReplayDocument>(
  null,
  'What `clippy-diag replay --json` prints.',
)({
  schemaVersion,
  replay: listOf(replayEntry, 'One for each rule, in their order; then what the capture itself records.'),
  findings: listOf(finding, 'What was found in the capture.'),
  errors: listOf(error, 'Damage in the capture.'),
  notes: texts('What a reader should know about these numbers.'),
});

const density = objectOf<LabelledDensity>(
  'density',
  'The spectral density of an operator: a share `weight[i]` of its spectrum lies around `value[i]`.',
)({
  value: numbers('Values, ascending.'),
  weight: numbers('Shares; they add up to 1.'),
  products: count('Products with the operator that were computed.'),
  checkpoint: text('The checkpoint or capture that was measured.'),
  step: orNull(finite('Its step, where it is known.')),
  operator: oneOf(['hessian', 'preconditioned-hessian', 'gauss-newton'], 'Whose spectrum it is.'),
  block: text('`all`, or the tensors that the operator is restricted to.'),
});

const curvature = objectOf<CurvatureDocument>(
  null,
  'What `clippy-diag curvature --json` prints.',
)({
  schemaVersion,
  curvature: listOf(curvatureEntry, 'One for each operator, block and task; of many checkpoints, of each.'),
  density: orNull(density, 'With `--density`.'),
  notes: texts('What a reader should know about these numbers.'),
});

const baselineCheck = objectOf<BaselineCheck>(
  null,
  'Whether the run under the recorded clipping follows the recorded losses.',
)({
  follows: flag('Whether it does.'),
  firstSteps: number('Largest relative difference over the first steps.'),
  departsAt: orNull(finite('First step whose loss differs by more than 1 %; null if none does.')),
  why: text('The same in one sentence.'),
});

const matrixCell = objectOf<MatrixCell>(
  'matrixCell',
  'One training.',
)({
  rule: text('Id of the clipping rule.'),
  label: text('The rule as `--rule` takes it.'),
  learningRateMultiplier: number('Factor on the recorded learning rates.'),
  seed: finite(
    '0 takes the batches in the recorded order, every other seed in one of its own within the stretches before, in and after the incident.',
  ),
  diverged: orNull(
    flag('Whether it left the band and ends out of it; null where the losses are too few to tell.'),
  ),
  verdict: orNull(
    oneOf(
      ['holds', 'hurt', 'lost'],
      '`lost`: it diverged; `hurt`: it ends in the band of single losses, and above what medians of ten reach by chance; null where the losses are too few to tell.',
    ),
  ),
  leftAtStep: orNull(finite('First step from which on no loss is in the band; null where it ends in it.')),
  finalLoss: number('Median of the last ten losses; NaN if one of them is not finite.'),
  peak: orNull(
    number('Largest loss from the incident on, relative to the median before it; null without an incident.'),
  ),
  ended: objectOf<MatrixCell['ended']>(
    null,
    'How it ended.',
  )({
    reason: oneOf(['completed', 'non-finite'], '`non-finite`: state or loss were no longer finite.'),
    step: finite('Its last step.'),
  }),
});

const matrix = objectOf<MatrixDocument>(
  null,
  'What `clippy-diag matrix --json` prints.',
)({
  schemaVersion,
  matrix: objectOf<TrainingMatrix>(
    null,
    'Learning rate × clipping rule × seed.',
  )({
    steps: objectOf<TrainingMatrix['steps']>(
      null,
      'The recorded steps.',
    )({
      first: finite('The first.'),
      last: finite('The last.'),
      count: count('How many.'),
    }),
    learningRates: numbers('The recorded learning rates, each once.'),
    band: objectOf<TrainingMatrix['band']>(
      null,
      'The losses before the incident.',
    )({
      median: number('Their median.'),
      high: number('The largest loss that is in their band.'),
      highLevel: number(
        'The largest median of ten losses that they have by chance; NaN where they are too few.',
      ),
    }),
    baseline: baselineCheck,
    cells: listOf(matrixCell, 'Rule by rule; learning rates within a rule, seeds within a learning rate.'),
    holds: listOf(
      objectOf<TrainingMatrix['holds'][number]>(
        null,
        'How far a rule holds.',
      )({
        label: text('The rule as `--rule` takes it.'),
        upTo: orNull(
          number('The largest factor up to which every cell holds; null if the smallest already does not.'),
        ),
        notAt: orNull(number('The smallest factor at which a cell does not hold; null if all hold.')),
      }),
      'One for each rule.',
    ),
    notes: texts('What a reader should know about these numbers.'),
  }),
  errors: listOf(error, 'Damage in the capture.'),
});

const taskQuality = objectOf<TaskQuality>(
  'taskQuality',
  'Quality of a task on the test part; null where the metric does not belong to its loss, NaN where outputs are not finite.',
)({
  auc: orNull(number('Area under the ROC curve.')),
  logloss: orNull(number('Mean cross-entropy.')),
  rmse: orNull(number('Root of the mean squared error.')),
});

const verdict = oneOf(
  CELL_VERDICTS,
  '`hurt`: left the band and came back, climbed, or is beaten by a constant; `frozen`: learned nothing; `crashed`: could not be trained.',
);
const ruleOptions = z
  .record(z.string(), z.union([z.number(), z.string(), z.boolean()]))
  .meta({ description: 'All options of the rule.' }) as unknown as z.ZodType<InJson<StudyCell['options']>>;
const ruleLabel = text('The rule with its options, as `--rule` takes it.');

const studyCell = objectOf<InJson<StudyCell>>(
  'studyCell',
  'One training.',
)({
  model: text('The model.'),
  rule: text('The row of the study: a label, or of a grid its ids.'),
  label: ruleLabel,
  options: ruleOptions,
  learningRate: finite('The learning rate.'),
  seed: count('The seed of the initialisation.'),
  verdict,
  class: orNull(oneOf(VERDICT_CLASSES, "The judge's class of the training losses; null where it crashed.")),
  onsetStep: orNull(finite('Step, counted from 0, at which the incident began.')),
  finalLoss: number('Median of the last ten losses; NaN if one of them is not finite.'),
  metrics: z
    .record(z.string(), taskQuality)
    .meta({ description: 'Quality by task.' }) as unknown as z.ZodType<InJson<StudyCell['metrics']>>,
  curve: numbers('The largest loss in each of up to 64 stretches of equal length.'),
  error: text('Why it crashed.').optional(),
});

const meanAndSpread = objectOf<MeanAndSpread>(
  'meanAndSpread',
  'Over the seeds.',
)({
  mean: number('The mean.'),
  sd: number('The standard deviation; 0 of one seed.'),
});

const studyPoint = objectOf<InJson<StudyPoint>>(
  'studyPoint',
  'A row of the study at one learning rate: of a grid its best rule there.',
)({
  learningRate: finite('The learning rate.'),
  label: ruleLabel,
  verdict,
  seeds: count('Seeds.'),
  counts: z
    .record(z.string(), z.int().min(0))
    .meta({ description: 'Seeds by verdict.' }) as unknown as z.ZodType<InJson<StudyPoint['counts']>>,
  quality: meanAndSpread,
  finalLoss: meanAndSpread,
  lostAt: orNull(finite('The earliest onset among the lost.')),
});

const studySummary = objectOf<InJson<StudySummary>>(
  'studySummary',
  'A row of the study for one model.',
)({
  model: text('The model.'),
  rule: text('The row.'),
  points: listOf(studyPoint, 'By learning rate.'),
  best: orNull(
    objectOf<InJson<NonNullable<StudySummary['best']>>>(
      null,
      'The best quality among rule and learning rate that hold in all seeds.',
    )({
      label: ruleLabel,
      options: ruleOptions,
      learningRate: finite('The learning rate.'),
      quality: meanAndSpread,
    }),
  ),
  largestStable: orNull(
    objectOf<NonNullable<StudySummary['largestStable']>>(
      null,
      'The largest rate up to which one rule of the row holds in all seeds.',
    )({ label: ruleLabel, learningRate: finite('The learning rate.') }),
  ),
  paired: listOf(
    objectOf<InJson<StudySummary['paired'][number]>>(
      null,
      'The best of this row against that of another row of the model, seed by seed.',
    )({
      against: ruleLabel,
      learningRate: finite('Learning rate of the other one.'),
      difference: finite('Mean difference of the quality of the first task, this row less the other.'),
      standardError: finite('Standard error of that mean.'),
      seeds: count('Seeds that both have.'),
      smallestTold: finite('The smallest difference that so many seeds distinguish from 0 at 95 %.'),
      seedsToTell: objectOf<StudySummary['paired'][number]['seedsToTell']>(
        null,
        'How many seeds the difference that was found takes.',
      )({
        difference: finite('Its size.'),
        seeds: orNull(count('Seeds; null if 1,000 are too few.')),
      }),
    }),
    'Against the best of every other row of the model; empty with one seed.',
  ),
});

const study = objectOf<InJson<StudyDocument>>(
  null,
  'What `clippy-diag matrix STUDY.yaml --json` and `clippy-diag matrix merge --json` print.',
)({
  schemaVersion,
  study: objectOf<InJson<StudyInfo>>(
    null,
    'What was asked for.',
  )({
    file: text('The study, as named.'),
    key: text('SHA-256 of everything that decides the results.'),
    models: texts('The models.'),
    rules: listOf(
      objectOf<InJson<StudyInfo['rules'][number]>>(
        null,
        'A row.',
      )({ rule: text('Its name.'), labels: texts('The rules of its grid.') }),
      'The rows.',
    ),
    learningRates: numbers('The learning rates; of a search, those that it may try.'),
    searched: flag('Whether the largest stable rate was searched for.'),
    seeds: count('Seeds of each cell.'),
    batch: count('Rows of a batch.'),
    steps: count('Steps of a cell.'),
    metric: objectOf<StudyMetric>(
      null,
      'What compares two cells.',
    )({ task: text('The first task.'), name: oneOf(['auc', 'rmse'], 'RMSE if it is a regression.') }),
    windows: count('Windows that are trained on in turn; 1 for one training part.'),
  }),
  shard: objectOf<NonNullable<StudyDocument['shard']>>(
    null,
    'The part of the study that this is.',
  )({ index: count('From 1.'), count: count('Of so many.') }).optional(),
  cells: listOf(studyCell, 'Model by model, rule by rule, learning rates and then seeds within.'),
  missing: count('Cells that were not trained.'),
  summary: listOf(studySummary, 'The rows, model by model.'),
  conclusion: text('One sentence for each model.'),
  notes: texts('What a reader should know about these numbers.'),
});

const chart = objectOf<ChartDocument>(
  null,
  'What `clippy-diag chart --json` prints.',
)({
  schemaVersion,
  charts: listOf(
    objectOf<ChartDocument['charts'][number]>(
      null,
      'The charts of a run.',
    )({
      run: text('The run.'),
      series: listOf(series, 'Its series.'),
    }),
    'One for each run.',
  ),
});

const baseline = objectOf<BaselineDocument>(
  null,
  'What `clippy-diag baseline update --json` and `baseline show --json` print.',
)({
  schemaVersion,
  file: text('The file.'),
  baseline: baselineSchema.describe('What is in the file.'),
});

const pages = objectOf<PagesDocument>(
  null,
  'What `clippy-diag explain --json` prints.',
)({
  schemaVersion,
  pages: listOf(
    objectOf<PagesDocument['pages'][number]>(
      null,
      'A page.',
    )({
      id: text('What `explain` takes.'),
      kind: text('What it is: guide, format, finding, rule, error or decision.'),
      summary: text('One line about it.'),
    }),
    'Every page.',
  ),
});

const page = objectOf<PageDocument>(
  null,
  'What `clippy-diag explain ID --json` prints.',
)({
  schemaVersion,
  id: text('The id that was asked for.'),
  page: text('The page, in Markdown.'),
});

const completion = objectOf<CompletionDocument>(
  null,
  'What `clippy-diag completion SHELL --json` prints.',
)({
  schemaVersion,
  shell: text('bash, zsh or powershell.'),
  script: text('What that shell is to read.'),
});

const check = objectOf<CheckDocument>(
  null,
  'What `clippy-diag inspect --check --json` prints.',
)({
  schemaVersion,
  captures: listOf(
    objectOf<CheckDocument['captures'][number]>(
      null,
      'What was found of a capture.',
    )({
      path: text('As it was given.'),
      checks: listOf(
        objectOf<CheckDocument['captures'][number]['checks'][number]>(
          null,
          'One thing that was looked at.',
        )({
          id: oneOf(
            ['whole', 'follows', 'finite', 'batches', 'clipping', 'recorder'],
            'What: files, the rebuilt run against its snapshots, losses, batches, clipping, `status.json`.',
          ),
          ok: orNull(z.boolean(), 'Whether it is as it should be; null where it is neither right nor wrong.'),
          message: text('What was found.'),
        }),
        'In this order.',
      ),
    }),
    'One for each path.',
  ),
});

const audit = objectOf<AuditDocument>(
  null,
  'What `clippy-diag audit --json` prints.',
)({
  schemaVersion,
  audit: auditMember.describe('Of the one capture.').optional(),
  audits: listOf(
    objectOf<NonNullable<AuditDocument['audits']>[number]>(
      null,
      'Of one of several captures.',
    )({ path: text('Its folder.'), audit: auditMember }),
    'One for each capture of a folder that holds several.',
  ).optional(),
});

const resume = objectOf<ResumeDocument>(
  null,
  'What `clippy-diag resume --json` prints.',
)({
  schemaVersion,
  resume: objectOf<Resume>(
    null,
    'Whether a training may be resumed from a checkpoint.',
  )({
    ok: orNull(flag('Whether it may; null where the checkpoint holds no weights.')),
    checkpoint: text('The file or folder that was judged.'),
    checks: listOf(
      objectOf<ResumeCheck>(
        null,
        'One check.',
      )({
        id: oneOf(RESUME_CHECKS, 'What was looked at.'),
        outcome: oneOf(AUDIT_OUTCOMES, '`broken`: do not resume; `cannot-tell`: nothing shows it.'),
        statement: text('One sentence.'),
      }),
      'The checks, in a fixed order.',
    ),
    newestGood: orNull(text('The newest checkpoint of the run that passes; null where none does.')),
  }),
});

const preflight = objectOf<PreflightDocument>(
  null,
  'What `clippy-diag preflight --json` prints; the Python package returns the same.',
)({ schemaVersion, preflight: preflightMember });

const compare = objectOf<CompareDocument>(
  null,
  'What `clippy-diag compare --json` prints.',
)({
  schemaVersion,
  comparison: runComparison,
});

const bisect = objectOf<BisectDocument>(
  null,
  'What `clippy-diag bisect --json` prints.',
)({
  schemaVersion,
  bisect: objectOf<Bisect>(
    null,
    'What makes the difference between a good and a bad run.',
  )({
    found: flag('Whether a smallest set of changes was found.'),
    changes: listOf(
      objectOf<BisectChange>(
        null,
        'One thing that is different in the bad run.',
      )({
        kind: oneOf(CHANGE_KINDS, 'What it is of.'),
        name: text('Key, commit, line or file, or name of the choice.'),
        good: orNull(setting).describe('Its value on the good side; null where it has none.'),
        bad: orNull(setting).describe('Its value on the bad side; null where it has none.'),
      }),
      'The smallest set that turns the good run into the bad one; where not found, what is left of it.',
    ),
    differing: count('Changes between the two sides.'),
    trials: listOf(
      objectOf<BisectTrial>(
        null,
        'A run of the command.',
      )({
        changes: text('Changes of the bad side that it had.'),
        outcome: oneOf(TRIAL_OUTCOMES, 'Which side it is like.'),
        exitCode: count('Exit code of the command; 128 where a signal ended it.'),
        loss: orNull(number('Level of its loss at the end.')),
        seconds: number('Seconds that it took.'),
        folder: text('The folder with what it printed and wrote.'),
      }),
      'The trials, in their order.',
    ),
    notes: texts('What a reader should know besides.'),
    statement: text('It in one sentence.'),
  }),
});

const teach = objectOf<TeachDocument>(
  null,
  'What `clippy-diag teach --json` prints.',
)({
  schemaVersion,
  tables: listOf(
    objectOf<TeachDocument['tables'][number]>(
      null,
      'Lines of one shape.',
    )({
      line: count('The first of them.'),
      sample: text('That line, as the file has it.'),
      rows: count('How many there are.'),
      columns: listOf(
        objectOf<TeachDocument['tables'][number]['columns'][number]>(
          null,
          'A number of these lines.',
        )({
          at: count('Its place among the numbers of a line, from 1.'),
          name: text('What the words say that it is; empty where they do not.'),
          first: number('Its first value.'),
          last: number('Its last value.'),
        }),
        'Its columns.',
      ),
    }),
    'The tables with the most rows.',
  ),
  layout: orNull(
    objectOf<NonNullable<TeachDocument['layout']>>(
      null,
      'The layout; null without `--column`.',
    )({
      name: text('Its name.'),
      sample: text('A line of it.'),
      fields: listOf(
        objectOf<NonNullable<TeachDocument['layout']>['fields'][number]>(
          null,
          'What a number is.',
        )({
          at: count('Its place among the numbers of the sample, from 1.'),
          name: text('The name of its series.').optional(),
          role: oneOf(FIELD_ROLES, 'What it is.').optional(),
        }),
        'What the numbers are.',
      ),
    }),
  ),
  proof: orNull(
    objectOf<NonNullable<TeachDocument['proof']>>(
      null,
      'What it reads; null without a layout.',
    )({
      loss: text('The series that is judged.'),
      records: count('Its points.'),
      statement: text('In one sentence.'),
      nanAtLine: count('The line of the twin whose loss was made NaN.'),
      holds: z.boolean().describe('Whether the twin is read with that NaN, and else the same.'),
    }),
  ),
  written: texts('The config, where it was written.'),
});

const tokens = objectOf<TokensDocument>(
  null,
  'What `clippy-diag inspect --tokens --json` prints.',
)({
  schemaVersion,
  tokens: listOf(
    objectOf<TokensDocument['tokens'][number]>(
      null,
      'A piece of the line.',
    )({
      from: count('Its first byte.'),
      to: count('The byte behind it.'),
      text: text('What it says.'),
      kind: oneOf(['text', 'number', 'total', 'clock', 'missing'], 'What it is.'),
      at: count('Of a number its place among the numbers, from 1.').optional(),
      name: text('Of a number what it is called; empty where no word says that.').optional(),
      use: text('Of a number what it is for.').optional(),
    }),
    'Together they are the line.',
  ),
});

const who = objectOf<WhoDocument>(
  null,
  'What `clippy-diag who --json` prints.',
)({
  schemaVersion,
  batch: objectOf<StepBatch>(
    null,
    'The batch of a step.',
  )({
    path: text('The ledger.'),
    step: finite('The step that was asked for.'),
    recorded: flag('Whether the ledger has a line of it.'),
    loss: orNull(number('Its loss.')),
    batch: orNull(text('Hash of the batch: equal batches have equal hashes.')),
    ids: orNull(
      listOf(
        setting.nullable(),
        'Ids of its rows in their order, or the one id of the batch; null where they were not given or are not kept.',
      ),
    ),
    rows: orNull(
      listOf(
        objectOf<NonNullable<StepBatch['rows']>[number]>(
          null,
          'A range of rows.',
        )({ from: finite('First row.'), to: finite('Last row, included.') }),
        'The ids as ranges; null where one is no whole number.',
      ),
    ),
    sameBatch: numbers('Other steps with the same batch.'),
    resume: orNull(
      objectOf<NonNullable<StepBatch['resume']>>(
        null,
        'The process that took the step, where it was resumed; null of the first one.',
      )({
        step: finite('Its first step.'),
        batches: count('Its batches.'),
        again: count('Those that had come before it.'),
      }),
    ),
    nearest: orNull(
      objectOf<NonNullable<StepBatch['nearest']>>(
        null,
        'Steps whose ids are kept, where those of this step are not.',
      )({
        before: orNull(finite('The last one before.')),
        after: orNull(finite('The first one after.')),
      }),
    ),
    statement: text('In a sentence.'),
  }),
});

const strip = objectOf<StripDocument>(
  null,
  'What `clippy-diag strip-batches --json` prints.',
)({
  schemaVersion,
  capture: text('The folder.'),
  files: finite('Step files that held batches.'),
  tensors: finite('Batch tensors that were taken out.'),
  bytes: finite('Their bytes.'),
});

const donate = objectOf<DonateDocument>(
  null,
  'What `clippy-diag donate --json` prints.',
)({
  schemaVersion,
  files: listOf(
    objectOf<DonatedFile>(
      null,
      'A file of the donation.',
    )({
      path: text('Relative to the folder of the donation.'),
      text: text('Its whole content.'),
    }),
    'Every file that it writes.',
  ),
  left: objectOf<LeftOut>(
    null,
    'Counts of what stays out.',
  )({
    series: finite('Series whose meaning is not known.'),
    hyperparameters: finite('Settings.'),
    tensors: finite('Gradients of the recorded steps.'),
  }),
  written: orNull(text('The folder; null where nothing was written.')),
});

const init = objectOf<InitDocument>(
  null,
  'What `clippy-diag init --json` prints.',
)({
  schemaVersion,
  written: texts('The files that were written.'),
  snippet: text('With `--framework`: a program that records with it.').optional(),
});

const worker = objectOf<WorkerDocument>(
  null,
  'What `clippy-diag matrix worker --json` prints when it ends.',
)({
  schemaVersion,
  trained: finite('Cells that it gave results of.'),
});

const failed = objectOf<ErrorDocument>(
  null,
  'What every command prints with `--json` where it fails before it has a document of its own.',
)({
  schemaVersion,
  error: error.describe('The error; its id is `bug` where the tool itself is at fault.') as z.ZodType<
    ErrorDocument['error']
  >,
});

/** Every document by the name of its schema file; the commands that print it stand in its description. */
export const DOCUMENTS = {
  report: reportSchema,
  brief,
  inspect,
  diff,
  replay,
  curvature,
  matrix,
  study,
  chart,
  baseline,
  pages,
  page,
  completion,
  init,
  worker,
  check,
  audit,
  resume,
  preflight,
  compare,
  bisect,
  strip,
  who,
  donate,
  teach,
  tokens,
  error: failed,
} as const satisfies Readonly<Record<string, z.ZodType>>;
