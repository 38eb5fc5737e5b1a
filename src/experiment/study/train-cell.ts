/** Trains one cell of a study: a model under a rule at a learning rate from a seed, in time order, and tests it. */
import { parseRanking, rankingTensors } from '../../differentiate/autodiff/ranking.ts';
import { endLevel, LAST_LOSSES } from '../../judge/incidents/losses.ts';
import { judgeRun } from '../../judge/incidents/verdict.ts';
import type { Options } from '../../model/options.ts';
import { largest, medianOf } from '../../model/order-statistics.ts';
import type { VerdictClass } from '../../model/report.ts';
import type { Run, TimeSeries } from '../../model/run.ts';
import type { CellVerdict, StudyCell } from '../../model/study.ts';
import { chooseOptimizer } from '../../step/optimizers/registry.ts';
import { ruleMembers } from '../../step/rules/choice.ts';
import { parseRule } from '../../step/rules/parse.ts';
import { createStepper } from '../replay/step.ts';
import { freshTensor } from '../replay/tensors.ts';
import { initialParameters } from './initialise.ts';
import { type Rows, type StudyNet, studyNet } from './network.ts';
import { meanQuality, type TestResult, testTask } from './quality.ts';
import type { Phase, StudyTask } from './study-data.ts';

/** Which cell: names and numbers only, so that it can be sent to a thread or another machine. */
export interface CellKey {
  readonly model: string;
  readonly rule: string;
  readonly label: string;
  readonly learningRate: number;
  readonly seed: number;
}

/** Everything that cells share; plain, so that it can be sent to a thread. */
export interface StudySetup {
  readonly models: readonly {
    readonly name: string;
    /** A whole `ranking` document. */
    readonly document: object;
    readonly initialisation: readonly Float32Array[] | null;
  }[];
  readonly rows: Rows;
  readonly phases: readonly Phase[];
  readonly tasks: readonly StudyTask[];
  readonly optimizer: { readonly name: string; readonly options: Options };
  readonly batch: number;
  readonly length: { readonly steps: number } | { readonly epochs: number };
}

/** Steps on a stretch of rows. */
const stepsOn = ({ length, batch }: StudySetup, [from, to]: Phase['train']): number =>
  'steps' in length ? length.steps : length.epochs * Math.ceil((to - from) / batch);

/** Steps of a cell. */
export const stepsOf = (setup: StudySetup): number =>
  setup.phases.reduce((sum, { train }) => sum + stepsOn(setup, train), 0);

/** What training gives before it is judged. */
export interface Trained {
  readonly losses: readonly number[];
  readonly taskLosses: readonly (readonly number[])[];
  /** By phase, by task. */
  readonly tests: readonly (readonly TestResult[])[];
}

/** A trainer keeps the net of each model. */
export function createTrainer(setup: StudySetup) {
  const nets = new Map<string, StudyNet>();
  return {
    train: (key: CellKey): Trained => trainCell(setup, key, nets),
    /** Trains and judges; what is thrown makes a cell that crashed. */
    cell(key: CellKey): StudyCell {
      try {
        return { ...namesOf(key), ...judge(setup, trainCell(setup, key, nets)) };
      } catch (error) {
        return crashedCell(key, error as Error);
      }
    },
  };
}

const namesOf = ({ label, learningRate, model, rule, seed }: CellKey) => ({
  model,
  rule,
  label,
  options: ruleMembers(parseRule(label)[0]!).options,
  learningRate,
  seed,
});

/** A cell that could not be trained. */
export const crashedCell = (key: CellKey, error: Error): StudyCell => ({
  ...namesOf(key),
  verdict: 'crashed',
  class: null,
  onsetStep: null,
  finalLoss: Number.NaN,
  metrics: {},
  curve: [],
  error: error.message,
});

function trainCell(setup: StudySetup, key: CellKey, nets: Map<string, StudyNet>): Trained {
  const { tasks, batch, phases } = setup;
  const model = setup.models.find(({ name }) => name === key.model)!;
  const spec = parseRanking(model.document, key.model);
  const optimizer = chooseOptimizer(setup.optimizer.name, setup.optimizer.options);
  const net =
    nets.get(key.model) ?? studyNet(spec, batch, optimizer.optimizer.slots(optimizer.options).length);
  nets.set(key.model, net);
  const initial = model.initialisation ?? initialParameters(spec, key.seed);
  const heap = net.newHeap();
  const stepper = createStepper({
    rule: parseRule(key.label)[0]!,
    optimizers: [optimizer],
    precision: 'float32',
    heap,
  });
  for (const [i, values] of initial.entries()) net.parameters[i]!.set(values);
  // The rule may give the optimizer another accumulator; what it starts with is the same.
  const tensors = rankingTensors(spec).map((tensor, i) =>
    freshTensor(tensor, net.parameters[i]!, stepper.optimizers[0]!, 'float32', 0, heap),
  );
  const gradients = net.gradients.map((values) => ({ values }));
  const losses: number[] = [];
  const taskLosses = tasks.map((): number[] => []);
  const tests: TestResult[][] = [];
  let finite = true;
  net.load();
  for (const phase of phases) {
    const [from, to] = phase.train;
    const batches = Math.ceil((to - from) / batch);
    for (let step = 0; step < stepsOn(setup, phase.train); step++) {
      if (!finite) {
        losses.push(Number.NaN);
        for (const each of taskLosses) each.push(Number.NaN);
        continue;
      }
      const start = from + (step % batches) * batch;
      const each = net.gradient(rowsBetween(setup, start, Math.min(start + batch, to)));
      let loss = 0;
      for (const [t, value] of each.entries()) {
        taskLosses[t]!.push(value);
        loss += tasks[t]!.weight * value;
      }
      losses.push(loss);
      const record = stepper.step(tensors, gradients, [key.learningRate], false, undefined, loss);
      finite = record.finite && Number.isFinite(loss);
      net.load();
    }
    tests.push(test(setup, net, phase, finite));
  }
  return { losses, taskLosses, tests };
}

