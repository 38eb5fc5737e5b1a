/** A study with its data, models and initialisation, checked before the long work begins. */
import { createHash } from 'node:crypto';
import { parseRanking } from '../../differentiate/autodiff/ranking.ts';
import type { RankingSpec } from '../../differentiate/autodiff/ranking-spec.ts';
import { DiagError, diagError } from '../../model/errors.ts';
import { isJsonObject } from '../../model/json.ts';
import { didYouMean, nearest } from '../../model/nearest.ts';
import type { StudyInfo } from '../../model/study.ts';
import { ruleForOptimizer } from '../../step/rules/choice.ts';
import { traitsOf } from '../replay/bench.ts';
import { readInitialisation } from './initialise.ts';
import { besideStudy, readStudyData, type StudyData } from './study-data.ts';
import { readStudyFile, type StudyFile } from './study-file.ts';
import { isBinary } from './task-losses.ts';
import { type StudySetup, stepsOf } from './train-cell.ts';

export interface OpenedStudy {
  readonly info: StudyInfo;
  readonly setup: StudySetup;
  readonly notes: readonly string[];
  /** What it read besides itself: its data and its initialisation. */
  readonly files: readonly string[];
}

/** Raised where the arithmetic or the verdict of a cell changes: results of another form are of another study. */
const FORM = 3;

/** Points of which the judge says anything. */
const LEAST_STEPS = 20;

/**
 * Opens a study.
 *
 * @throws what its file, its data, its models and its rules throw
 */
export async function openStudy(path: string): Promise<OpenedStudy> {
  const { study: file } = await readStudyFile(path);
  for (const { choices } of file.rules)
    for (const choice of choices) ruleForOptimizer(choice, traitsOf(file.optimizer));
  const data = await readStudyData(file, path);
  const hash = createHash('sha256').update(JSON.stringify([FORM, plain(file)]));
  for (const values of [...data.rows.features, ...data.rows.labels]) hash.update(values);
  const models = [];
  for (const { name, document } of file.models) {
    const whole = wholeModel(name, document, data, path);
    const spec = specOf(name, whole, path);
    let initialisation: Float32Array[] | null = null;
    if (file.initialisation !== null) {
      initialisation = await readInitialisation(spec, besideStudy(path, file.initialisation));
      for (const values of initialisation) hash.update(values);
    }
    models.push({ name, document: whole, initialisation });
  }
  const setup: StudySetup = {
    models,
    rows: data.rows,
    phases: data.phases,
    tasks: data.tasks,
    optimizer: { name: file.optimizer.optimizer.id, options: file.optimizer.options },
    batch: file.batch,
    length: file.length,
  };
  const steps = stepsOf(setup);
  if (steps < LEAST_STEPS)
    throw diagError(
      'study-invalid',
      { at: 'steps', problem: `a cell has ${steps} steps, and less than ${LEAST_STEPS} cannot be judged` },
      { path },
    );
  const [first] = data.tasks;
  const notes = [...data.notes];
  if (file.initialisation !== null && file.seeds > 1)
    notes.push('the initialisation is given, so that all seeds of a cell are one training');
  return {
    info: {
      file: path,
      key: hash.digest('hex'),
      models: file.models.map(({ name }) => name),
      rules: file.rules.map(({ name, choices }) => ({
        rule: name,
        labels: choices.map(({ label }) => label),
      })),
      learningRates: file.learningRates.rates,
      searched: file.learningRates.search,
      seeds: file.seeds,
      batch: file.batch,
      steps,
      metric: { task: first!.name, name: isBinary(first!.loss) ? 'auc' : 'rmse' },
      windows: data.phases.length,
    },
    setup,
    notes,
    files: [
      ...('file' in file.data ? [file.data.file] : []),
      ...(file.initialisation === null ? [] : [file.initialisation]),
    ].map((one) => besideStudy(path, one)),
  };
}

/** What of a study decides results: rules and optimizer by their names and options. */
const plain = (file: StudyFile): unknown => ({
  ...file,
  rules: file.rules.map(({ name, choices }) => [name, choices.map(({ label }) => label)]),
  optimizer: [file.optimizer.optimizer.id, file.optimizer.options],
});

/** A model's document with the features of the data and the losses of the tasks. @throws study-invalid */
function wholeModel(
  name: string,
  document: Readonly<Record<string, unknown>>,
  { features, tasks }: StudyData,
  path: string,
): Record<string, unknown> {
  const { tasks: given, kind = 'ranking', version = 1, ...rest } = document;
  const fail = (at: string, problem: string): never => {
    throw diagError('study-invalid', { at: `models.${name}.${at}`, problem }, { path });
  };
  if (given !== undefined && !Array.isArray(given)) fail('tasks', 'a list is expected');
  const towers = (given ?? tasks.map((task) => ({ name: task.name }))) as readonly unknown[];
  const known = tasks.map((task) => task.name);
  const own = towers.map((tower, i) => {
    if (!isJsonObject(tower)) return fail(`tasks[${i}]`, 'keys and values are expected');
    for (const key of Object.keys(tower))
      if (key !== 'name' && key !== 'units')
        throw diagError(
          'study-unknown-key',
          {
            key,
            at: `models.${name}.tasks[${i}]`,
            nearest: nearest(key, ['name', 'units']),
            known: ['name', 'units'],
          },
          { path },
        );
    if (!known.includes(String(tower.name)))
      fail(
        `tasks[${i}].name`,
        `no column is a label of "${String(tower.name)}"; ${didYouMean(String(tower.name), known)}labels are ${known.join(', ')}`,
      );
    return { name: String(tower.name), units: tower.units ?? [] };
  });
  const missing = known.find((task) => !own.some((tower) => tower.name === task));
  if (missing !== undefined) fail('tasks', `the task "${missing}" is missing`);
  return {
    kind,
    version,
    features,
    ...rest,
    tasks: tasks.map((task) => ({
      ...own.find((tower) => tower.name === task.name)!,
      loss: task.loss,
      weight: task.weight,
    })),
  };
}

/** @throws study-invalid with the place in the study */
function specOf(name: string, document: object, path: string): RankingSpec {
  try {
    return parseRanking(document, path);
  } catch (error) {
    if (!(error instanceof DiagError)) throw error;
    const problem = error.message.replace(/^the model is not valid: /, '');
    throw diagError('study-invalid', { at: `models.${name}`, problem }, { path }, error);
  }
}