/** Rows as views. */
function rowsBetween({ rows }: StudySetup, from: number, to: number): Rows {
  return {
    count: to - from,
    features: rows.features.map((values) => {
      const width = values.length / rows.count;
      return values.subarray(from * width, to * width);
    }),
    labels: rows.labels.map((values) => values.subarray(from, to)),
  };
}

function test(
  setup: StudySetup,
  net: StudyNet,
  { train, test: [from, to] }: Phase,
  finite: boolean,
): TestResult[] {
  const { tasks, batch, rows } = setup;
  const outputs = tasks.map(() => new Float32Array(to - from).fill(Number.NaN));
  if (finite)
    for (let start = from; start < to; start += batch) {
      const found = net.outputs(rowsBetween(setup, start, Math.min(start + batch, to)));
      for (const [t, values] of found.entries()) outputs[t]!.set(values, start - from);
    }
  return tasks.map((task, t) =>
    testTask(task, outputs[t]!, rows.labels[t]!.subarray(from, to), rows.labels[t]!.subarray(...train)),
  );
}

/** A loss that has fallen by less than this share since its first ten is flat. */
const FLAT = 0.1;

/** Verdict, level and quality of a cell. */
export function judge(
  { tasks }: Pick<StudySetup, 'tasks'>,
  { losses, taskLosses, tests }: Trained,
): Pick<StudyCell, 'verdict' | 'class' | 'onsetStep' | 'finalLoss' | 'metrics' | 'curve'> {
  const { verdict } = judgeRun(runOf(tasks, losses, taskLosses));
  const finalLoss = endLevel(losses);
  const first = tests.map(([ofFirstTask]) => ofFirstTask!);
  const atChance = first.every((one) => one.atChance);
  const idle = atChance || first.every(({ loss, constantLoss }) => !(loss < constantLoss));
  const flat = finalLoss >= (1 - FLAT) * medianOf(losses.slice(0, LAST_LOSSES));
  return {
    verdict: verdictOf(verdict.class, { idle, atChance, flat }),
    class: verdict.class,
    onsetStep: verdict.onsetStep,
    finalLoss,
    metrics: Object.fromEntries(
      tasks.map(({ name }, t) => [name, meanQuality(tests.map((windows) => windows[t]!.quality))]),
    ),
    curve: thinned(losses),
  };
}

/**
 * What a cell has learnt on its own; {@link compareCells} compares it with the others. Its training losses decide only where they are not
 * finite or it has learnt nothing: a shift of the data raises those of every rule.
 *
 * The loss of a dead net looks well: its biases follow the labels. It is distinguished from one that learns by ordering rows
 * no better than chance, which the paper calls full divergence. And one whose loss falls with the labels' mean, as time
 * passes, while a constant would do better, does not hold.
 */
function verdictOf(
  judged: VerdictClass,
  quality: {
    /** No better than the constant that fits the training part best, or than chance. */
    readonly idle: boolean;
    readonly atChance: boolean;
    /** The training loss has not fallen. */
    readonly flat: boolean;
  },
): CellVerdict {
  if (judged === 'non-finite') return 'lost';
  if (quality.idle && quality.flat) return 'frozen';
  if (quality.atChance) return 'lost';
  if (!quality.idle) return 'holds';
  return judged === 'healthy' ? 'hurt' : 'lost';
}

/** The losses as the log of a run. */
function runOf(
  tasks: readonly StudyTask[],
  losses: readonly number[],
  taskLosses: readonly (readonly number[])[],
): Run {
  const step = Float64Array.from(losses, (_, i) => i);
  const series = (
    name: string,
    role: TimeSeries['role'],
    values: readonly number[],
    task?: string,
  ): TimeSeries => ({
    name,
    role,
    ...(task === undefined ? {} : { task }),
    step,
    value: Float64Array.from(values),
    missing: 0,
    refused: 0,
    attemptOffsets: [0],
    pathOffsets: [0],
  });
  return {
    id: 'cell',
    paths: [],
    format: 'study',
    stepUnit: 'step',
    series: [
      series('loss', 'loss', losses),
      ...(tasks.length < 2
        ? []
        : tasks.map(({ name }, t) => series(`${name} loss`, 'task_loss', taskLosses[t]!, name))),
    ],
    attempts: [{ index: 0, firstStep: 0, lastStep: losses.length - 1, reason: 'start' }],
    hyperparameters: new Map(),
    notes: [],
  };
}

const CURVE = 64;

/** The largest of each stretch; the stretches are of one length but for the last. */
function thinned(losses: readonly number[]): number[] {
  const size = Math.ceil(losses.length / CURVE);
  return Array.from({ length: Math.ceil(losses.length / size) }, (_, i) =>
    largest(losses.slice(i * size, (i + 1) * size)),
  );
}
